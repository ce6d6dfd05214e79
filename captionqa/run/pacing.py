"""Pacing at work: looks at every server about once a second, and gives each its number of requests in flight.

In: a pool of endpoints and a way to ask a server for its counts. Out: the endpoints' limits, and how many senders there
should be for them. What follows from what is seen is decided in `core.pacing`. Never looks at an item or an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp

from captionqa.core.pacing import START, Load, Pace, Seen, step, without_metrics
from captionqa.run.endpoints import Endpoint, EndpointPool
from captionqa.server.probe import Counts, Probe

LOOK_EVERY_S = 1.0
FIRST_LOOKS_S = 0.2
"""While the limit still doubles, so that a run of a hundred items has the best of it too …"""
FIRST_LOOKS_FOR_S = 5.0
"""… and for no longer: /metrics costs a server more than a small request."""
LOOK_TIMEOUT_S = 5.0
MISSED_LOOKS = 5
"""So many failures in a row, and a server that did tell its queue counts as one that does not."""
ASKED_AGAIN_S = 30.0
"""How often a server that does not tell its queue is asked for it."""
FEW_FILES = 128
"""Left for everything that is not a connection."""
MOST_IN_ALL = 8192

Ask = Callable[[str], Awaitable[Counts | None]]
"""Asks the server at a URL for its counts; None when it does not tell. Takes bounded time."""


def most_in_all() -> int:
    """Requests that this process may have in flight: each is an open connection."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, MOST_IN_ALL if files == resource.RLIM_INFINITY else min(MOST_IN_ALL, files - FEW_FILES))


def asking(session: aiohttp.ClientSession) -> Ask:
    """`Ask` over HTTP: vLLM's /metrics, which needs no key."""

    async def ask(url: str) -> Counts | None:
        return await Probe(session, url, "", None).counts(LOOK_TIMEOUT_S)

    return ask


class Pacer:
    """Sets the limits of a pool's endpoints while it runs."""

    def __init__(self, pool: EndpointPool, ask: Ask, *, patience_s: float, resize: Callable[[int], object]) -> None:
        """
        Args:
            patience_s: mean latency of answers beyond which a server is given less: well below the time-out.
            resize: is told how many senders the limits need in all.
        """
        self._pool = pool
        self._ask = ask
        self._patience_s = patience_s
        self._resize = resize
        self._most = most_in_all()
        self._found: dict[str, float] = {}
        self._paced: set[Endpoint] = set()

    @property
    def found(self) -> Mapping[str, int]:
        """The limit each server was given last, by URL."""
        return {url: round(limit) for url, limit in self._found.items()}

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Pace while the block runs. A bug in the pacing is raised at its end: it must not cost the run its answers."""
        pacing = asyncio.create_task(self.run())
        try:
            yield
        finally:
            pacing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pacing

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for endpoint in self._pool.endpoints:
                    if endpoint not in self._paced:
                        self._paced.add(endpoint)
                        group.create_task(self._follow(endpoint))
                self._set_senders()
                await asyncio.sleep(FIRST_LOOKS_S)

    async def _follow(self, endpoint: Endpoint) -> None:
        """Pace one server until it is retired; one that was away starts anew."""
        while endpoint in self._pool.endpoints:
            if endpoint.up:
                self._pool.allow(endpoint, START)
                await self._pace(endpoint)
            else:
                await asyncio.sleep(FIRST_LOOKS_S)
        self._paced.discard(endpoint)

    async def _pace(self, endpoint: Endpoint) -> None:
        pace = Pace(patience_s=self._patience_s)
        counts = _Asking(self._ask)
        began = time.monotonic()
        endpoint.meter.read(endpoint.outstanding)
        while True:
            early = time.monotonic() - began < FIRST_LOOKS_FOR_S
            await asyncio.sleep(FIRST_LOOKS_S if pace.doubling and early else LOOK_EVERY_S)
            load = await counts.look(endpoint.url)
            if not endpoint.up or endpoint not in self._pool.endpoints:
                return
            if load is None and not counts.told:
                pace = without_metrics(pace)
            pace = step(pace, _seen(endpoint, load))
            self._pool.allow(endpoint, pace.limit)
            self._found[endpoint.url] = pace.limit
            self._set_senders()

    def _set_senders(self) -> None:
        wanted = sum(math.ceil(endpoint.limit) for endpoint in self._pool.endpoints if endpoint.up)
        if wanted:  # while no server is there, those that wait for one stay
            self._resize(min(self._most, wanted))


class _Asking:
    """Asks one server for its counts: every time while it tells them, now and then while it does not."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._missed = 0
        self._not_before = 0.0
        self.told = False
        """Whether it tells its queue; a single look that failed changes nothing."""

    async def look(self, url: str) -> Load | None:
        if time.monotonic() < self._not_before:
            return None
        counts = await self._ask(url)
        if counts is not None:
            self.told, self._missed = True, 0
            return Load(counts.running, counts.waiting, counts.finished, counts.kv_use, counts.engines)
        self._missed += 1
        if not self.told or self._missed >= MISSED_LOOKS:
            self.told = False
            self._not_before = time.monotonic() + ASKED_AGAIN_S
        return None


def _seen(endpoint: Endpoint, load: Load | None) -> Seen:
    elapsed_s, mean_outstanding, answers, latency_s = endpoint.meter.read(endpoint.outstanding)
    return Seen(elapsed_s, endpoint.limit, endpoint.outstanding, mean_outstanding, answers, latency_s, load)
