"""Which process is this, and does another one still live: from /proc, without signals and without comparing clocks.

A process is told from a later one with the same pid by its start time, and pids are compared only within one boot of
one host and one namespace: a container on the same host has pids that mean nothing here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Process:
    """One process, on one host."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    """Start time in clock ticks since boot."""

    @classmethod
    def this(cls) -> Process:
        return cls(
            socket.gethostname(),
            _read("/proc/sys/kernel/random/boot_id"),
            _pid_namespace(),
            os.getpid(),
            _start_ticks(os.getpid()),
        )

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Process:
        """Raises: KeyError, TypeError, ValueError for what `to_dict` did not write."""
        host, boot, namespace, started = (str(fields[name]) for name in ("host", "boot", "namespace", "started"))
        return cls(host, boot, namespace, int(fields["pid"]), started)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def is_neighbour_of(self, other: Process) -> bool:
        """Whether this one's pid means the same process to the other."""
        return (self.host, self.boot, self.namespace) == (other.host, other.boot, other.namespace)

    def is_gone_for(self, other: Process) -> bool:
        """Whether the other can tell for certain that this one lives no more."""
        return self.is_neighbour_of(other) and _start_ticks(self.pid) != self.started


def _start_ticks(pid: int) -> str:
    """Field 22 of /proc/<pid>/stat (proc(5)); empty when there is no such process, or only its zombie."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if not fields or fields[0] in ("Z", "X") else fields[19]


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
