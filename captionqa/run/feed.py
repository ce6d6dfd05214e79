"""The feed: items in, requests ready to be sent out, prepared by threads ahead of the senders.

Threads pull items lazily from one iterator (which reads folders and parquet files as it goes), read and prepare their
images, and hand over in batches. Invariant: what has been pulled but not finished is bounded, in count and in bytes,
whatever the size of the data set. Never talks to the server.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from captionqa.core.items import ImageSource, Item
from captionqa.core.outcomes import Outcome
from captionqa.core.requests import RequestFormat
from captionqa.data.image_cache import ImageCache
from captionqa.data.images import PreparedImage
from captionqa.errors import ImageError
from captionqa.run.bodies import Body, SendableImage, file_uuid

PULLED_TOGETHER = 16
"""Items a thread takes at a time: waking a thread and handing over to the event loop cost about as much as preparing a
small image."""
PULLED_BYTES = 8 << 20
"""Or fewer, when their image files are this large together."""
SLOW_ITEM_S = 0.005
"""Mean seconds to prepare an item above which all threads work. Below it (images sent untouched, a fast disk) one
thread serves 200 items/s and more, and a second one only takes the interpreter's lock from the senders: 0.70 instead of
0.59 ms per image of 230 kB. Decoding and waiting for a file system happen outside that lock."""
HAND_OVER_S = 0.02
"""Items that take longer to prepare (large images) are handed over before the rest of their batch is ready."""
_EVERYBODY = 1 << 30


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item whose request can be sent, or whose outcome is known without sending (``outcome``)."""

    item: Item
    body: bytes | Body = b""
    """The request: serialised once for however many attempts, or, where its images can be sent in several forms, in
    pieces that are joined for each."""
    images: tuple[PreparedImage, ...] = ()
    outcome: Outcome | None = None

    @property
    def weight(self) -> int:
        """Bytes that it may take."""
        return self.body.weight if isinstance(self.body, Body) else len(self.body)


class Images(Protocol):
    """Where an item's images come from; `image_cache.ImageCache` is the one of a run."""

    def get(self, source: ImageSource) -> PreparedImage: ...

    def in_place(self, source: ImageSource) -> PreparedImage | None: ...


def prepare(item: Item, request_format: RequestFormat, images: Images, *, in_place: bool = False) -> Prepared:
    """Read and prepare an item's images. An image that cannot be sent becomes the item's outcome.

    Args:
        in_place: whether a server reads the data set's files itself.
    """
    if item.outcome is not None:
        return Prepared(item, outcome=item.outcome)
    parts: list[tuple[bytes | SendableImage, ...]] = []
    prepared: list[PreparedImage] = []
    for part in item.content:
        if isinstance(part, ImageSource):
            try:
                image, written = _image(part, images, shared=item.shared, in_place=in_place)
            except ImageError as error:
                return Prepared(item, outcome=Outcome.of_image(error))
            prepared.append(image)
            parts.append(written)
        else:
            parts.append((json.dumps({"type": "text", "text": part}).encode("ascii"),))
    pieces = request_format.pieces(parts, item.choices, seed=item.seed)
    plain = [piece for piece in pieces if isinstance(piece, bytes)]
    body = b"".join(plain) if len(plain) == len(pieces) else Body(tuple(pieces))
    return Prepared(item, body, tuple(prepared))


def _image(
    source: ImageSource, images: Images, *, shared: bool, in_place: bool
) -> tuple[PreparedImage, tuple[bytes | SendableImage, ...]]:
    """Raises: ImageError."""
    file = images.in_place(source) if in_place else None
    if file is not None:
        return file, (SendableImage(file_uuid(source), shared, lambda: images.get(source).pieces, file.pieces),)
    image = images.get(source)
    if not shared:
        return image, image.pieces
    return image, (SendableImage(image.uuid, shared, image.pieces),)


