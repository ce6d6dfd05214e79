"""The pacer: looks, limits and senders, with servers that come, go, stay silent or fail to tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from captionqa.core.pacing import START
from captionqa.core.replies import NoAnswer, Verdict
from captionqa.run import endpoints, pacing
from captionqa.run.endpoints import EndpointPool
from captionqa.run.pacing import Pacer
from captionqa.server.probe import Counts
from captionqa.server.standin import StandInConfig
from captionqa.server.standin.app import build_app

FakeServers = Callable[..., Any]
A, B = "http://a/v1", "http://b/v1"


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY_S", "FIRST_LOOKS_S"):
        monkeypatch.setattr(pacing, name, 0.005)
    monkeypatch.setattr(endpoints, "RECHECK_FIRST_S", 0.001)
    monkeypatch.setattr(endpoints, "RECHECK_MOST_S", 0.005)


class Metrics:
    """What servers say of themselves: in flight at them is what the pool has lent."""

    def __init__(self) -> None:
        self.pool: EndpointPool | None = None
        self.slots = 1000
        self.silent = False
        self.asked = 0

    async def __call__(self, url: str) -> Counts | None:
        self.asked += 1
        await asyncio.sleep(0)
        assert self.pool is not None
        if self.silent:
            return None
        lent = sum(endpoint.outstanding for endpoint in self.pool.endpoints if endpoint.url == url)
        return Counts(min(lent, self.slots), max(0, lent - self.slots), self.asked * 100, 0.0, 0.1)


class Work:
    """Borrows whatever may be borrowed, as senders do, and gives it back when told to."""

    def __init__(self, pool: EndpointPool) -> None:
        self.pool = pool
        self.senders: list[int] = []

    def resize(self, count: int) -> None:
        self.senders.append(count)
        for endpoint in self.pool.endpoints:
            while endpoint.free:
                endpoint.meter.hold(endpoint.outstanding)
                endpoint.outstanding += 1


@asynccontextmanager
async def paced(metrics: Metrics, *servers: Any) -> AsyncIterator[tuple[EndpointPool, Work, Pacer]]:
    pool = EndpointPool(servers, limit=int(START), server_wait_s=60, say=lambda _: None)
    metrics.pool = pool
    work = Work(pool)
    pacer = Pacer(pool, metrics, patience_s=150, resize=work.resize)
    try:
        await pool.open(None)
        async with pacer.at_work():
            yield pool, work, pacer
    finally:
        await pool.close()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def within_time(body: Callable[[], Awaitable[None]]) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(60):  # for what hangs; nothing here is timed
            await body()

    asyncio.run(guarded())


def test_the_limit_doubles_while_the_server_runs_it_all_and_the_senders_follow(fake_server: FakeServers) -> None:
    async def body() -> None:
        async with paced(Metrics(), fake_server(A)) as (pool, work, pacer):
            await until(lambda: pool.endpoints[0].limit >= 512)
            assert work.senders[0] == START
            assert sorted(work.senders) == work.senders
            assert work.senders[-1] == pool.endpoints[0].limit
            assert pacer.found == {A: work.senders[-1]}

    within_time(body)


def test_every_server_has_its_own_limit_and_the_senders_are_for_all(fake_server: FakeServers) -> None:
    async def body() -> None:
        metrics = Metrics()
        first, second = fake_server(A), fake_server(B)
        second.down = NoAnswer(Verdict.TRANSIENT, "connection", "refused")
        async with paced(metrics, first, second) as (pool, work, _):
            await until(lambda: pool.endpoints[0].limit >= 128)
            assert pool.endpoints[1].limit == START
            assert work.senders[-1] == pool.endpoints[0].limit, "none for a server that is not there"
            second.down = None
            await until(lambda: pool.endpoints[1].limit >= 128)
            assert work.senders[-1] == sum(endpoint.limit for endpoint in pool.endpoints)
            pool.retire(pool.endpoints[0], "drained", abandon=False)
            await until(lambda: work.senders[-1] == pool.endpoints[0].limit)

    within_time(body)


def test_a_server_that_went_away_starts_anew(fake_server: FakeServers) -> None:
    async def body() -> None:
        server = fake_server(A)
        async with paced(Metrics(), server) as (pool, work, _):
            (endpoint,) = pool.endpoints
            await until(lambda: endpoint.limit >= 256)
            server.down = NoAnswer(Verdict.TRANSIENT, "connection", "refused")
            assert not await pool.is_alive(endpoint)
            endpoint.outstanding = 0
            senders = len(work.senders)
            await until(lambda: len(work.senders) == senders or not endpoint.up)
            await asyncio.sleep(0.02)
            server.down = None
            low = START * 2
            await until(lambda: endpoint.up and endpoint.limit <= low)
            await until(lambda: endpoint.limit >= 256)

    within_time(body)


def test_a_refusal_of_a_busy_server_is_heeded_at_once_and_kept(fake_server: FakeServers) -> None:
    async def body() -> None:
        async with paced(Metrics(), fake_server(A)) as (pool, _, _):
            (endpoint,) = pool.endpoints
            await until(lambda: endpoint.limit == 256)
            endpoint.outstanding = 256
            pool.give_back(endpoint, NoAnswer(Verdict.BUSY, "http_503", "queue full"))
            assert endpoint.limit == 128
            await asyncio.sleep(0.1)
            assert endpoint.limit < 240

    within_time(body)


def test_a_server_that_tells_nothing_is_asked_rarely_and_paced_by_its_answers(
    fake_server: FakeServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        metrics = Metrics()
        metrics.silent = True
        async with paced(metrics, fake_server(A)) as (pool, _, _):
            (endpoint,) = pool.endpoints
            most = endpoint.limit
            while most < 64:
                await asyncio.sleep(0.005)
                endpoint.meter.answers += round(endpoint.limit)  # a round of answers each look
                most = max(most, endpoint.limit)
            assert metrics.asked == 1
            monkeypatch.setattr(pacing, "ASKED_AGAIN_S", 0.0)

    within_time(body)


def test_one_look_that_fails_is_nothing_and_many_are_the_end_of_the_metrics(fake_server: FakeServers) -> None:
    async def body() -> None:
        metrics = Metrics()
        async with paced(metrics, fake_server(A)) as (pool, _, _):
            await until(lambda: pool.endpoints[0].limit >= 64)
            metrics.silent = True
            asked = metrics.asked
            await until(lambda: metrics.asked == asked + pacing.MISSED_LOOKS)
            await asyncio.sleep(0.05)
            assert metrics.asked == asked + pacing.MISSED_LOOKS

    within_time(body)


def test_a_bug_in_the_pacing_is_raised_when_the_work_is_done_and_leaves_no_task(fake_server: FakeServers) -> None:
    class Broken(Metrics):
        async def __call__(self, url: str) -> Counts | None:
            raise LookupError("a bug")

    done: list[bool] = []

    async def work() -> None:
        async with paced(Broken(), fake_server(A)) as (_, _, pacer):
            await asyncio.sleep(0.05)
            done.append(not pacer.found)

    async def body() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            await work()
        assert raised.group_contains(LookupError)
        assert done == [True]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    within_time(body)


def test_open_files_bound_all_requests_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing.resource, "getrlimit", lambda _: (1024, 4096))
    assert pacing.most_in_all() == 1024 - pacing.FEW_FILES
    monkeypatch.setattr(pacing.resource, "getrlimit", lambda _: (pacing.resource.RLIM_INFINITY,) * 2)
    assert pacing.most_in_all() == pacing.MOST_IN_ALL


@pytest.mark.parametrize("no_metrics", [False, True])
def test_the_counts_are_read_over_http_without_a_key(no_metrics: bool) -> None:
    async def body() -> None:
        runner = web.AppRunner(build_app(StandInConfig(api_key="secret", no_metrics=no_metrics)))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0]
            async with aiohttp.ClientSession() as session:
                counts = await pacing.asking(session)(f"http://{host}:{port}/v1")
        finally:
            await runner.cleanup()
        assert counts == (None if no_metrics else Counts(0, 0, 0, 0.0, 0.0, 1))

    within_time(body)
