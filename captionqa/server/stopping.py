"""What ends a server on purpose: signals, the time limit, the end of the process that it is for, a lost name.

Handlers are installed before the slow imports, so that a signal is never lost; on the event loop they become events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from enum import StrEnum


class Reason(StrEnum):
    """Why the server stops; decides how the command ends."""

    STOP = "stop"
    """For good."""
    COME_BACK = "come back"
    """The job's time is over; it may go on in another one."""
    LOST_NAME = "lost name"
    """Another server publishes itself under the name: this one cannot be found any more."""


SIGNALS = {
    signal.SIGTERM: Reason.STOP,
    signal.SIGINT: Reason.STOP,
    signal.SIGUSR2: Reason.STOP,  # for servers behind a launcher that catches TERM
    signal.SIGUSR1: Reason.COME_BACK,  # SLURM's warning: --signal=B:USR1@120
}


class Stopping:
    """Whether a stop was asked for, why first, and how often: each further time is more impatient."""

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.source = ""
        """What asked first, for people."""
        self.times = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None

    @property
    def asked(self) -> bool:
        return self.times > 0

    def ask(self, reason: Reason, source: str) -> None:
        if self.reason is None:
            self.reason, self.source = reason, source
        self.times += 1
        if self._changed is not None:
            self._changed.set()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Within the block signals ask to stop. They stay without effect afterwards: what is left to do is to exit with
        the right code."""
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._receive(number))
        try:
            yield
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)

    def attach(self) -> None:
        """To the running event loop, whose sleep a signal must end."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    async def until_asked(self, times: int = 1) -> None:
        assert self._changed is not None, "attach first"
        while self.times < times:
            self._changed.clear()
            await self._changed.wait()

    async def asked_within(self, seconds: float, times: int = 1) -> bool:
        """Sleeps, unless a stop is asked for."""
        try:
            async with asyncio.timeout(seconds):
                await self.until_asked(times)
        except TimeoutError:
            return False
        return True

    def hold_lifeline(self, descriptor: int) -> None:
        """Ask to stop when the other end of this pipe is closed, by whatever ends the process that holds it."""
        loop = self._loop
        assert loop is not None, "attach first"

        def wait() -> None:
            with contextlib.suppress(OSError):
                while os.read(descriptor, 4096):
                    pass
            with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
                loop.call_soon_threadsafe(self.ask, Reason.STOP, "the end of the process that this server is for")

        # Not asyncio's reader: epoll refuses regular files and /dev/null.
        threading.Thread(target=wait, name="lifeline", daemon=True).start()

    def _receive(self, number: int) -> None:
        """Python calls this between two steps of the main thread, in the middle of whatever the loop does there; the
        loop's own handlers (add_signal_handler) would be gone, and the signal deadly, as soon as it is closed."""
        asked = SIGNALS[signal.Signals(number)], signal.Signals(number).name
        if self._loop is None or self._loop.is_closed():
            self.ask(*asked)
        else:
            self._loop.call_soon_threadsafe(self.ask, *asked)


def margin_s(remaining_s: float, drain_s: float) -> float:
    """How long before the time limit to stop: time to drain, but never more than a quarter of a short job."""
    return min(max(120.0, drain_s + 30.0), max(remaining_s, 0.0) / 4)
