"""The client: one request in, one outcome out, whatever the servers do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from captionqa.core.outcomes import Outcome, OutcomeKind
from captionqa.core.replies import NoAnswer, Verdict, classify_error
from captionqa.errors import ServerGone, ServerRefused
from captionqa.run import client as client_module
from captionqa.run import endpoints
from captionqa.run.client import MAX_ATTEMPTS, MAX_OUTAGES, Client
from captionqa.run.endpoints import EndpointPool

GONE = NoAnswer(Verdict.TRANSIENT, "connection", "connection refused")
FakeServers = Callable[..., Any]


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_jittered", lambda state: 0.0)
    monkeypatch.setattr(endpoints, "RECHECK_FIRST_S", 0.001)
    monkeypatch.setattr(endpoints, "RECHECK_MOST_S", 0.005)


def within_time(body: Callable[[], Awaitable[None]]) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(guarded())


@asynccontextmanager
async def client_of(*servers: Any, wait_s: float = 60.0, limit: int = 64, **settings: int) -> AsyncIterator[Client]:
    pool = EndpointPool(servers, limit=limit, server_wait_s=wait_s, say=lambda _: None)
    try:
        await pool.open(None)
        yield Client(pool, **settings)
    finally:
        await pool.close()


def ask(server: Any, body: bytes = b"{}", **settings: Any) -> Outcome:
    """The outcome of one request to one server."""
    found: list[Outcome] = []

    async def asking() -> None:
        async with client_of(server, **settings) as client:
            found.append(await client.ask(body))

    within_time(asking)
    return found[0]


def error(status: int, message: str = "no", **headers: str) -> NoAnswer:
    return classify_error(status, {name.replace("_", "-"): value for name, value in headers.items()}, message.encode())


def test_an_answer_is_the_outcome_with_all_that_was_said_about_it(fake_server: FakeServers) -> None:
    server = fake_server()
    outcome = ask(server, b'{"body": 1}')
    assert (outcome.kind, outcome.output, outcome.finish_reason) == (OutcomeKind.ANSWERED, "yes", "stop")
    assert (outcome.usage, outcome.attempts) == ({"prompt_tokens": 3}, 1)
    assert outcome.latency_s is not None
    assert outcome.latency_s >= 0
    assert (server.requests, server.canaries) == ([b'{"body": 1}'], 0)


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_request_that_is_at_fault_is_never_sent_again(fake_server: FakeServers, status: int) -> None:
    server = fake_server()
    server.script.append(error(status, "Image size exceeds limit of 178956970 pixels"))
    outcome = ask(server)
    reason = "image_too_large" if status == 500 else f"http_{status}"
    assert (outcome.kind, outcome.reason, outcome.attempts) == (OutcomeKind.REJECTED, reason, 1)
    assert outcome.detail == "Image size exceeds limit of 178956970 pixels"
    assert len(server.requests) == 1


@pytest.mark.parametrize("failures", range(MAX_ATTEMPTS + 1))
def test_a_passing_failure_is_tried_again_as_often_as_allowed(fake_server: FakeServers, failures: int) -> None:
    server = fake_server()
    server.script.extend([error(500, "worker hiccup")] * failures)
    outcome = ask(server)
    answered = failures < MAX_ATTEMPTS
    assert outcome.answered is answered
    assert outcome.attempts == len(server.requests) == min(failures + 1, MAX_ATTEMPTS)
    assert (outcome.reason, outcome.detail) == ((None, None) if answered else ("http_500", "worker hiccup"))
    assert outcome.kind is (OutcomeKind.ANSWERED if answered else OutcomeKind.FAILED)


def test_a_passing_failure_before_a_fault_of_the_request_ends_in_the_fault(fake_server: FakeServers) -> None:
    server = fake_server()
    server.script.extend([error(500), error(429), error(400, "too long")])
    outcome = ask(server)
    assert (outcome.kind, outcome.reason, outcome.attempts) == (OutcomeKind.REJECTED, "http_400", 3)


def test_refusals_of_a_busy_server_do_not_count_against_the_item(fake_server: FakeServers) -> None:
    server = fake_server()
    server.script.extend([error(503), error(429)] * 30)
    outcome = ask(server, max_attempts=1)
    assert (outcome.output, outcome.attempts, server.canaries) == ("yes", 61, 0)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error(401, "Unauthorized"), "refused the API key"),
        (error(404, "The model `x` does not exist."), "does not exist. Choose a served model with --model"),
        (error(404, "Not Found"), "Is this the base URL"),
        (error(307, "moved", location="https://login"), "redirect to https://login"),
    ],
)
def test_when_no_request_can_succeed_the_run_is_over(fake_server: FakeServers, reply: NoAnswer, said: str) -> None:
    server = fake_server()
    server.script.append(reply)
    with pytest.raises(ServerRefused) as raised:
        ask(server)
    assert said in str(raised.value)
    assert len(server.requests) == 1


def test_an_outage_counts_against_no_item_and_all_are_answered_after_it(fake_server: FakeServers) -> None:
    server = fake_server()

    async def body() -> None:
        async with client_of(server, max_attempts=1) as client:
            server.down, server.looks_until_up = GONE, 4
            outcomes = await asyncio.gather(*(client.ask(b"%d" % n) for n in range(200)))
        assert {outcome.output for outcome in outcomes} == {"yes"}
        assert max(outcome.attempts for outcome in outcomes) == 2
        assert server.canaries == 3  # two that found it gone, one that found it back: however many were in flight

    within_time(body)


def test_an_item_that_brings_the_server_down_each_time_is_given_up(fake_server: FakeServers) -> None:
    server = fake_server()
    server.dies_at = (b"poison",)

    async def body() -> None:
        async with client_of(server) as client:
            poison = await client.ask(b"poison")
            other = await client.ask(b"other")
        assert (poison.kind, poison.attempts) == (OutcomeKind.FAILED, MAX_OUTAGES)
        assert other.answered

    within_time(body)


def test_a_server_that_stays_away_ends_the_run_for_everybody(fake_server: FakeServers) -> None:
    server = fake_server()

    async def body() -> None:
        async with client_of(server, wait_s=0.05) as client:
            server.down = GONE
            ends = await asyncio.gather(*(client.ask(b"{}") for _ in range(100)), return_exceptions=True)
        assert {type(end) for end in ends} == {ServerGone}

    within_time(body)


def test_the_other_server_answers_what_the_first_could_not(fake_server: FakeServers) -> None:
    first, second = fake_server("http://first/v1"), fake_server("http://second/v1")

    async def body() -> None:
        async with client_of(first, second, max_attempts=1) as client:
            await asyncio.gather(*(client.ask(b"{}") for _ in range(20)))
            first.down = GONE
            outcomes = await asyncio.gather(*(client.ask(b"{}") for _ in range(100)))
            assert all(outcome.answered for outcome in outcomes)
            asked = len(first.requests)
            first.down = None
            while len(first.requests) == asked:
                await client.ask(b"{}")

    within_time(body)


@pytest.mark.parametrize(
    ("asked_for", "most", "slept"), [("0.08", 9.0, 0.08), ("3600", 0.03, 0.03), ("0", 9.0, 0.0), ("soon", 9.0, 0.0)]
)
@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_server_that_says_when_to_come_back_is_asked_then(
    fake_server: FakeServers, monkeypatch: pytest.MonkeyPatch, status: int, asked_for: str, most: float, slept: float
) -> None:
    monkeypatch.setattr(client_module, "RETRY_AFTER_MOST_S", most)
    server = fake_server()
    server.script.append(error(status, "later", retry_after=asked_for))
    started = time.monotonic()
    assert ask(server).answered
    assert slept <= time.monotonic() - started < slept + 1


def test_pauses_grow_are_jittered_and_are_bounded(fake_server: FakeServers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    waits: dict[int, list[float]] = {}
    policy = Client(EndpointPool([], limit=1, server_wait_s=1, say=lambda _: None))._policy
    for attempt in (1, 3, 50):
        state = client_module.tenacity.RetryCallState(policy, None, (), {})
        state.attempt_number = attempt
        failure = client_module._Failure(GONE, "http://a", client_module._Tries())
        state.set_exception((type(failure), failure, None))
        waits[attempt] = [client_module._wait_s(state) for _ in range(300)]
    assert all(min(found) >= 0 for found in waits.values())
    assert max(waits[1]) <= client_module.BACKOFF_FIRST_S
    assert client_module.BACKOFF_FIRST_S < max(waits[3]) <= 4 * client_module.BACKOFF_FIRST_S
    assert client_module.BACKOFF_MOST_S / 2 < max(waits[50]) <= client_module.BACKOFF_MOST_S
    assert len(set(waits[1])) > 200


def test_who_is_cancelled_gives_the_place_back(fake_server: FakeServers) -> None:
    server = fake_server()

    async def body() -> None:
        async with client_of(server, limit=1) as client:
            server.hold = asyncio.Event()
            asking = [asyncio.create_task(client.ask(b"{}")) for _ in range(3)]
            while not server.requests:
                await asyncio.sleep(0)
            asking[0].cancel()
            asking[1].cancel()
            server.hold.set()
            assert (await asking[2]).answered

    within_time(body)
