"""The engine as a process: started in a session of its own, ended with everything it started.

In: an argv and an environment. Out: a `Child`: whether it lives, how it ended, what it printed. vLLM is several
processes, and orphans of a killed main process keep the GPU; so nothing counts as ended before its session is empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TAIL_BYTES = 1 << 16
LARGEST_LOG_BYTES = 64 << 20
"""A log that has grown beyond this is put aside (``.1``) at the next start of the supervisor."""

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


class Log:
    """The file that an engine's output is appended to, readable by nobody else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._from: int | None = None
        """Where the current engine's part begins."""

    def put_large_aside(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size > LARGEST_LOG_BYTES:
                self.path.replace(self.path.with_name(self.path.name + ".1"))

    def open(self, heading: str) -> int:
        """A descriptor to append to, after a line that tells one start from the next. Raises: OSError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        os.fchmod(descriptor, 0o600)  # whatever the umask is
        os.write(descriptor, f"--- {heading}\n".encode())
        self._from = os.fstat(descriptor).st_size
        return descriptor

    def mark(self) -> tuple[int, int]:
        """Changes whenever something is printed."""
        try:
            status = self.path.stat()
        except OSError:  # a file system in passing trouble
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def end(self) -> str:
        """The last of what the current engine printed."""
        if self._from is None:
            return ""
        try:
            with open(self.path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._from, size - TAIL_BYTES))
                return file.read(TAIL_BYTES).decode("utf-8", "replace")
        except OSError as error:
            return f"({self.path}: cannot be read: {error.strerror})"


class Child:
    """One start of the engine."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._over = False

    @classmethod
    async def spawn(cls, argv: Sequence[str], environment: Mapping[str, str], output: int) -> Child:
        """Raises: OSError when there is no such program, or it cannot be run."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Its own session: Ctrl-C at a terminal is for the supervisor alone, which drains first, and all that the
            # engine starts can be found and ended by the session's number, even when its main process is gone.
            start_new_session=True,
            preexec_fn=_ending_with(os.getpid()),
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Also the number of its session and process group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it lives."""
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    async def end(self, term_s: float, kill_s: float, impatient: Callable[[], bool] = lambda: False) -> list[int]:
        """SIGTERM to all of it, SIGKILL to what is left after ``term_s`` seconds (or when ``impatient``). Returns the
        pids that are still there ``kill_s`` seconds after that: processes that hang in the kernel, as with a bad GPU.
        """
        if self._over:
            return []  # its number may be another session's by now
        if await self._signalled(signal.SIGTERM, term_s, impatient):
            await self._signalled(signal.SIGKILL, kill_s, lambda: False)
        if self._process.returncode is None and not session_members(self.pid):
            await self._process.wait()  # dead, and not yet reaped
        left = session_members(self.pid)
        self._over = not left
        return left

    async def _signalled(self, number: signal.Signals, within_s: float, impatient: Callable[[], bool]) -> bool:
        """Whether something is left. Signals anew who appears meanwhile: a process may have been about to start one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        told: set[int] = set()
        while members := session_members(self.pid):
            for pid in members:
                if pid not in told:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            told.update(members)
            if loop.time() >= deadline or impatient():
                return True
            await asyncio.sleep(0.05)
        return False


def session_members(session: int) -> list[int]:
    """Living processes of a session or process group (proc(5)); zombies, which nobody may ever reap in a container
    without an init, are none."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # gone since it was listed
        if len(fields) > 3 and fields[0] not in ("Z", "X") and str(session) in fields[2:4]:
            found.append(int(entry))
    return found


def _ending_with(parent: int) -> Callable[[], None]:
    """What makes the child get SIGTERM when the supervisor dies without a chance to end it (kill -9, out of memory): at
    SIGTERM vLLM's main process shuts its workers down, and the stand-in ends. The kernel forgets this at the exec of a
    set-user-ID program (some installations of Apptainer are): there the end of the SLURM job cleans up.

    It runs between fork and exec, where only what is loaded already may be called.
    """
    prctl, getppid, kill, getpid, terminate = _prctl, os.getppid, os.kill, os.getpid, int(signal.SIGTERM)

    def set_up() -> None:
        prctl(_PR_SET_PDEATHSIG, terminate, 0, 0, 0)
        if getppid() != parent:  # it died in that very moment
            kill(getpid(), terminate)

    return set_up
