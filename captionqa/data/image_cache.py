"""Prepared images, each made once: the questions about one picture share its encoded payload.

In: an `ImageSource`. Out: what `data.images` makes of it, from memory where it can be.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import replace

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy
from captionqa.data.image_files import file_image
from captionqa.data.images import PreparedImage, Refusal, fit_image, prepare_image

__all__ = ["ImageCache"]

_REFUSAL_WEIGHT_BYTES = 1024
_IN_PLACE_REMEMBERED = 1024


class ImageCache:
    """Prepared images of one policy, each made once however many threads ask for it at the same time.

    Holds at most ``max_bytes`` of encoded images, the least recently used go first. A refused image is remembered as
    well (as 1 KiB), so that twenty questions on a broken file decode it once. Every `get` that reaches a file or bytes
    counts as exactly one of ``prepared`` and ``reused``.
    """

    def __init__(self, policy: ImagePolicy, *, max_bytes: int = 64 << 20) -> None:
        self.policy = policy
        self.max_bytes = max_bytes
        self.prepared = 0
        """Images read and made fit, or refused."""
        self.reused = 0
        """Answers from memory or from another thread that was at work on the same image."""
        self.held_bytes = 0
        """What is in memory now, at most ``max_bytes``."""
        self._lock = threading.Lock()
        self._done: OrderedDict[object, PreparedImage | Refusal] = OrderedDict()
        self._in_place: OrderedDict[str | None, tuple[PreparedImage | None, int | str | None]] = OrderedDict()
        self._working: dict[object, Future[PreparedImage | Refusal]] = {}

    def get(self, source: ImageSource) -> PreparedImage:
        """The image, under the name of this source. Thread-safe; waits if another thread is preparing it.

        Raises: as `prepare_image`.
        """
        if source.problem is not None:
            return prepare_image(source, self.policy)  # Raises: nothing is read.
        result = self._result(source)
        if isinstance(result, Refusal):
            raise result.named(source.name)
        return result if result.name == source.name else replace(result, name=source.name)

    def in_place(self, source: ImageSource) -> PreparedImage | None:
        """The image by its path, as `image_files.file_image`, where a server that reads the data set's files sees the
        same pixels. Thread-safe."""
        with self._lock:
            if source.path in self._in_place:
                found, version = self._in_place[source.path]
                if version == source.version:
                    return found
        found = file_image(source, self.policy)
        with self._lock:
            self._in_place[source.path] = found, source.version
            if len(self._in_place) > _IN_PLACE_REMEMBERED:
                self._in_place.popitem(last=False)
        return found

    def _result(self, source: ImageSource) -> PreparedImage | Refusal:
        key = _key(source)
        with self._lock:
            if key in self._done:
                self.reused += 1
                self._done.move_to_end(key)
                return self._done[key]
            future = self._working.get(key)
            if future is None:
                self.prepared += 1
                mine = self._working[key] = Future()
            else:
                self.reused += 1
        return self._work(key, source, mine) if future is None else future.result()

    def _work(
        self, key: object, source: ImageSource, future: Future[PreparedImage | Refusal]
    ) -> PreparedImage | Refusal:
        result: PreparedImage | Refusal
        try:
            result = fit_image(source, self.policy)
        except Refusal as refusal:
            # A fresh one: the traceback of the caught one would keep the image's bytes alive.
            result = Refusal(refusal.problem, refusal.text)
        except BaseException as bug:
            with self._lock:
                del self._working[key]
            future.set_exception(bug)  # Nobody waits for ever, and the next to ask tries again.
            raise
        with self._lock:
            del self._working[key]
            self._store(key, result)
        future.set_result(result)
        return result

    def _store(self, key: object, result: PreparedImage | Refusal) -> None:
        if _weight(result) > self.max_bytes:
            return
        self._done[key] = result
        self.held_bytes += _weight(result)
        while self.held_bytes > self.max_bytes:
            _, oldest = self._done.popitem(last=False)
            self.held_bytes -= _weight(oldest)


def _weight(result: PreparedImage | Refusal) -> int:
    return _REFUSAL_WEIGHT_BYTES if isinstance(result, Refusal) else result.weight


def _key(source: ImageSource) -> object:
    """Path and size; or a digest of inline bytes: one picture in two rows of a parquet file is two bytes objects."""
    if source.data is None:
        return source.path, source.version
    return source.version if isinstance(source.version, str) else hashlib.sha256(source.data).hexdigest()
