"""The runner: every item into the store once, and an end whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from captionqa.core.items import ImageSource, Item
from captionqa.core.outcomes import Outcome, OutcomeKind
from captionqa.core.requests import QUESTION_SAMPLING, RequestFormat
from captionqa.core.vision import ImagePolicy
from captionqa.data.image_cache import ImageCache
from captionqa.errors import InputError, JournalBusy, SaveFailed, ServerGone
from captionqa.run import runner as runner_module
from captionqa.run.client import Client
from captionqa.run.feed import Feed
from captionqa.run.runner import Runner
from captionqa.run.store import RunPaths, RunStore, Shard


class FakeClient(Client):
    """Answers everything, unless told otherwise."""

    def __init__(self) -> None:
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None
        self.asked = 0
        self.together = 0
        self.most_together = 0

    async def ask(self, body: bytes) -> Outcome:
        self.asked += 1
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        try:
            await asyncio.sleep(0)
            if self.hold is not None:
                await self.hold.wait()
            if self.error is not None:
                raise self.error
            return Outcome(OutcomeKind.ANSWERED, output=f"{len(body)} bytes", attempts=1)
        finally:
            self.together -= 1


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def items(count: int) -> Iterator[Item]:
    return (Item(f"item {n}", n, "00000000000000aa", (f"question {n}",), {"gold": "A"}) for n in range(count))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.open(RunPaths(tmp_path, "run"), {"task": "test"}, shard=Shard()) as opened:
        yield opened


def run(
    store: RunStore,
    source: Iterable[Item],
    client: FakeClient,
    meanwhile: Callable[[Runner], Awaitable[None]] | None = None,
    senders: int = 8,
) -> Runner:
    """Runs to the end, with something happening meanwhile; what hangs fails."""

    async def body() -> Runner:
        request_format = RequestFormat.of("model", None, QUESTION_SAMPLING)
        images = ImageCache(ImagePolicy())
        feed = Feed(iter(source), request_format, images, threads=2, max_ready=16, max_bytes=1 << 20)
        async with asyncio.timeout(10):
            with feed:
                runner = Runner(feed, client, store, senders=senders, takes_empty=True, on_outcome=lambda _: None)
                running = asyncio.create_task(runner.run())
                if meanwhile is not None:
                    await meanwhile(runner)
                await running
        return runner

    return asyncio.run(body())


def saved(store: RunStore) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in store.index.records()}


def test_every_item_is_saved_with_its_outcome_and_facts_and_counted(store: RunStore) -> None:
    bad = Item("bad", 100, "00000000000000bb", (ImageSource("gone.png", path="/nowhere/gone.png"),))
    client = FakeClient()
    runner = run(store, [*items(100), bad], client)
    records = saved(store)
    assert (len(records), client.asked) == (101, 100)
    assert client.most_together <= 8
    assert runner.counts == {OutcomeKind.ANSWERED: 100, OutcomeKind.MISSING_IMAGE: 1}
    assert records["item 7"]["facts"] == {"gold": "A"}
    assert (records["bad"]["outcome"], records["bad"]["attempts"]) == ("missing_image", 0)


def test_an_answer_whose_facts_changed_is_saved_again_without_asking(store: RunStore) -> None:
    client = FakeClient()
    run(store, items(1), client)
    recorded = saved(store)["item 0"]
    runner = run(store, [Item("item 0", 5, recorded["key"], (), {"gold": "B"}, recorded)], client)
    again = saved(store)["item 0"]
    assert (again["output"], again["facts"], again["ordinal"]) == (recorded["output"], {"gold": "B"}, 5)
    assert (client.asked, runner.refreshed, runner.counts) == (1, 1, {})


def test_after_a_stop_nothing_new_is_sent_and_what_is_in_flight_may_finish(store: RunStore) -> None:
    client = FakeClient()

    async def stop(runner: Runner) -> None:
        client.hold = asyncio.Event()
        while client.together < 8:
            await asyncio.sleep(0)
        runner.stop(drain_s=60)
        client.hold.set()

    runner = run(store, items(1000), client, stop)
    assert client.asked == 8
    assert runner.counts == {OutcomeKind.ANSWERED: 8}
    assert len(saved(store)) == 8


def test_what_does_not_finish_in_time_is_dropped(store: RunStore) -> None:
    client = FakeClient()

    async def stop(runner: Runner) -> None:
        client.hold = asyncio.Event()
        while client.together < 8:
            await asyncio.sleep(0)
        runner.stop(drain_s=0.02)

    runner = run(store, items(1000), client, stop)
    assert (runner.counts, saved(store)) == ({}, {})


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_stopping_at_once_in_the_first_moments_ends_too(store: RunStore, turns: int) -> None:
    async def stop(runner: Runner) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        runner.stop(drain_s=60)
        runner.stop_now()

    run(store, items(1000), FakeClient(), stop)
    assert len(saved(store)) <= 8


def test_the_first_error_ends_the_run_as_itself(store: RunStore) -> None:
    client = FakeClient()
    client.error = ServerGone("no server")
    with pytest.raises(ServerGone, match="no server"):
        run(store, items(1000), client)
    with pytest.raises(InputError, match="row 9"):
        run(store, failing(), FakeClient())
    assert len(saved(store)) == 9


def failing() -> Iterator[Item]:
    yield from items(9)
    raise InputError("row 9")


def test_an_outcome_that_cannot_be_saved_ends_the_run_and_is_not_counted(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(record: object) -> None:
        raise SaveFailed("disk full")

    client, counted = FakeClient(), []

    async def look(runner: Runner) -> None:
        counted.append(runner.counts)

    monkeypatch.setattr(store, "append", fail)
    with pytest.raises(SaveFailed, match="disk full"):
        run(store, items(1000), client, look)
    assert counted == [{}]
    assert client.asked <= 8


def test_a_claim_that_was_taken_over_ends_the_run(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "KEEP_ALIVE_S", 0.01)
    client = FakeClient()

    async def lose(runner: Runner) -> None:
        client.hold = asyncio.Event()
        (claim,) = store.paths.folder.glob("*.claim")
        claim.unlink()

    with pytest.raises(JournalBusy, match="taken over"):
        run(store, items(10), client, lose)


@pytest.mark.parametrize(("senders", "wanted"), [(8, 3), (8, 1), (8, 0), (2, 12), (3, 3)])
def test_the_senders_become_as_many_as_are_wanted_and_no_item_is_lost(
    store: RunStore, senders: int, wanted: int
) -> None:
    client = FakeClient()

    async def resize(runner: Runner) -> None:
        client.hold = asyncio.Event()
        await until(lambda: client.together == senders)
        hold = client.hold
        client.hold = asyncio.Event()
        runner.resize(wanted)
        hold.set()  # all of them look at the new number in the same moment
        await until(lambda: client.together == max(1, wanted))
        await asyncio.sleep(0.01)
        assert client.together == max(1, wanted)
        client.most_together = 0
        client.hold.set()
        client.hold = None

    run(store, items(300), client, resize, senders=senders)
    assert len(saved(store)) == client.asked == 300
    assert client.most_together <= max(1, wanted)


def test_resizing_all_the_time_loses_nothing_and_asks_nothing_twice(store: RunStore) -> None:
    client = FakeClient()

    async def resize(runner: Runner) -> None:
        for wanted in (1, 30, 2, 17, 1, 1, 40, 5) * 8:
            runner.resize(wanted)
            await asyncio.sleep(0)

    run(store, items(2000), client, resize)
    assert len(saved(store)) == client.asked == 2000


def test_resizing_before_the_start_at_the_end_and_after_a_stop_begins_nothing_new(store: RunStore) -> None:
    client = FakeClient()

    async def stop(runner: Runner) -> None:
        client.hold = asyncio.Event()
        await until(lambda: client.together == 8)
        runner.stop(60)
        runner.resize(20)
        await asyncio.sleep(0.01)
        assert client.together == 8
        client.hold.set()

    runner = run(store, items(1000), client, stop)
    runner.resize(50)
    assert client.asked == 8
