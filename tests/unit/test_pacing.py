"""Pacing: simulated servers of every kind, alone and shared, and the laws that hold at each of them."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionqa.core.climb import Climb
from captionqa.core.pacing import MOST_BLIND, MOST_PER_ENGINE, START, Load, Pace, Seen, step, without_metrics


@dataclass
class Server:
    """Runs up to ``slots`` requests at once; the others wait in its queue, first come first served."""

    slots: int = 64
    latency_s: float = 0.5
    slower_s: float = 0.0
    """Latency added by each request that runs beside."""
    before_s: float = 0.0
    """Time in its front end, where no metric counts a request."""
    metrics: bool = True
    refuses_above: int | None = None
    """Requests waiting, beyond which it says that it is busy."""
    running: int = 0
    finished: int = 0
    queue: deque[tuple[Client, float]] = field(default_factory=deque)


@dataclass(eq=False)
class Client:
    """Keeps as many requests in flight as its pacing says, if its feed has them."""

    joins_at: float = 0.0
    feed: int = 10**9
    """The most it ever has to send at once."""
    fixed: int | None = None
    pace: Pace = field(default_factory=Pace)
    limit: float = START
    outstanding: int = 0
    answers: int = 0
    latency_s: float = 0.0
    held_s: float = 0.0
    since: float = 0.0
    looked: float = 0.0
    refused: int = 0
    limits: list[tuple[float, float]] = field(default_factory=list)

    def hold(self, now: float) -> None:
        self.held_s += self.outstanding * (now - self.since)
        self.since = now


class World:
    """A clock, a server and its clients."""

    def __init__(self, server: Server, *clients: Client, seed: int = 0) -> None:
        self.server, self.clients, self.rng = server, clients, random.Random(seed)
        self.now, self._number = 0.0, itertools.count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        for client in clients:
            self.at(client.joins_at, self._join, client)

    def at(self, when: float, what: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (when, next(self._number), what, arguments))

    def run(self, until: float) -> float:
        """Returns the answers per second in that time."""
        begun, before = self.now, self.server.finished
        while self._events and self._events[0][0] <= until:
            self.now, _, what, arguments = heapq.heappop(self._events)
            what(*arguments)
        self.now = until
        return (self.server.finished - before) / (until - begun)

    def _join(self, client: Client) -> None:
        client.since = client.looked = self.now
        client.limit = client.fixed or client.pace.limit
        self._fill(client)
        if client.fixed is None:
            self.at(self.now + 0.2, self._look, client)

    def _fill(self, client: Client) -> None:
        while client.outstanding < client.limit and client.outstanding < client.feed:
            client.hold(self.now)
            client.outstanding += 1
            self.at(self.now + 0.002 + self.server.before_s, self._arrive, client, self.now)

    def _arrive(self, client: Client, sent: float) -> None:
        if self.server.refuses_above is not None and len(self.server.queue) > self.server.refuses_above:
            client.hold(self.now)
            client.outstanding -= 1
            client.refused += 1
            client.limit = max(1.0, min(client.limit, (client.pace.limit) / 2))  # once until the next look
            self.at(self.now + 0.5, self._fill, client)
            return
        self.server.queue.append((client, sent))
        self._admit()

    def _admit(self) -> None:
        server = self.server
        while server.queue and server.running < server.slots:
            client, sent = server.queue.popleft()
            server.running += 1
            latency_s = (server.latency_s + server.slower_s * server.running) * self.rng.uniform(0.8, 1.2)
            self.at(self.now + latency_s, self._finish, client, sent)

    def _finish(self, client: Client, sent: float) -> None:
        self.server.running -= 1
        self.server.finished += 1
        self._admit()
        client.hold(self.now)
        client.outstanding -= 1
        client.answers += 1
        client.latency_s += self.now - sent
        self._fill(client)

    def _look(self, client: Client) -> None:
        server, elapsed_s = self.server, self.now - client.looked
        client.hold(self.now)
        load = Load(server.running, len(server.queue), server.finished, 0.2) if server.metrics else None
        mean_latency_s = client.latency_s / client.answers if client.answers else 0.0
        seen = Seen(
            elapsed_s, client.limit, client.outstanding, client.held_s / elapsed_s, client.answers, mean_latency_s, load
        )
        client.pace = step(client.pace, seen)
        client.limit = client.pace.limit
        client.limits.append((self.now, client.limit))
        client.answers, client.latency_s, client.held_s, client.looked = 0, 0.0, 0.0, self.now
        self._fill(client)
        early = client.pace.doubling and self.now - client.joins_at < 5
        self.at(self.now + (0.2 if early else 1.0), self._look, client)


FIXED = (8, 64, 128, 256, 512)


def best_fixed(until: float, **server: Any) -> float:
    return max(World(Server(**server), Client(fixed=limit)).run(until) for limit in FIXED)


PROFILES = [
    {"latency_s": 0.1},
    {"latency_s": 0.5},
    {"latency_s": 5.0},
    {"slots": 8, "latency_s": 0.2},
    {"slots": 1, "latency_s": 0.2},
    {"slots": 512, "latency_s": 2.0},
    {"slots": 100, "latency_s": 0.5, "slower_s": 0.01},
    {"latency_s": 0.2, "before_s": 0.3},
]


@pytest.mark.parametrize("profile", PROFILES, ids=str)
def test_by_its_queue_every_server_gives_what_the_best_fixed_limit_gets_and_the_queue_is_short(
    profile: dict[str, Any],
) -> None:
    until = 60 + 8 * profile["latency_s"]
    world = World(Server(**profile), client := Client())
    assert world.run(until) >= 0.97 * best_fixed(20 + 8 * profile["latency_s"], **profile)
    server = world.server
    assert len(server.queue) <= 4 + 0.35 * server.running
    assert client.limit <= 2.7 * server.slots + 4


@pytest.mark.parametrize("latency_s", [0.05, 0.5, 5.0])
def test_the_best_is_found_within_seconds_however_slow_the_answers_are(latency_s: float) -> None:
    World(Server(slots=256, latency_s=latency_s), client := Client()).run(10)
    assert next(when for when, limit in client.limits if limit >= 256) <= 1.5
    assert 256 <= client.limit <= 256 * 1.3


def test_without_metrics_a_steady_server_gives_nearly_as_much_once_its_rounds_were_climbed() -> None:
    for profile in ({"latency_s": 0.2}, {"slots": 8, "latency_s": 0.2}, {"latency_s": 1.0}):
        world = World(Server(metrics=False, **profile), Client())
        world.run(60)
        assert world.run(160) >= 0.95 * best_fixed(20, metrics=False, **profile)


@settings(deadline=None, max_examples=15)
@given(
    slots=st.integers(1, 300),
    latency_s=st.floats(0.05, 3),
    slower_s=st.floats(0, 0.01),
    before_s=st.floats(0, 0.5),
    metrics=st.booleans(),
    seed=st.integers(0, 9),
)
def test_no_server_makes_the_limit_leave_its_bounds(seed: int, **profile: Any) -> None:
    World(Server(**profile), client := Client(), seed=seed).run(12)
    most = MOST_PER_ENGINE if profile["metrics"] else MOST_BLIND
    assert all(1 <= limit <= most for _, limit in client.limits)


@pytest.mark.parametrize("metrics", [True, False])
def test_a_feed_that_is_the_bottleneck_gets_no_more_than_it_uses(metrics: bool) -> None:
    World(Server(slots=512, metrics=metrics), client := Client(feed=20)).run(60)
    assert client.limit <= 32


@settings(deadline=None, max_examples=6)
@given(
    count=st.integers(2, 8), apart_s=st.floats(0, 20), latency_s=st.floats(0.2, 1.0), slots=st.sampled_from([32, 64])
)
def test_clients_that_share_a_server_end_with_equal_parts_of_it(
    count: int, apart_s: float, latency_s: float, slots: int
) -> None:
    clients = [Client(joins_at=number * apart_s) for number in range(count)]
    world = World(Server(slots=slots, latency_s=latency_s), *clients)
    world.run(count * apart_s + 150)
    limits = [client.limit for client in clients]
    assert min(limits) >= 0.6 * max(limits)
    assert sum(limits) <= slots * (1.6 + 0.2 * count**0.5)
    assert world.run(world.now + 30) >= 0.95 * slots / latency_s


def test_many_clients_make_a_queue_that_grows_with_the_root_of_their_number() -> None:
    clients = [Client(joins_at=number) for number in range(36)]
    world = World(Server(), *clients)
    world.run(240)
    assert len(world.server.queue) <= 1.2 * 64 * 6 / 8 + 36
    assert max(client.limit for client in clients) <= 8


def test_a_server_that_becomes_larger_or_smaller_is_followed() -> None:
    world = World(Server(slots=64), client := Client())
    world.run(30)
    world.server.slots = 256
    world.run(90)
    assert client.limit >= 256
    world.server.slots = 16
    world.run(150)
    assert client.limit <= 16 * 1.5


def test_a_place_that_another_client_leaves_is_taken() -> None:
    world = World(Server(), staying := Client(), leaving := Client())
    world.run(40)
    assert staying.limit <= 45
    leaving.feed = 0
    world.run(80)
    assert staying.limit >= 64


def test_a_server_that_refuses_early_is_not_asked_into_refusing_all_the_time() -> None:
    world = World(Server(refuses_above=2), client := Client())
    world.run(60)
    refused = client.refused
    assert world.run(180) >= 0.85 * 64 / 0.5
    assert client.refused - refused <= 60


def look(load: Load | None = None, **changes: Any) -> Seen:
    return replace(Seen(1.0, 64.0, 64.0, 64.0, 64, 0.5, load), **changes)


def steady(**changes: Any) -> Pace:
    return replace(Pace(), climb=Climb(64.0, first=False), finished=0.0, running=64.0, capacity=64.0, **changes)


def test_a_refusal_lowers_the_limit_to_what_was_put_in_force_and_ends_the_doubling() -> None:
    pace = step(Pace(), look(limit=8.0, outstanding=16.0))
    assert (pace.limit, pace.doubling, pace.ceiling) == (8.0, False, pytest.approx(14.4))


def test_a_burst_that_waits_for_a_moment_is_no_queue_and_one_that_lasts_is() -> None:
    pace = step(Pace(), look(Load(4, 12, 0), elapsed_s=0.2, limit=16, outstanding=16, mean_outstanding=16))
    assert (pace.limit, pace.doubling) == (16, True)
    gone = step(pace, look(Load(16, 0, 0), elapsed_s=0.2, limit=16, outstanding=16, mean_outstanding=16))
    assert (gone.limit, gone.doubling) == (32, True)
    for _ in range(4):
        pace = step(pace, look(Load(4, 12, 0), elapsed_s=0.2, limit=16, outstanding=16, mean_outstanding=16))
    assert (pace.limit, pace.doubling) == (7, False)


def test_what_was_sent_before_the_limit_was_lowered_does_not_lower_it_again() -> None:
    pace = steady(waiting=8.0)
    for _ in range(20):
        pace = step(pace, look(Load(64, 64, 0), outstanding=120.0, mean_outstanding=120.0, limit=pace.limit))
    assert pace.limit == pytest.approx(64, abs=4)


def test_a_full_kv_cache_allows_no_growth() -> None:
    for kv_use, most in ((0.95, 64), (1.0, 64), (0.4, 128), (0.9, 68)):
        pace = steady()
        for _ in range(60):
            pace = step(pace, look(Load(48, 0, 0, kv_use), mean_outstanding=pace.limit, limit=pace.limit))
            assert pace.limit >= 64
            if kv_use >= 0.95:
                assert pace.limit == most
        doubled = step(Pace(), look(Load(16, 0, 0, kv_use), limit=16, outstanding=16, mean_outstanding=16))
        assert doubled.limit == pytest.approx(16 * most / 64, rel=0.02)


def test_answers_that_come_close_to_the_time_out_halve_the_limit_once_per_round() -> None:
    pace = steady(patience_s=150.0)
    slow = look(latency_s=200.0, answers=4)
    pace = step(pace, slow)
    assert pace.limit == 32
    for _ in range(15):
        pace = step(pace, replace(slow, limit=32.0))
    assert pace.limit == 32
    assert step(step(pace, replace(slow, limit=32.0)), replace(slow, limit=32.0)).limit < 32


def test_several_engines_may_have_more_and_one_that_is_restarted_counts_from_nought() -> None:
    pace = replace(steady(), climb=Climb(1024.0, first=False), running=900.0, capacity=2000.0)
    seen = look(Load(900, 0, 5, None, 4), limit=1024, outstanding=1024, mean_outstanding=1024)
    assert step(pace, seen).limit > 1024
    assert step(pace, replace(seen, load=Load(900, 0, 5, None, 1))).limit == 1024
    assert step(replace(pace, finished=1000.0), seen).finished == 5


def test_a_look_that_failed_changes_nothing_and_metrics_that_ended_leave_the_rate() -> None:
    pace = steady()
    assert step(pace, look()).limit == 64
    assert step(pace, look()).unseen_s == 1.0
    blind = without_metrics(pace)
    for _ in range(3):
        blind = step(blind, look(limit=blind.limit, mean_outstanding=blind.limit, answers=256))
    assert blind.limit > 64


def test_places_that_stay_free_because_of_a_bottleneck_before_the_engine_do_not_make_the_limit_run_away() -> None:
    pace = steady()
    for second in range(1, 600):
        finished = 80.0 * second  # whatever the limit, and the engine runs 40 of the 64 it could
        seen = look(Load(40, 0, finished), limit=pace.limit, outstanding=pace.limit, mean_outstanding=pace.limit)
        pace = step(pace, replace(seen, answers=80))
        assert pace.limit <= 64 * 1.8  # while a step is tried
    assert pace.limit <= 64 * 1.2
