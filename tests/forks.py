"""Commands as processes of their own that start at once: forked from a process that has imported what commands import.

A fresh interpreter needs most of a second for its imports, and the tests start hundreds of commands. A fork is a
process like any other (own pid, signals, environment, working folder, files, end of the interpreter), only that it did
not import. The forking process has one thread, does nothing else, and ends with the tests' process.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESOURCES = ("-W", "always::ResourceWarning")
_IMPORTED_LATE = (
    "aiohttp",
    "openai",
    "pandas",
    "pyarrow.parquet",
    "PIL.Image",
    "scipy.special",
    "scipy.sparse.csgraph",
)
"""What commands import only when they need it."""
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""A fork copies one thread, so that libraries (numpy, pyarrow) must not have started others when they were imported."""


class Fork:
    """A command's process, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._handle], [], [], 0)[0]:
            self._reap()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises: TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("captionqa", timeout or 0)
            self._reap()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self) -> None:
        self.returncode = self._nursery.reap(self.pid)
        os.close(self._handle)


class Nursery:
    """The forking process, seen from the tests."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *RESOURCES, "-m", "tests.forks", str(theirs.fileno())],
                cwd=ROOT,
                env={**environment, **_ONE_THREAD},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._lines = self._socket.makefile("rw", buffering=1, encoding="utf-8")

    def start(
        self, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], out: Path, err: Path
    ) -> Fork:
        """Starts a command; its output goes to files that are there already."""
        reply = self._ask(
            {
                "arguments": arguments,
                "folder": str(folder),
                "environment": dict(environment),
                "out": str(out),
                "err": str(err),
            }
        )
        return Fork(self, reply)

    def reap(self, pid: int) -> int:
        """The exit status of a process that has ended, negative for a signal's number."""
        return self._ask({"ended": pid})

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
        self._process.wait(60)

    def _ask(self, request: dict[str, Any]) -> int:
        print(json.dumps(request), file=self._lines, flush=True)
        reply: int = json.loads(self._lines.readline())
        return reply


def main() -> None:
    """The forking process. A fork leaves by the end of this function, as a command of its own does, so that what
    Python does at its end happens too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the tests' to answer
    _import_all()
    with (
        socket.socket(fileno=int(sys.argv[1])) as connection,
        connection.makefile("rw", buffering=1, encoding="utf-8") as lines,
    ):
        command = _serve(lines)
    if command is not None:
        _become(command)


def _import_all() -> None:
    import captionqa

    for module in pkgutil.walk_packages(captionqa.__path__, "captionqa."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    importlib.import_module("PIL.Image").init()
    assert len(os.listdir("/proc/self/task")) == 1, "more than one thread: a fork would copy only this one"


def _serve(lines: Any) -> dict[str, Any] | None:
    """Returns: the command that this process now is; None at the end of the requests."""
    for line in lines:
        request = json.loads(line)
        if "ended" in request:
            _, status = os.waitpid(request["ended"], 0)
            reply = os.waitstatus_to_exitcode(status)
        else:
            reply = os.fork()
            if reply == 0:
                return request
        print(json.dumps(reply), file=lines, flush=True)
    return None


def _become(command: dict[str, Any]) -> None:
    for path, number in ((command["out"], 1), (command["err"], 2)):
        with open(path, "ab") as file:
            os.dup2(file.fileno(), number)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    time.tzset()
    sys.path[0] = command["folder"]
    sys.argv = ["captionqa", *command["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module("captionqa", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
