"""Endpoints: who is asked, how much at a time, and what happens when servers go and come."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from captionqa.core.replies import NoAnswer, Verdict
from captionqa.errors import ServerGone, ServerRefused
from captionqa.run import endpoints
from captionqa.run.endpoints import Endpoint, EndpointPool

GONE = NoAnswer(Verdict.TRANSIENT, "connection", "connection refused")
BUSY = NoAnswer(Verdict.BUSY, "http_503", "loading")
FakeServers = Callable[..., Any]


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "RECHECK_FIRST_S", 0.001)
    monkeypatch.setattr(endpoints, "RECHECK_MOST_S", 0.005)


def within_time(body: Callable[[], Awaitable[None]]) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(guarded())


@asynccontextmanager
async def opened(*servers: Any, limit: int = 4, wait_s: float = 60.0, model: str | None = None, heard: Any = None):
    pool = EndpointPool(servers, limit=limit, server_wait_s=wait_s, say=(heard if heard is not None else []).append)
    try:
        await pool.open(model)
        yield pool
    finally:
        await pool.close()


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def test_the_first_server_that_is_there_settles_the_model_and_the_others_join(fake_server: FakeServers) -> None:
    late, there = fake_server("http://late/v1"), fake_server("http://there/v1")
    late.down = GONE
    heard: list[str] = []

    async def body() -> None:
        async with opened(late, there, heard=heard) as pool:
            assert pool.model == "org/model"
            assert [endpoint.up for endpoint in pool.endpoints] == [False, True]
            late.down = None
            await until(lambda: pool.endpoints[0].up)

    within_time(body)
    assert sorted(heard) == [
        "http://late/v1 is there and serves org/model",
        "http://there/v1 is there and serves org/model",
        "waiting for http://late/v1 (connection: connection refused), up to 60 s; Ctrl-C stops",
    ]


@pytest.mark.parametrize("trouble", [GONE, BUSY, "no model yet"])
def test_a_server_that_is_not_ready_yet_is_waited_for(fake_server: FakeServers, trouble: Any) -> None:
    server = fake_server()
    if trouble == "no model yet":
        server.served = {}
    else:
        server.down, server.looks_until_up = trouble, 5

    async def body() -> None:
        opening = asyncio.create_task(opened(server).__aenter__())
        await until(lambda: server.lists >= 3)
        server.served = {"org/model": None}
        pool = await opening
        assert pool.model == "org/model"
        await pool.close()

    within_time(body)


@pytest.mark.parametrize(
    ("reason", "detail", "said"),
    [
        ("http_401", "Unauthorized", "refused the API key (401: Unauthorized). Give the server's key with --api-key"),
        ("http_403", "no", "refused the API key (403: no)"),
        ("http_404", "Not Found", "answers 404 (Not Found). Is this the base URL"),
        ("http_302", "redirect to /login", "answers 302"),
    ],
)
def test_a_refusal_ends_the_waiting_at_once_and_says_what_to_change(
    fake_server: FakeServers, reason: str, detail: str, said: str
) -> None:
    server = fake_server()
    server.no_list = NoAnswer(Verdict.REFUSED, reason, detail)

    async def body() -> None:
        with pytest.raises(ServerRefused) as raised:
            async with opened(server):
                pass
        assert said in str(raised.value)

    within_time(body)


def test_a_model_that_is_not_served_is_refused_with_a_list_of_those_that_are(fake_server: FakeServers) -> None:
    server = fake_server()
    server.served = {"org/model": None, "org/other": None}

    async def body() -> None:
        with pytest.raises(ServerRefused, match=r"serves org/model, org/other, not wanted\. .*--model"):
            async with opened(server, model="wanted"):
                pass
        async with opened(server, model="org/other") as pool:
            assert pool.model == "org/other"

    within_time(body)


def test_a_server_without_a_list_of_models_is_believed_when_the_user_names_one(fake_server: FakeServers) -> None:
    server = fake_server()
    server.no_list = NoAnswer(Verdict.REFUSED, "http_404", "Not Found")

    async def body() -> None:
        async with opened(server, model="wanted") as pool:
            assert pool.model == "wanted"

    within_time(body)


def test_when_no_server_comes_the_waiting_ends_and_says_how_to_wait_longer(fake_server: FakeServers) -> None:
    servers = fake_server("http://a/v1"), fake_server("http://b/v1")
    for server in servers:
        server.down = GONE

    async def body() -> None:
        with pytest.raises(ServerGone, match=r"no server for 0 s \(connection: .*--server-wait"):
            async with opened(*servers, wait_s=0.05):
                pass

    within_time(body)


def test_a_bug_in_the_looking_is_raised_and_does_not_hang(fake_server: FakeServers) -> None:
    server = fake_server()
    server.served = {None: None}  # joining names fails with a TypeError

    async def body() -> None:
        with pytest.raises(TypeError):
            async with opened(server, model="wanted"):
                pass

    within_time(body)


def test_the_least_loaded_endpoint_is_lent_and_none_beyond_its_limit(fake_server: FakeServers) -> None:
    async def body() -> None:
        async with opened(fake_server("http://a/v1"), fake_server("http://b/v1"), limit=3) as pool:
            await until(lambda: all(endpoint.up for endpoint in pool.endpoints))
            lent = [await pool.borrow() for _ in range(6)]
            assert all(len({endpoint.url for endpoint in lent[n : n + 2]}) == 2 for n in (0, 2, 4))
            waiting = asyncio.create_task(pool.borrow())
            await asyncio.sleep(0)
            assert not waiting.done()
            pool.give_back(lent[1], None)
            assert await waiting is lent[1]

    within_time(body)


def test_a_busy_server_is_given_half_and_grows_back_with_its_answers(fake_server: FakeServers) -> None:
    async def body() -> None:
        async with opened(fake_server(), limit=16) as pool:
            lent = [await pool.borrow() for _ in range(16)]
            for endpoint in lent:
                pool.give_back(endpoint, BUSY)
            (endpoint,) = pool.endpoints
            assert endpoint.limit == 8  # one moment's refusals halve once
            for _ in range(10):
                endpoint.slowed_at -= 2  # later
                pool.give_back(await pool.borrow(), BUSY)
            assert endpoint.limit == 1
            answers = 0
            while endpoint.limit < 16:
                pool.answered(endpoint)
                answers += 1
            assert 50 < answers < 200  # about one more per round of answers
            pool.answered(endpoint)
            assert endpoint.limit == 16

    within_time(body)


def test_a_server_that_is_only_ever_busy_is_given_up(fake_server: FakeServers) -> None:
    async def body() -> None:
        async with opened(fake_server(), wait_s=0.02) as pool:
            for _ in range(2):
                endpoint = await pool.borrow()
                pool.give_back(endpoint, BUSY)
                await asyncio.sleep(0.03)
            pool.give_back(endpoint, BUSY)
            with pytest.raises(ServerGone, match="only http_503: loading"):
                await pool.borrow()

    within_time(body)


@pytest.mark.parametrize(
    ("canary", "asked"),
    [
        ([], 1),
        ([BUSY], 1),
        ([NoAnswer(Verdict.TRANSIENT, "empty", "")], 1),
        ([NoAnswer(Verdict.REJECTED, "http_400", "max_tokens")], 1),
        ([GONE], 2),  # a passing fault
    ],
)
def test_a_server_that_answers_anything_sensible_is_alive_and_asked_once_for_all(
    fake_server: FakeServers, canary: list[NoAnswer], asked: int
) -> None:
    server = fake_server()

    async def body() -> None:
        async with opened(server) as pool:
            server.canary_script.extend(canary)
            assert all(await asyncio.gather(*(pool.is_alive(pool.endpoints[0]) for _ in range(20))))
            assert server.canaries == asked
            assert await pool.is_alive(pool.endpoints[0])
            assert server.canaries == asked + 1

    within_time(body)


def test_asking_whether_a_server_lives_survives_one_who_stops_waiting(fake_server: FakeServers) -> None:
    server = fake_server()

    async def body() -> None:
        async with opened(server) as pool:
            asking = [asyncio.create_task(pool.is_alive(pool.endpoints[0])) for _ in range(3)]
            await asyncio.sleep(0)
            asking[0].cancel()
            assert await asyncio.gather(*asking[1:]) == [True, True]

    within_time(body)


def test_a_server_that_is_lost_is_not_lent_until_it_completes_again(fake_server: FakeServers) -> None:
    server = fake_server()
    heard: list[str] = []

    async def body() -> None:
        async with opened(server, heard=heard) as pool:
            server.down = GONE
            assert not await pool.is_alive(pool.endpoints[0])
            assert not await pool.is_alive(pool.endpoints[0])
            waiting = asyncio.create_task(pool.borrow())
            # It lists its models again, but completes nothing: shutting down, or not up yet.
            server.canary_script.extend([GONE] * 5)
            server.down = None
            assert (await waiting).url == server.url
            assert not server.canary_script

    within_time(body)
    assert heard[1].startswith("http://a/v1 does not answer (connection: connection refused); waiting")
    assert heard[-1] == "http://a/v1 is there and serves org/model"


def test_a_server_that_hangs_is_lost(fake_server: FakeServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "CANARY_TIMEOUT_S", 0.02)
    server = fake_server()

    async def body() -> None:
        async with opened(server) as pool:
            server.hold = asyncio.Event()
            assert not await pool.is_alive(pool.endpoints[0])
            assert "no completion within" in pool.endpoints[0].trouble
            server.hold.set()
            await pool.borrow()

    within_time(body)


def test_the_second_server_takes_over_and_the_first_is_taken_back(fake_server: FakeServers) -> None:
    first, second = fake_server("http://first/v1"), fake_server("http://second/v1")

    async def lend(pool: EndpointPool, count: int) -> Counter[str]:
        lent: list[Endpoint] = [await pool.borrow() for _ in range(count)]
        for endpoint in lent:
            pool.give_back(endpoint, None)
        return Counter(endpoint.url for endpoint in lent)

    async def body() -> None:
        async with opened(first, second, wait_s=0.01) as pool:  # its own waiting time does not end the other's work
            await until(lambda: all(endpoint.up for endpoint in pool.endpoints))
            first.down = GONE
            assert not await pool.is_alive(pool.endpoints[0])
            await asyncio.sleep(0.05)
            assert await lend(pool, 4) == {second.url: 4}
            first.down = None
            await until(lambda: pool.endpoints[0].up)
            assert await lend(pool, 4) == {first.url: 2, second.url: 2}

    within_time(body)


def test_closing_leaves_no_task_behind(fake_server: FakeServers) -> None:
    up, down = fake_server("http://up/v1"), fake_server("http://down/v1")
    down.down = GONE

    async def body() -> None:
        async with opened(up, down) as pool:
            up.hold = asyncio.Event()
            asking = asyncio.create_task(pool.is_alive(pool.endpoints[0]))
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert asyncio.all_tasks() == {asyncio.current_task()}

    within_time(body)
