"""Pacing: how many requests to have in flight at one server, from what it says of itself and how it answers.

In: the state and an observation. Out: the next state, with the new limit. Pure: no clock, no I/O.

A server that tells its queue (vLLM's ``/metrics``) is kept busy with a short one: the limit doubles while what is sent
is taken into the running batch, and from the first lasting queue on it follows the queue's length. The queue is
everybody's, and a client that has little of the server wants more of a queue for its part than one that has much: so
several end up with equal parts, and with a queue that grows with the root of their number. Where no queue is seen (no
metrics; a server that takes in everything; a bottleneck before the engine, or in this client) a step has to pay in
answers per second: see `climb`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from captionqa.core.climb import Climb

START = 16.0
MOST_PER_ENGINE = 1024.0
"""The most that vLLM runs in one engine by default on large cards."""
MOST_BLIND = 512.0
"""For a server that does not tell its queue, so that several clients cannot drive each other up without end."""
QUEUE_SHARE = 1 / 6
"""Requests waiting per request running, for one client: enough that the batch is refilled while a gone answer's
successor is on its way."""
QUEUE_LEAST = 3.0
GAIN_PER_S = 0.4
"""How much of a too long or too short queue is corrected in a second."""
MOST_CHANGE = 0.25
"""Of the limit, in one step, once the first doublings are over."""
SMOOTHED_OVER_S = 2.0
"""The counts are those of one moment in a server that works in bursts."""
LASTING_S = 0.7
"""A queue that is still there after so long is one; before, a burst may only wait to be read in."""
USED = 0.85
"""Share of the limit that must be in flight on average before more can be of use."""
TAKEN = 0.7
"""Share of what is in flight that the engine must be running for more to be given at once."""
KV_FULL = 0.95
"""Beyond it vLLM starts to drop running requests and to compute them again."""
ROOM = 0.9
"""Of what a server ran while it had a queue: below it, it has places free."""
REFUSED_STEP = 0.9
"""Of the limit at which a server refused for being busy: no more than that for a while."""
FORGIVEN_PER_S = 0.005


@dataclass(frozen=True, slots=True)
class Load:
    """What a server says of itself, over all its engines and all its clients."""

    running: float
    waiting: float
    finished: float
    """Requests since it started."""
    kv_use: float | None = None
    """Of its fullest engine, 0 to 1."""
    engines: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened at one server since the last observation."""

    elapsed_s: float
    limit: float
    """In force at the end; less than the one given when the server refused for being busy."""
    outstanding: float
    """In flight at the end."""
    mean_outstanding: float
    answers: int
    latency_s: float = 0.0
    """Mean over the answers."""
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """State of one server's pacing. Start with ``Pace()``."""

    climb: Climb = field(default_factory=lambda: Climb(START))
    patience_s: float = math.inf
    """Mean latency that must not be passed: well below the time-out of a request."""
    running: float = 0.0
    waiting: float = 0.0
    """As the server says, smoothed; what is above the limit and will go by itself is not counted as waiting."""
    capacity: float = 0.0
    """What the server ran when it last had a queue."""
    queued_s: float = 0.0
    """For how long there has been a queue."""
    finished: float | None = None
    unseen_s: float = 0.0
    """Since ``finished`` was read."""
    ceiling: float = math.inf
    """From a refusal for being busy."""
    late: float = 0.0
    """Answers still to come that were sent before the limit was cut for their latency."""

    @property
    def limit(self) -> float:
        return self.climb.limit

    @property
    def doubling(self) -> bool:
        return self.climb.first

    def to(self, limit: float, *, doubling: bool = False) -> Pace:
        return replace(self, climb=self.climb.at(max(1.0, limit), first=doubling))


def step(pace: Pace, seen: Seen) -> Pace:
    """The state after an observation; its ``limit`` is to be set."""
    if seen.limit < pace.limit:
        # What it was sent before and took does not count as refused.
        ceiling = min(pace.ceiling, REFUSED_STEP * max(pace.limit, seen.outstanding))
        return replace(pace, ceiling=max(1.0, ceiling)).to(seen.limit)
    forgiven = pace.ceiling * (1 + FORGIVEN_PER_S * seen.elapsed_s)
    pace = replace(pace, ceiling=forgiven, late=max(0.0, pace.late - seen.answers))
    if seen.latency_s > pace.patience_s and not pace.late:
        return replace(pace, late=seen.outstanding).to(pace.limit / 2)
    done: float | None = seen.answers
    if seen.load is not None:
        pace, done = _note(pace, seen, seen.load)
        by_queue = _follow_queue(pace, seen, seen.load)
        if by_queue is not None:
            return by_queue
    elif pace.finished is not None:
        return replace(pace, unseen_s=pace.unseen_s + seen.elapsed_s)  # it did not answer this once
    if not _used(pace, seen):
        return replace(pace, climb=pace.climb.idle())
    if done is None:
        return pace
    most = _most(pace, seen)
    if 2 * seen.latency_s > pace.patience_s:
        most = pace.limit
    climbed = pace.climb.observe(seen.answers, done, seen.elapsed_s, most)
    return replace(pace, climb=climbed)


