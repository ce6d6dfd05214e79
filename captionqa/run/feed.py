"""The feed: items in, requests ready to be sent out, prepared by threads ahead of the senders.

Threads pull items lazily from one iterator (which reads folders and parquet files as it goes), read and prepare their
images, and hand over in batches. Invariant: what has been pulled but not finished is bounded, in count and in bytes,
whatever the size of the data set. Never talks to the server.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from captionqa.core.items import ImageSource, Item
from captionqa.core.outcomes import Outcome, OutcomeKind
from captionqa.data.image_cache import ImageCache
from captionqa.data.images import PreparedImage
from captionqa.errors import ImageError, MissingImage

PULLED_TOGETHER = 8
"""Items a thread takes at a time: waking a thread and handing over to the event loop cost about as much as preparing a
small image."""
_EVERYBODY = 1 << 30


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item whose request can be sent, or whose outcome is known without sending (``outcome``)."""

    item: Item
    fragments: tuple[bytes, ...] = ()
    """The content parts as JSON, in order; those of images are shared between the questions about them."""
    images: tuple[PreparedImage, ...] = ()
    outcome: Outcome | None = None
    held_bytes: int = field(default=0)
    """What this item was charged for in the feed's budget."""


def prepare(item: Item, images: ImageCache) -> Prepared:
    """Read and prepare an item's images. An image that cannot be sent becomes the item's outcome."""
    fragments: list[bytes] = []
    prepared: list[PreparedImage] = []
    for part in item.content:
        if isinstance(part, ImageSource):
            try:
                image = images.get(part)
            except ImageError as error:
                missing = isinstance(error, MissingImage)
                kind = OutcomeKind.MISSING_IMAGE if missing else OutcomeKind.BAD_IMAGE
                return Prepared(item, outcome=Outcome(kind, reason=error.problem.value, detail=str(error)))
            prepared.append(image)
            fragments.append(image.fragment)
        else:
            fragments.append(text_fragment(part))
    return Prepared(item, tuple(fragments), tuple(prepared), held_bytes=sum(map(len, fragments)))


def text_fragment(text: str) -> bytes:
    return json.dumps({"type": "text", "text": text}).encode("ascii")


class Feed:
    """Prepared items for the senders of one event loop. Use as a context manager; `next` yields None at the end."""

    def __init__(
        self,
        items: Iterator[Item],
        images: ImageCache,
        *,
        threads: int,
        max_ready: int,
        max_bytes: int,
    ) -> None:
        self._items = items
        self._images = images
        self._max_ready = max(max_ready, PULLED_TOGETHER)
        self._max_bytes = max_bytes
        self._ready: deque[Prepared] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._pull_lock = threading.Lock()
        self._room = threading.Condition()
        self._pulled = 0  # pulled and not yet handed to a sender
        self._bytes = 0  # prepared and not yet released
        self._stopped = False
        self._error: BaseException | None = None
        self._running = threads
        self._threads = [threading.Thread(target=self._work, name=f"prepare-{n}", daemon=True) for n in range(threads)]

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
        if prepared.held_bytes:
            with self._room:
                self._bytes -= prepared.held_bytes
                self._invite()

    def stop(self) -> None:
        """Stop admission: nothing more is pulled, and `next` answers None from now on. Call on the event loop."""
        with self._room:
            self._stopped = True
            self._room.notify_all()
        self._wake(_EVERYBODY)

    def _work(self) -> None:
        try:
            while pulled := self._pull():
                batch = [prepare(item, self._images) for item in pulled]
                with self._room:
                    self._bytes += sum(prepared.held_bytes for prepared in batch)
                self._ready.extend(batch)
                self._call_loop(len(batch))
        except BaseException as error:  # noqa: BLE001 (a thread's boundary: carried to the event loop and raised there)
            self._error = self._error or error
        finally:
            with self._room:
                self._running -= 1
                last = self._running == 0
                self._room.notify_all()  # whatever ended this thread ends those that wait for room
            if last:
                self._call_loop(_EVERYBODY)

    def _pull(self) -> list[Item]:
        """Up to `PULLED_TOGETHER` items, when there is room for them; [] at the end. What the iterator raises is kept
        until the items before it have been handed out."""
        with self._room:
            self._room.wait_for(self._has_room)
            if self._stopped or self._error is not None:
                return []
            self._pulled += PULLED_TOGETHER
        items: list[Item] = []
        try:
            with self._pull_lock:
                for item in self._items:
                    items.append(item)
                    if len(items) == PULLED_TOGETHER:
                        break
        except BaseException as error:  # noqa: BLE001 (raised by `next`)
            self._error = self._error or error
        finally:
            if len(items) < PULLED_TOGETHER:
                with self._room:
                    self._pulled -= PULLED_TOGETHER - len(items)
        return items

    def _has_room(self) -> bool:
        if self._stopped or self._error is not None:
            return True
        return self._pulled + PULLED_TOGETHER <= self._max_ready and self._bytes < self._max_bytes

    def _invite(self) -> None:
        """Wake a thread, but only one that would find room: every needless wake-up takes the GIL from the senders."""
        if self._has_room():
            self._room.notify()

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
