"""The heartbeat of a lease: written again every few seconds and at every change, from a thread.

In: changes. Out: the lease on disk. A file system in passing trouble delays the writing and never the supervision: what
could not be written is said once and written as soon as it works again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from captionqa.errors import SaveFailed
from captionqa.server.lease import PublishedLease


class Heart:
    """Writes one lease. Its `beat` must run as a task while the lease is to live."""

    def __init__(
        self,
        published: PublishedLease,
        every_s: float,
        *,
        say: Callable[[str], None],
        on_lost: Callable[[], object],
    ) -> None:
        """``on_lost`` is called once, when the name has been taken over by another server."""
        self._published = published
        self._every_s = every_s
        self._say = say
        self._on_lost = on_lost
        self._changes: dict[str, Any] = {}
        self._changed = asyncio.Event()
        self._written = asyncio.Event()
        self._trouble = False
        self._over = False

    def tell(self, **changes: Any) -> None:
        """Fields of the lease that are different from now on; on disk within moments."""
        self._changes |= changes
        self._written.clear()
        self._changed.set()

    async def settle(self, within_s: float) -> None:
        """Until what was told is on disk, or cannot be for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._written.wait()

    def stop(self) -> None:
        """`beat` ends after what it is writing: a lease that is removed must not come back."""
        self._over = True
        self._changed.set()

    async def beat(self) -> None:
        while not self._over:
            self._changed.clear()
            changes, self._changes = self._changes, {}
            await self._write(changes)
            if self._over:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._changed.wait()

    async def _write(self, changes: dict[str, Any]) -> None:
        try:
            if await asyncio.to_thread(self._published.is_taken_over):
                self._over = True
                self._written.set()
                self._on_lost()
                return
            # The changes stay in the lease also when it cannot be written now.
            await asyncio.to_thread(self._published.update, heartbeat_at=time.time(), **changes)
        except SaveFailed as error:
            if not self._trouble:
                self._say(f"the lease cannot be written just now, tried again every {self._every_s:g} s: {error}")
            self._trouble = True
            return
        if self._trouble:
            self._say("the lease is written again")
        self._trouble = False
        if not self._changes:
            self._written.set()
