"""What a run has exported, read entry by entry: a report of 200,000 questions does not hold them all.

In: the paths of a run. Out: its description, its summary or metrics, and its entries in their order. Never grades,
never reads a journal: a report shows what the files say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from captionqa.errors import InputError
from captionqa.run.store import RunPaths, read_identity


@dataclass(frozen=True, slots=True)
class Exported:
    """A run as its files describe it."""

    paths: RunPaths
    description: Mapping[str, Any]
    """run.json: identity, digest, created_at, versions."""
    summary: Mapping[str, Any]
    """``_metrics.json`` of questions, ``_summary.json`` of captions."""

    @property
    def identity(self) -> Mapping[str, Any]:
        identity: Mapping[str, Any] = self.description["identity"]
        return identity

    @property
    def is_qa(self) -> bool:
        return bool(self.identity["task"] == "qa")

    def answers(self) -> Iterator[tuple[str, Any]]:
        """Result rows by qid, or captions by image. Raises: InputError."""
        return entries_of(self.paths.export("_results.json" if self.is_qa else ".json"))

    def failures(self) -> Iterator[tuple[str, Any]]:
        """Items without an answer. Raises: InputError."""
        return entries_of(self.paths.export("_failed.json"))


def read_exported(paths: RunPaths) -> Exported:
    """Raises: InputError when the run was not exported yet, JournalCorrupt for an unreadable run.json."""
    identity = read_identity(paths)
    if identity is None:
        raise InputError(f"{paths.identity}: not there, so nobody knows what was asked. Name a run that has it.")
    description = {**_whole(paths.identity), "identity": identity}
    return Exported(
        paths, description, _whole(paths.export("_metrics.json" if identity["task"] == "qa" else "_summary.json"))
    )


def entries_of(path: Path) -> Iterator[tuple[str, Any]]:
    """The entries of an export. Exports have one entry per line (`run.exports.JsonObject`) and are read that way; a
    file that another program has laid out differently is read as a whole.

    Raises: InputError when it is not there or holds no JSON object.
    """
    read = 0
    try:
        with open(path, "rb") as file:
            if file.readline().rstrip() == b"{":
                for line in file:
                    if line.rstrip() == b"}":
                        return
                    try:
                        ((name, value),) = json.loads(b"{%b}" % line.rstrip().removesuffix(b",")).items()
                    except ValueError:
                        break
                    yield name, value
                    read += 1
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    yield from islice(_whole(path).items(), read, None)


def _whole(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    except ValueError as error:
        raise _unreadable(path, f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _unreadable(path, "no JSON object")
    return content


def _unreadable(path: Path, why: object) -> InputError:
    return InputError(f"{path}: cannot be read ({why}). `captionqa export RUN` writes a run's files again.")