def without_metrics(pace: Pace) -> Pace:
    """The server has stopped telling its queue."""
    return replace(pace, finished=None, running=0.0, waiting=0.0, capacity=0.0)


def _used(pace: Pace, seen: Seen) -> bool:
    return seen.mean_outstanding >= USED * pace.limit


def _most(pace: Pace, seen: Seen) -> float:
    """No growth goes beyond this limit. At least the present one: growth ends here, nothing is taken back."""
    load = seen.load
    most = MOST_BLIND if load is None else MOST_PER_ENGINE * load.engines
    most = min(most, pace.ceiling)
    if load is not None and load.kv_use:
        most = min(most, pace.limit * KV_FULL / load.kv_use)
    return max(pace.limit, most)


def _note(pace: Pace, seen: Seen, load: Load) -> tuple[Pace, float | None]:
    """Take in the counts. Also returns the requests finished since the last time, None when that is not known."""
    waiting = _own_excess_apart(pace, seen, load)
    queued = waiting > _target(load.running) / 2
    new = 1.0 if pace.finished is None else 1 - math.exp(-seen.elapsed_s / SMOOTHED_OVER_S)
    smoothed = replace(
        pace,
        running=pace.running + new * (load.running - pace.running),
        waiting=pace.waiting + new * (waiting - pace.waiting),
        queued_s=pace.queued_s + seen.elapsed_s if queued else 0.0,
        finished=load.finished,
        unseen_s=0.0,
    )
    if pace.finished is None or load.finished < pace.finished:  # the first look, or it was started again
        return smoothed, None
    share = seen.elapsed_s / (seen.elapsed_s + pace.unseen_s)
    return smoothed, share * (load.finished - pace.finished)


def _target(running: float) -> float:
    """The length of queue that is wanted."""
    return max(QUEUE_LEAST, QUEUE_SHARE * running)


def _own_excess_apart(pace: Pace, seen: Seen, load: Load) -> float:
    """Requests waiting, without those that were sent before the limit was lowered and are not replaced."""
    return max(0.0, load.waiting - max(0.0, seen.outstanding - math.ceil(pace.limit)))


def _follow_queue(pace: Pace, seen: Seen, load: Load) -> Pace | None:
    """The limit by the server's queue; None when the queue says nothing."""
    if pace.doubling:
        return _double(pace, seen, load)
    target = _target(pace.running)
    if pace.waiting >= target / 2:
        pace = replace(pace, capacity=max(pace.running, 0.99 * pace.capacity))
    # Places that stay free because what is sent does not get there in time are none that more would fill.
    taken = pace.running + pace.waiting >= TAKEN * seen.outstanding
    if pace.waiting < target / 4 and not (taken and pace.running < ROOM * pace.capacity):
        return None
    share = min(1.0, pace.limit / max(1.0, pace.running + pace.waiting))
    change = GAIN_PER_S * seen.elapsed_s * (target * math.sqrt(share) - pace.waiting * share)
    if change > 0 and not _used(pace, seen):
        return replace(pace, climb=pace.climb.idle())
    change = max(-MOST_CHANGE * pace.limit, min(MOST_CHANGE * pace.limit, change))
    return pace.to(min(pace.limit + change, _most(pace, seen)))


def _double(pace: Pace, seen: Seen, load: Load) -> Pace | None:
    """The first seconds, by the counts of the moment."""
    waiting, target = _own_excess_apart(pace, seen, load), _target(load.running)
    if pace.queued_s > 0:
        if pace.queued_s < LASTING_S:
            return pace
        # All of the excess at once: it is of our own making, up to our share.
        share = min(1.0, seen.outstanding / max(1.0, load.running + load.waiting))
        pace = replace(pace, capacity=load.running, running=load.running, waiting=min(waiting, target))
        return pace.to(pace.limit - max(0.0, waiting - target) * share)
    # In flight now, not on average: the average of the first look has the start in it.
    used = seen.outstanding >= USED * pace.limit
    if used and load.running >= TAKEN * seen.outstanding:
        limit = min(2 * pace.limit, _most(pace, seen))
        return pace.to(limit, doubling=limit > pace.limit)
    return None
