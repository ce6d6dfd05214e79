"""Watching one start of an engine: until it is ready, while it serves, while it drains.

In: what it answers and whether its log moves. Out: nothing, or the exception that says what is wrong with it. Never
touches the process (see `supervisor`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import NoReturn

from captionqa.server.child import Log
from captionqa.server.probe import LOOK_TIMEOUT_S, Counts, Life, Probe, Reply
from captionqa.server.settings import Pace

_DRAIN_LOOK_S = 0.2


class EngineStuck(Exception):
    """It lives, and nothing comes of it: end it and start again."""


class EngineRefused(Exception):
    """It is as it should be, and it will never do what it is for."""


class Watch:
    """What is known of one start of an engine."""

    def __init__(self, probe: Probe, log: Log, pace: Pace, *, vision: bool, stall_s: float) -> None:
        self.probe = probe
        self._log = log
        self._pace = pace
        self._vision = vision
        self._stall_s = stall_s
        self._ready_at: float | None = None
        self._own = 0
        """Tiny requests of ours that the engine has finished."""
        self._counts: Counts | None = None
        """Its last known."""

    @property
    def ready_s(self) -> float:
        """How long it has been ready."""
        return 0.0 if self._ready_at is None else time.monotonic() - self._ready_at

    @property
    def clients_served(self) -> int:
        return 0 if self._counts is None else max(0, self._counts.finished - self._own)

    async def until_ready(self) -> None:
        """No time is too long while the log moves; once it answers over HTTP at all, something must come of it within
        the stall time (its log moves at every request, ours included). Raises: EngineStuck, EngineRefused."""
        mark, alive_at = self._log.mark(), time.monotonic()
        answers = False
        while True:
            health = await self.probe.health(min(LOOK_TIMEOUT_S, self._stall_s))
            trouble = "nobody answers" if health is None else f"/health says {health}"
            if health == 200:
                reply = await self._ask(min(self._pace.probe_s, self._stall_s), image=self._vision)
                if reply.life is Life.ANSWERED:
                    break
                if reply.life is Life.REFUSED:
                    raise EngineRefused(self._refusal(reply))
                trouble = reply.words
            if health is not None and not answers:
                answers, alive_at = True, time.monotonic()
            if not answers and self._log.mark() != mark:
                mark, alive_at = self._log.mark(), time.monotonic()
            if time.monotonic() - alive_at > self._stall_s:
                still = "" if answers else ", and its log has not moved"
                raise EngineStuck(f"did not get ready within {self._stall_s:g} s ({trouble}{still})")
            await asyncio.sleep(self._pace.poll_s)
        self._ready_at = time.monotonic()

    async def look_after(self, say: Callable[[str], None]) -> NoReturn:
        """Finished requests and tokens prove life; without them a request of our own must. Raises: EngineStuck."""
        seen = await self.look()
        while True:
            await asyncio.sleep(self._pace.canary_every_s)
            before, seen = seen, await self.look()
            if before is not None and seen is not None and seen.progress != before.progress:
                continue
            reply = await self._ask(self._pace.canary_s, image=False)
            if reply.life is Life.TROUBLE:
                say(f"the engine does not answer a tiny request ({reply.words}); asking once more")
                await asyncio.sleep(min(self._pace.poll_s, self._pace.canary_every_s))
                reply = await self._ask(self._pace.canary_s, image=False)
            if reply.life is Life.TROUBLE:
                raise EngineStuck(f"answered two tiny requests in a row with nothing ({reply.words})")
            seen = await self.look()

    async def until_drained(self, within_s: float) -> None:
        """Until nothing has run or waited for a moment. An engine without such counts gets all of the time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                quiet_since: float | None = None
                while True:
                    counts = await self.look()
                    if counts is None or counts.open:
                        quiet_since = None
                    elif quiet_since is None:
                        quiet_since = time.monotonic()
                    if quiet_since is not None and time.monotonic() - quiet_since >= self._pace.quiet_s:
                        return
                    await asyncio.sleep(_DRAIN_LOOK_S)

    async def look(self) -> Counts | None:
        counts = await self.probe.counts(min(LOOK_TIMEOUT_S, self._pace.canary_s))
        if counts is not None:
            self._counts = counts
        return counts

    async def _ask(self, timeout_s: float, *, image: bool) -> Reply:
        reply = await self.probe.ask(timeout_s, image=image)
        self._own += reply.life is Life.ANSWERED
        return reply

    def _refusal(self, reply: Reply) -> str:
        if reply.status in (401, 403):
            return (
                f"the engine does not accept its own key ({reply.words}). Another server may listen on the same port "
                "(leave --port out), or a container hides VLLM_API_KEY from the engine"
            )
        if self._vision:
            return (
                f"the model does not take an image; the server says {reply.words} Serve a vision-language model, or "
                "say --no-vision if text is all you want of it"
            )
        return f"the model does not take the simplest request; the server says {reply.words}"
