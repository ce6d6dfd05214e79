"""When an engine counts as ready, as stuck, as drained: against a probe and a log that do what a script says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import chain, count, repeat
from typing import Any

import pytest

from captionqa.server.probe import Counts, Life, Reply
from captionqa.server.settings import Pace
from captionqa.server.watch import EngineRefused, EngineStuck, Watch

QUICK = Pace(poll_s=0.001, probe_s=1, canary_every_s=0.001, canary_s=0.001, quiet_s=0.005)
ANSWERED = Reply(Life.ANSWERED)
BUSY = Reply(Life.BUSY, "503: busy", 503)
TROUBLE = Reply(Life.TROUBLE, "500: oh", 500)
IDLE = Counts(0, 0, 5, 100.0)


class ScriptedProbe:
    """Each answer once, the last for ever; it notes what it was asked."""

    def __init__(
        self,
        health: Iterable[int | None] = (200,),
        replies: Iterable[Reply] = (ANSWERED,),
        counts: Iterable[Counts | None] = (IDLE,),
    ) -> None:
        self._health, self._replies, self._counts = map(_for_ever, (health, replies, counts))
        self.asked: list[bool] = []
        """Whether with an image, per request."""
        self.looks = 0

    async def health(self, timeout_s: float) -> Any:
        await asyncio.sleep(0)
        return next(self._health)

    async def ask(self, timeout_s: float, *, image: bool) -> Any:
        await asyncio.sleep(0)
        self.asked.append(image)
        return next(self._replies)

    async def counts(self, timeout_s: float) -> Any:
        await asyncio.sleep(0)
        self.looks += 1
        return next(self._counts)


def _for_ever(script: Iterable[Any]) -> Iterator[Any]:
    """The script, and then its last entry again and again."""
    last = None
    for last in script:
        yield last
    yield from repeat(last)


class ScriptedLog:
    def __init__(self, *, moves: bool) -> None:
        self._marks = count() if moves else repeat(0)

    def mark(self) -> tuple[int, int]:
        return next(self._marks), 0


def watch(probe: ScriptedProbe, *, log_moves: bool = True, vision: bool = True, stall_s: float = 30.0) -> Watch:
    return Watch(probe, ScriptedLog(moves=log_moves), QUICK, vision=vision, stall_s=stall_s)  # type: ignore[arg-type]


def within_time(body: Callable[[], Awaitable[None]]) -> None:
    async def guarded() -> None:
        async with asyncio.timeout(20):
            await body()

    asyncio.run(guarded())


@pytest.mark.parametrize("vision", [True, False])
def test_ready_is_health_and_a_completion(vision: bool) -> None:
    probe = ScriptedProbe(health=[None, None, 503, 200])
    watched = watch(probe, vision=vision)
    assert watched.ready_s == 0
    within_time(watched.until_ready)
    assert probe.asked == [vision]
    assert watched.ready_s > 0


def test_errors_that_may_pass_are_tried_again() -> None:
    probe = ScriptedProbe(replies=[TROUBLE, BUSY, TROUBLE, ANSWERED])
    within_time(watch(probe).until_ready)
    assert len(probe.asked) == 4


@pytest.mark.parametrize(
    ("status", "words", "vision", "expected"),
    [
        (400, "At most 0 image(s)", True, "does not take an image; the server says 400: At most 0 image.*--no-vision"),
        (400, "too long", False, "does not take the simplest request; the server says 400: too long"),
        (401, "Unauthorized", True, "does not accept its own key"),
    ],
)
def test_a_refusal_is_final_and_quotes_the_server(status: int, words: str, vision: bool, expected: str) -> None:
    probe = ScriptedProbe(replies=[Reply(Life.REFUSED, f"{status}: {words}", status)])
    with pytest.raises(EngineRefused, match=expected):
        within_time(watch(probe, vision=vision).until_ready)


def test_no_start_is_too_long_while_the_log_moves() -> None:
    probe = ScriptedProbe(health=chain(repeat(None, 300), [200]))
    within_time(watch(probe, stall_s=0.001).until_ready)  # each look comes later than that


def test_a_log_that_stands_still_for_too_long_is_a_stall() -> None:
    with pytest.raises(EngineStuck, match=r"within 0.02 s \(nobody answers, and its log has not moved\)"):
        within_time(watch(ScriptedProbe(health=[None]), log_moves=False, stall_s=0.02).until_ready)


@pytest.mark.parametrize(
    ("probe", "why"),
    [(ScriptedProbe(health=[503]), "/health says 503"), (ScriptedProbe(replies=[TROUBLE]), "500: oh")],
)
def test_an_engine_that_answers_nothing_but_errors_is_stuck_although_its_log_moves(
    probe: ScriptedProbe, why: str
) -> None:
    with pytest.raises(EngineStuck, match=why):
        within_time(watch(probe, stall_s=0.02).until_ready)


def looked_after(probe: ScriptedProbe, looks: int) -> list[str]:
    """What is said until it has looked so often. Raises: EngineStuck."""
    said: list[str] = []

    async def body() -> None:
        task = asyncio.create_task(watch(probe).look_after(said.append))
        while probe.looks < looks and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            await task

    within_time(body)
    return said


def test_progress_is_proof_enough() -> None:
    probe = ScriptedProbe(counts=(Counts(9, 9, 0, float(tokens)) for tokens in count()))
    looked_after(probe, 50)
    assert probe.asked == []


@pytest.mark.parametrize("counts", [[IDLE], [None], [Counts(9, 9, 0, 0.0)]])
def test_without_progress_a_text_request_must_be_answered(counts: list[Counts | None]) -> None:
    probe = ScriptedProbe(counts=counts, replies=[ANSWERED, BUSY])
    looked_after(probe, 20)
    assert len(probe.asked) > 5
    assert not any(probe.asked)


def test_its_own_requests_are_no_progress() -> None:
    """Tokens of a tiny request are counted too; the next look must not take them for a client's."""
    tokens = (Counts(0, 0, n // 2, float(n // 2)) for n in count())  # moves between the canary and the look behind it
    probe = ScriptedProbe(counts=tokens)
    looked_after(probe, 41)
    assert len(probe.asked) == 20


def test_one_request_without_an_answer_is_an_accident_and_two_in_a_row_are_a_hang() -> None:
    said = looked_after(ScriptedProbe(replies=[TROUBLE, ANSWERED] * 10 + [ANSWERED]), 20)
    assert "500: oh" in said[0]
    with pytest.raises(EngineStuck, match=r"two tiny requests in a row with nothing \(500: oh\)"):
        looked_after(ScriptedProbe(replies=[ANSWERED, TROUBLE, TROUBLE]), 20)


def test_drained_is_when_nothing_has_run_or_waited_for_a_moment() -> None:
    busy = [Counts(1, 0, 0, 0.0), Counts(0, 2, 0, 0.0), None]
    probe = ScriptedProbe(counts=[*busy, IDLE])
    within_time(lambda: watch(probe).until_drained(15))
    assert probe.looks > len(busy)


def test_draining_ends_with_its_time() -> None:
    within_time(lambda: watch(ScriptedProbe(counts=[None])).until_drained(0.01))


def test_requests_of_clients_are_counted_without_our_own() -> None:
    async def body() -> None:
        watched = watch(ScriptedProbe())
        assert watched.clients_served == 0
        await watched.until_ready()
        await watched.look()
        assert watched.clients_served == IDLE.finished - 1

    within_time(body)
