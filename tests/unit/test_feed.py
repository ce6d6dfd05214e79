"""The feed: every item once, no further ahead than there is room, and an end that everybody hears of."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import json
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import pybase64
import pytest
from PIL import Image

from captionqa.core.items import ImageSource, Item
from captionqa.core.outcomes import OutcomeKind
from captionqa.core.requests import QUESTION_SAMPLING, RequestFormat
from captionqa.core.vision import ImagePolicy
from captionqa.data.image_cache import ImageCache
from captionqa.data.images import PreparedImage
from captionqa.errors import InputError
from captionqa.run import feed as feed_module
from captionqa.run.feed import PULLED_TOGETHER, Feed, Prepared, prepare

T = TypeVar("T")
TIMEOUT_S = 60
"""For what hangs; nothing here is timed."""
FORMAT = RequestFormat.of("model", None, QUESTION_SAMPLING)


def item(number: int, *content: str | ImageSource) -> Item:
    return Item(id=f"item {number}", ordinal=number, key="00", content=content or (f"question {number}",))


def items(count: int) -> Iterator[Item]:
    return (item(number) for number in range(count))


def png(color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "PNG")
    return file.getvalue()


def feed_of(source: Iterable[Item], *, threads: int = 4, max_ready: int = 32, max_bytes: int = 1 << 30) -> Feed:
    images = ImageCache(ImagePolicy())
    return Feed(iter(source), FORMAT, images, threads=threads, max_ready=max_ready, max_bytes=max_bytes)


def within_time(body: Callable[[], Awaitable[T]]) -> T:
    """Runs a test on an event loop; what hangs fails."""

    async def guarded() -> T:
        async with asyncio.timeout(TIMEOUT_S):
            return await body()

    return asyncio.run(guarded())


async def consume(feed: Feed, taken: list[Prepared], at_most: int | None = None) -> None:
    while (at_most is None or len(taken) < at_most) and (prepared := await feed.next()) is not None:
        taken.append(prepared)
        feed.release(prepared)


@pytest.mark.parametrize("threads", [1, 3, 16])
@pytest.mark.parametrize("consumers", [1, 7, 100])
@pytest.mark.parametrize("count", [*range(6), 9, 24, 1000])
def test_every_item_is_handed_out_once_and_everybody_hears_of_the_end(threads: int, consumers: int, count: int) -> None:
    async def body() -> None:
        taken: list[Prepared] = []
        with feed_of(items(count), threads=threads, max_ready=PULLED_TOGETHER) as feed:
            await asyncio.gather(*(consume(feed, taken) for _ in range(consumers)))
            assert await feed.next() is None
        assert sorted(prepared.item.ordinal for prepared in taken) == list(range(count))

    within_time(body)


def test_one_thread_keeps_the_order_and_several_stay_near_it() -> None:
    async def body(threads: int, strayed: int) -> None:
        taken: list[Prepared] = []
        with feed_of(items(500), threads=threads, max_ready=40) as feed:
            await consume(feed, taken)
        assert max(abs(prepared.item.ordinal - n) for n, prepared in enumerate(taken)) <= strayed

    within_time(lambda: body(1, 0))
    within_time(lambda: body(4, 40 + 4 * PULLED_TOGETHER))


def test_the_source_is_never_pulled_further_than_there_is_room_for() -> None:
    taken: list[Prepared] = []

    def endless() -> Iterator[Item]:
        for number in itertools.count():
            # One more than max_ready: an item leaves the feed a moment before it is counted here.
            assert number < len(taken) + 24 + 1
            yield item(number)

    async def body() -> None:
        with feed_of(endless(), threads=8, max_ready=24) as feed:
            await consume(feed, taken, at_most=2000)

    within_time(body)
    assert len(taken) == 2000


def test_unreleased_bytes_hold_the_source_back_until_some_are_released() -> None:
    pulled: list[int] = []

    def endless() -> Iterator[Item]:
        for number in itertools.count():
            pulled.append(number)
            yield item(number, "x" * 1000)

    async def body() -> None:
        max_bytes = len(prepare(item(0, "x" * 1000), FORMAT, ImageCache(ImagePolicy())).body) * 2 * PULLED_TOGETHER
        with feed_of(endless(), threads=1, max_ready=1000, max_bytes=max_bytes) as feed:
            held = [await feed.next() for _ in range(2 * PULLED_TOGETHER)]
            waiting = asyncio.create_task(feed.next())
            await asyncio.sleep(0.01)  # time enough to do wrong; right is to do nothing
            assert not waiting.done()
            assert len(pulled) == 2 * PULLED_TOGETHER
            for prepared in held:
                assert prepared is not None
                feed.release(prepared)
            assert await waiting is not None

    within_time(body)


def test_a_few_items_heavier_than_the_whole_budget_pass_with_more_threads_than_items() -> None:
    async def body() -> None:
        taken: list[Prepared] = []
        with feed_of((item(n, "x" * 5000) for n in range(3)), threads=16, max_bytes=1000) as feed:
            await asyncio.gather(*(consume(feed, taken) for _ in range(4)))
        assert len(taken) == 3

    within_time(body)


def test_what_was_handed_out_and_released_is_not_kept() -> None:
    def alive() -> int:
        return sum(isinstance(thing, Prepared) for thing in gc.get_objects())

    async def body() -> None:
        before = alive()
        max_ready = 2 * PULLED_TOGETHER
        with feed_of(items(5000), threads=12, max_ready=max_ready) as feed:
            for _ in range(4000):
                prepared = await feed.next()
                assert prepared is not None
                feed.release(prepared)
            # Twice: what two threads have just handed over may be gone before they have let go of it.
            assert alive() - before <= 2 * max_ready + 1

    within_time(body)


def failing_after(count: int, error: Exception) -> Iterator[Item]:
    yield from items(count)
    raise error


@pytest.mark.parametrize("count", [0, 1, 7, 8, 21, 200])
@pytest.mark.parametrize("threads", [1, 8])
def test_an_error_of_the_source_is_raised_after_every_item_before_it(count: int, threads: int) -> None:
    async def body() -> None:
        taken: list[Prepared] = []
        with feed_of(failing_after(count, InputError("row 7")), threads=threads, max_ready=PULLED_TOGETHER) as feed:
            ends = await asyncio.gather(*(consume(feed, taken) for _ in range(5)), return_exceptions=True)
        assert sorted(prepared.item.ordinal for prepared in taken) == list(range(count))
        assert [str(end) for end in ends] == ["row 7"] * 5

    within_time(body)


def test_a_bug_while_preparing_is_raised_to_the_senders() -> None:
    class Broken(ImageCache):
        def get(self, source: ImageSource) -> Any:
            raise RuntimeError("a bug")

    async def body() -> None:
        source = iter([item(0, ImageSource("a.png", data=png()))])
        images = Broken(ImagePolicy())
        with (
            Feed(source, FORMAT, images, threads=2, max_ready=8, max_bytes=1 << 20) as feed,
            pytest.raises(RuntimeError, match="a bug"),
        ):
            await feed.next()

    within_time(body)


class OneByOne(ImageCache):
    """Waits for leave before each image but the first."""

    def __init__(self) -> None:
        super().__init__(ImagePolicy())
        self.begun = 0
        self.leave = threading.Event()

    def get(self, source: ImageSource) -> PreparedImage:
        self.begun += 1
        if self.begun > 1:
            assert self.leave.wait(TIMEOUT_S)
        return super().get(source)


def test_what_takes_long_to_prepare_does_not_hold_up_what_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "HAND_OVER_S", 0.0)

    async def body() -> None:
        images, source = OneByOne(), (item(n, ImageSource(f"{n}", data=png())) for n in range(3))
        with Feed(source, FORMAT, images, threads=1, max_ready=32, max_bytes=1 << 20) as feed:
            assert await feed.next() is not None
            images.leave.set()
            assert await feed.next() is not None

    within_time(body)


def test_stopping_does_not_wait_for_the_rest_of_a_batch_to_be_prepared() -> None:
    async def body() -> None:
        images, source = OneByOne(), (item(n, ImageSource(f"{n}", data=png())) for n in range(100))
        with Feed(source, FORMAT, images, threads=1, max_ready=32, max_bytes=1 << 20) as feed:
            while images.begun < 2:
                await asyncio.sleep(0)
            feed.stop()
            images.leave.set()
        assert images.begun == 2

    within_time(body)


def test_the_last_item_is_not_lost_when_it_comes_between_two_looks() -> None:
    looked = threading.Event()

    class FilledAfterTheFirstLook(deque[Prepared]):
        def __bool__(self) -> bool:
            empty = len(self) == 0
            looked.set()
            feed._threads[0].join()  # the thread hands its item over and ends, all in this moment
            return not empty

    def late() -> Iterator[Item]:
        looked.wait()
        yield item(0)

    async def body() -> None:
        feed._ready = FilledAfterTheFirstLook()
        with feed:
            assert await feed.next() is not None
            assert await feed.next() is None

    feed = feed_of(late(), threads=1)
    within_time(body)


def test_stopping_wakes_those_who_wait_and_pulls_nothing_more() -> None:
    go_on = threading.Event()
    pulled: list[int] = []

    def slow() -> Iterator[Item]:
        for number in range(100):
            go_on.wait()
            pulled.append(number)
            yield item(number)

    async def body() -> None:
        with feed_of(slow()) as feed:
            waiting = [asyncio.create_task(feed.next()) for _ in range(5)]
            await asyncio.sleep(0)
            feed.stop()
            assert await asyncio.gather(*waiting) == [None] * 5
            assert await feed.next() is None
            go_on.set()
        assert len(pulled) <= PULLED_TOGETHER * 4

    within_time(body)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("prepare")] == []


def test_stopping_ends_threads_that_wait_for_room_and_what_is_ready_stays_unsent() -> None:
    async def body() -> None:
        with feed_of(map(item, itertools.count()), threads=8, max_ready=8) as feed:
            assert await feed.next() is not None
            feed.stop()
            assert await feed.next() is None

    within_time(body)


def test_one_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    go_on = threading.Event()

    def late() -> Iterator[Item]:
        go_on.wait()
        yield from items(4)

    async def body() -> None:
        with feed_of(late()) as feed:
            waiting = [asyncio.create_task(feed.next()) for _ in range(8)]
            await asyncio.sleep(0)
            for task in waiting[::2]:
                task.cancel()
            go_on.set()
            found = await asyncio.gather(*waiting[1::2])
            assert sorted(prepared.item.ordinal for prepared in found if prepared) == [0, 1, 2, 3]

    within_time(body)


@pytest.mark.parametrize(
    ("source", "kind", "reason"),
    [
        (ImageSource("gone.png", path="/nowhere/gone.png"), OutcomeKind.MISSING_IMAGE, "missing"),
        (ImageSource("text.png", data=b"no image"), OutcomeKind.BAD_IMAGE, "not_an_image"),
        (ImageSource("cut.png", data=png()[:60]), OutcomeKind.BAD_IMAGE, None),
        (ImageSource("../x", problem="outside_dataset", detail="leads out"), OutcomeKind.BAD_IMAGE, "outside_dataset"),
    ],
)
def test_an_image_that_cannot_be_sent_is_the_outcome_of_its_item(
    source: ImageSource, kind: OutcomeKind, reason: str | None
) -> None:
    good = ImageSource("good.png", data=png())
    prepared = prepare(item(0, "look", good, source), FORMAT, ImageCache(ImagePolicy()))
    assert prepared.outcome is not None
    assert (prepared.outcome.kind, prepared.outcome.attempts) == (kind, 0)
    assert prepared.outcome.reason == reason or reason is None
    assert source.name in (prepared.outcome.detail or "")
    assert prepared.body == b""


def test_an_image_is_prepared_once_for_all_questions_about_it() -> None:
    data = png()

    async def body() -> None:
        images = ImageCache(ImagePolicy())
        source = (item(n, f"question {n}", ImageSource(f"{n}#0", data=bytes(data))) for n in range(50))
        taken: list[Prepared] = []
        with Feed(source, FORMAT, images, threads=8, max_ready=64, max_bytes=1 << 30) as feed:
            await consume(feed, taken)
        assert (images.prepared, images.reused) == (1, 49)
        assert {prepared.images[0].name for prepared in taken} == {f"{n}#0" for n in range(50)}
        for prepared in taken:
            text, image = json.loads(prepared.body)["messages"][0]["content"]
            assert text == {"type": "text", "text": f"question {prepared.item.ordinal}"}
            assert pybase64.b64decode(image["image_url"]["url"].partition(",")[2]) == data

    within_time(body)
