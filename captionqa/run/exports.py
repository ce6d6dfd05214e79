"""Export files: JSON written to a temporary file in the same folder and renamed, so a reader never sees half a file
and a full disk never damages the last good one."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from captionqa.errors import InputError, SaveFailed

TEMPORARY_SUFFIX = ".tmp"
_OF_A_RUN = (
    "The journal beside it has every answer: free space or check permissions, then run `captionqa export` or the same "
    "command again."
)
_OF_NOBODY = "Free space or check permissions, or name another file."
"""Way out where nothing else is known of a file."""


class ExportFile:
    """A text file on its way to ``path``."""

    def __init__(self, path: Path, file: IO[str], way_out: str) -> None:
        self._path = path
        self._file = file
        self._way_out = way_out

    def write(self, text: str) -> None:
        """Raises: SaveFailed."""
        try:
            self._file.write(text)
        except OSError as error:
            raise _failed(self._path, error, self._way_out) from error


@contextlib.contextmanager
def replacing(path: Path, way_out: str | None = None) -> Iterator[ExportFile]:
    """A text file that takes the place of ``path`` when the block ends well, and leaves no trace when it does not.

    Args:
        way_out: what to do when it cannot be written; None for a file that a user has named.

    Raises: SaveFailed for its own file's troubles; what else the block raises passes as it is.
    """
    if way_out is None:
        folder = path.parent
        way_out = _OF_NOBODY if folder.is_dir() else f"There is no folder {folder}: make it, or name another file."
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}")
    try:
        file = open(temporary, "x", encoding="utf-8")  # noqa: SIM115 (closed below, before it is renamed)
    except OSError as error:
        raise _failed(path, error, way_out) from error
    try:
        yield ExportFile(path, file, way_out)
        try:
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(temporary, path)
        except OSError as error:
            raise _failed(path, error, way_out) from error
    except BaseException:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Raises: SaveFailed."""
    with replacing(path, _OF_A_RUN) as file:
        file.write(_dumps(value, indent=2) + "\n")


class JsonObject:
    """One JSON object, written entry by entry: memory does not grow with it."""

    def __init__(self, file: ExportFile) -> None:
        self._file = file
        self._entries = 0

    def add(self, name: str, value: Any) -> None:
        separator = "{\n  " if self._entries == 0 else ",\n  "
        self._file.write(f"{separator}{_dumps(name)}: {_dumps(value)}")
        self._entries += 1

    def close(self) -> None:
        self._file.write("{}\n" if self._entries == 0 else "\n}\n")


@contextlib.contextmanager
def json_object(path: Path) -> Iterator[JsonObject]:
    """An object file that takes the place of ``path`` when the block ends well. Raises: SaveFailed."""
    with replacing(path, _OF_A_RUN) as file:
        entries = JsonObject(file)
        yield entries
        entries.close()


def read_json(path: Path) -> Any:
    """An export's content. Raises: FileNotFoundError; InputError for what cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_json_object(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of an object file, in its order, an entry at a time: as `JsonObject` writes it, a line each.

    Raises: FileNotFoundError; InputError for a file that was written otherwise.
    """
    try:
        with open(path, encoding="utf-8") as file:
            closed = False
            for line in file:
                closed = line.strip() in ("}", "{}")
                if closed or line.strip() == "{":
                    continue
                ((name, value),) = json.loads("{" + line.strip().removesuffix(",") + "}").items()
                yield name, value
            if not closed:
                raise ValueError("it has no end")  # noqa: TRY301 (said like any other damage)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not as it was written ({error}). `captionqa export` writes it again from the journal.")


def _dumps(value: Any, indent: int | None = None) -> str:
    """Readable text; escaped where it holds a lone surrogate (a file name that is no UTF-8, a broken answer)."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, ensure_ascii=True)
    return text


def _failed(path: Path, error: OSError, way_out: str) -> SaveFailed:
    return SaveFailed(f"{path}: cannot be written ({error.strerror}). {way_out}")
