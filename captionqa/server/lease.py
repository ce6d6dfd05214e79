"""Endpoint leases: where a server is, in one small file per server, written by its supervisor, read by every client.

    <output-dir>/servers/             0700
    <output-dir>/servers/<name>.json  0600   the lease: URL, model, state, heartbeat, where the key is; never the key
    <output-dir>/servers/<name>.key   0600   the API key of this one start of the server
    <output-dir>/servers/<name>.log   0600   what the server printed

A lease is replaced as a whole (temporary file and rename in the same folder), so a reader sees the old or the new one.
Only files of the reader's own user are believed. Nothing is decided by comparing the clocks of two machines: whether a
heartbeat moves is for those who watch it (`run.discovery`).
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from captionqa.errors import SaveFailed, UsageError
from captionqa.process import Process

SERVERS = "servers"
"""Name of the folder below the output folder."""
HEARTBEAT_S = 5.0
FORMAT = 1
_MOST_BYTES = 1 << 16
"""A lease is a few hundred bytes; what is larger is none."""


class LeaseState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    """Finishes what it has; send nothing new."""
    FAILED = "failed"
    """Given up; ``detail`` says why. Nobody is behind it any more."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a server says about itself."""

    name: str
    state: LeaseState
    url: str
    """Base URL with the node's name, ending in ``/v1``."""
    model: str
    """The served model's name."""
    node: str
    engine: str
    """``vllm`` or ``standin``."""
    process: Process
    """The supervisor's."""
    started_at: float
    """Seconds since 1970, by the server's clock; likewise the heartbeat."""
    heartbeat_at: float
    job: str | None = None
    """SLURM job, ``101`` or ``101_3`` for an array's task."""
    restarts: int = 0
    """SLURM's count of requeues of that job."""
    version: str | None = None
    """The engine's."""
    key_file: str | None = None
    """Absolute path; None for a server without a key."""
    log_file: str | None = None
    detail: str = ""
    """What it is doing, or why it failed, for people."""

    @classmethod
    def parse(cls, text: bytes) -> Lease:
        """Unknown fields, of a later release, are passed over. Raises: ValueError for what is no whole lease."""
        try:
            given = json.loads(text)
            known = {one.name for one in fields(cls)}
            values = {name: value for name, value in given.items() if name in known}
            values["state"] = LeaseState(values["state"])
            values["process"] = Process.parse(values["process"])
            values["heartbeat_at"] = float(values["heartbeat_at"])
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a whole lease ({error})") from error

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=True) + "\n"

    @property
    def job_array(self) -> str | None:
        """The job, or the array it is a task of."""
        return self.job.partition("_")[0] if self.job else None


@dataclass(frozen=True, slots=True)
class Leases:
    """What lies in a servers folder."""

    found: Mapping[str, Lease] = field(default_factory=dict)
    """By name."""
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Name of a file that is not believed or could not be read just now, and why."""


class PublishedLease:
    """A lease that this process keeps; every change is on disk when the call returns."""

    def __init__(self, folder: Path, lease: Lease) -> None:
        self.path = lease_path(folder, lease.name)
        self.lease = lease

    def update(self, **changes: Any) -> None:
        """Raises: SaveFailed."""
        self.lease = replace(self.lease, **changes)
        write_private(self.path, self.lease.to_json())

    def is_taken_over(self) -> bool:
        """Whether another server publishes itself under this name meanwhile."""
        try:
            return Lease.parse(_read_own(self.path)).process != self.lease.process
        except (OSError, ValueError):  # gone, or unreadable just now: nobody else's
            return False

    def remove(self) -> None:
        """Unless the name has been taken over by another server meanwhile. The key goes with it."""
        if not self.is_taken_over():
            remove_lease(self.path.parent, self.lease.name)


def servers_folder(output_dir: Path) -> Path:
    return output_dir / SERVERS


def lease_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def key_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.key"


def log_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def make_private_folder(folder: Path) -> None:
    """Make the folder, 0700 whatever the umask is. Raises: UsageError when it is another user's, SaveFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = folder.stat().st_uid
        if owner != os.geteuid():
            raise UsageError(
                f"{folder}: belongs to user id {owner}, not to you ({os.geteuid()}), so what lies there is not "
                "believed. Give an --output-dir of your own."
            )
        folder.chmod(0o700)
    except OSError as error:
        raise SaveFailed(
            f"{folder}: cannot be made private ({error.strerror}). Choose another --output-dir."
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all. Raises: SaveFailed."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8", opener=_private) as file:
            os.fchmod(file.fileno(), 0o600)  # a umask may have taken away even the owner's rights
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SaveFailed(f"{path}: cannot be written ({error.strerror}). Check the folder and the disk.") from error


def read_leases(output_dir: Path) -> Leases:
    """The leases below an output folder. A folder that is not there has none.

    Raises: UsageError when the folder cannot be read.
    """
    folder = servers_folder(output_dir)
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return Leases()
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be read ({error.strerror}), so no server is found there. Give an --output-dir of your "
            "own, or a --server-url."
        ) from error
    found: dict[str, Lease] = {}
    ignored: dict[str, str] = {}
    for file_name in names:
        if file_name.startswith("."):
            continue
        name = file_name.removesuffix(".json")
        try:
            found[name] = replace(Lease.parse(_read_own(folder / file_name)), name=name)
        except FileNotFoundError:
            continue  # removed since it was listed
        except (OSError, ValueError) as error:  # a stale NFS handle, a half-copied file: the next look will tell
            ignored[name] = str(error)
    return Leases(found, ignored)


def read_key(lease: Lease) -> str | None:
    """The server's API key. Raises: UsageError for a key file that is not there, not ours, or open to others."""
    if lease.key_file is None:
        return None
    path = Path(lease.key_file)
    try:
        key = _read_own(path, private=True).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: the key of server {lease.name} cannot be used ({error}). Restart that server, or give another "
            "one's URL with --server-url and its key with --api-key-file."
        ) from error
    return key or None


def remove_lease(folder: Path, name: str) -> None:
    """The lease and its key; the log stays, for whoever wants to know what happened."""
    for path in (lease_path(folder, name), key_path(folder, name)):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read_own(path: Path, *, private: bool = False) -> bytes:
    """A small regular file of this user, looked at through one descriptor, so that what is checked is what is read.

    Raises: OSError, ValueError when it is another's file (or, if ``private``, one that others can read).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_uid != os.geteuid():
            raise ValueError(f"belongs to user id {status.st_uid}, not to you ({os.geteuid()}): not trusted")
        if private and status.st_mode & 0o077:
            raise ValueError(f"others may read it (mode {stat.S_IMODE(status.st_mode):o}, must be 600)")
        return file.read(_MOST_BYTES)