class Feed:
    """Prepared items for the senders of one event loop. Use as a context manager; `next` yields None at the end."""

    def __init__(
        self,
        items: Iterator[Item],
        request_format: RequestFormat,
        images: ImageCache,
        *,
        threads: int,
        max_ready: int,
        max_bytes: int,
        in_place: Callable[[], bool] = lambda: False,
    ) -> None:
        """``in_place``: whether a server reads the data set's files itself, just now."""
        self._in_place = in_place
        self._items = items
        self._format = request_format
        self._images = images
        self._max_ready = max(max_ready, PULLED_TOGETHER)
        self._max_bytes = max_bytes
        self._ready: deque[Prepared] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._pull_lock = threading.Lock()
        self._room = threading.Lock()  # guards the counts below
        self._first = threading.Condition(self._room)  # where thread 0 waits for room
        self._others = threading.Condition(self._room)  # where the others wait for room and for slow items
        self._pulled = 0  # pulled and not yet handed to a sender
        self._bytes = 0  # prepared and not yet released
        self._item_s = 0.0  # running mean of the time to prepare an item
        self._exhausted = False
        self._stopped = False
        self._error: BaseException | None = None
        self._running = threads
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"prepare-{number}", daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Feed:
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()

    async def next(self) -> Prepared | None:
        """The next prepared item, or None when there are no more or admission was stopped.

        Raises: what the item iterator raised (InputError), once everything before it has been handed out.
        """
        while not self._stopped:
            ended = self._running == 0  # looked at before what is ready: the last thread hands over, then ends
            if self._ready:
                prepared = self._ready.popleft()
                with self._room:
                    self._pulled -= 1
                    self._invite()
                return prepared
            if ended:
                if self._error is not None:
                    raise self._error
                return None
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        return None

    def release(self, prepared: Prepared) -> None:
        """Give back the bytes of an item that has its outcome."""
        if prepared.body:
            with self._room:
                self._bytes -= prepared.weight
                self._invite()

    def stop(self) -> None:
        """Stop admission: nothing more is pulled, and `next` answers None from now on. Call on the event loop."""
        with self._room:
            self._stopped = True
            self._call_all()
        self._wake(_EVERYBODY)

    def _work(self, number: int) -> None:
        try:
            while self._prepare_some(number):
                pass
        except BaseException as error:  # noqa: BLE001 (a thread's boundary: carried to the event loop and raised there)
            self._error = self._error or error
        finally:
            with self._room:
                self._running -= 1
                last = self._running == 0
                self._call_all()  # whatever ended this thread ends those that wait for room
            if last:
                self._call_loop(_EVERYBODY)

    def _prepare_some(self, number: int) -> bool:
        """Pull, prepare and hand over; False at the end. A function of its own, so that a thread that waits for room
        keeps nothing of what it has handed over."""
        pulled = self._pull(number)
        batch: list[Prepared] = []
        begun = handed_over = time.monotonic()
        for item in pulled:
            if self._stopped:
                return False
            batch.append(prepare(item, self._format, self._images, in_place=self._in_place()))
            now = time.monotonic()
            self._note_time(now - begun)
            begun = now
            if now - handed_over > HAND_OVER_S:
                self._hand_over(batch)
                batch, handed_over = [], now
        self._hand_over(batch)
        return bool(pulled)

    def _note_time(self, item_s: float) -> None:
        was_slow = self._item_s > SLOW_ITEM_S
        self._item_s += 0.2 * (item_s - self._item_s)
        if not was_slow and self._item_s > SLOW_ITEM_S:
            with self._room:
                self._others.notify_all()

    def _hand_over(self, batch: list[Prepared]) -> None:
        if not batch:
            return
        with self._room:
            self._bytes += sum(prepared.weight for prepared in batch)
        self._ready.extend(batch)
        self._call_loop(len(batch))

    def _pull(self, number: int) -> list[Item]:
        """Up to `PULLED_TOGETHER` items, when there is room for them; [] at the end. What the iterator raises is kept
        until the items before it have been handed out."""
        with self._room:
            waiting = self._others if number else self._first
            waiting.wait_for(lambda: self._has_work(number))
            if self._stopped or self._error is not None or self._exhausted:
                return []
            self._pulled += PULLED_TOGETHER
        items: list[Item] = []
        try:
            with self._pull_lock:
                weight = 0
                for item in self._items:
                    items.append(item)
                    weight += sum(map(_file_bytes, item.images))
                    if len(items) == PULLED_TOGETHER or weight >= PULLED_BYTES:
                        break
                else:
                    self._exhausted = True
        except BaseException as error:  # noqa: BLE001 (raised by `next`)
            self._error = self._error or error
        finally:
            if len(items) < PULLED_TOGETHER:
                with self._room:
                    self._pulled -= PULLED_TOGETHER - len(items)
        return items

    def _has_work(self, number: int) -> bool:
        """Whether thread ``number`` is to go on: to pull, or to learn that there is nothing more."""
        if self._stopped or self._error is not None or self._exhausted:
            return True
        return self._has_room() and (number == 0 or self._item_s > SLOW_ITEM_S)

    def _has_room(self) -> bool:
        return self._pulled + PULLED_TOGETHER <= self._max_ready and self._bytes < self._max_bytes

    def _invite(self) -> None:
        """Wake threads, but only those that would find work: every needless wake-up takes the GIL from the senders."""
        if self._has_room():
            self._first.notify()
            if self._item_s > SLOW_ITEM_S:
                self._others.notify()

    def _call_all(self) -> None:
        self._first.notify_all()
        self._others.notify_all()

    def _call_loop(self, ready: int) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake, ready)
        except RuntimeError:
            if not self._stopped:  # a loop that was closed before the feed was left is a bug
                raise

    def _wake(self, count: int) -> None:
        while count > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1


def _file_bytes(image: ImageSource) -> int:
    if image.data is not None:
        return len(image.data)
    return image.version if isinstance(image.version, int) else 0
