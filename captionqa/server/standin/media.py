"""What the stand-in has seen of pictures, and under which name it may be asked about them again.

In: image parts. Out: `Seen` and the digest that names it in the prefix cache. As in vLLM, a picture with a ``uuid``
goes by that name alone: known, it is answered from the cache whatever payload comes with it; unknown and without
payload, it is a miss. One event loop; only the look at a picture leaves it, for a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from captionqa.server.standin.request import Picture
from captionqa.server.standin.vision import Seen, look
from captionqa.server.standin.wire import Refusal, Refused, bad_request

UNSEEN = Seen(None, None, None, None, tokens=258)
"""A picture that was not looked at costs what one of 512 by 512 pixels does."""


class MediaCache:
    """Decodes one picture once for twenty questions about it. Bounded in pictures."""

    def __init__(self, capacity: int, media: Path | None, *, blind: bool = False) -> None:
        """
        Args:
            media: the folder below which ``file://`` may be read; None: nowhere.
            blind: never look at pixels.
        """
        self.queries = 0
        self.hits = 0
        self._capacity = capacity
        self._media = media
        self._blind = blind
        self._known: OrderedDict[bytes, asyncio.Future[Seen | Refusal]] = OrderedDict()
        self._threads = ThreadPoolExecutor(thread_name_prefix="standin-vision")

    async def look(self, picture: Picture, index: int) -> tuple[bytes, Seen]:
        """The digest of the picture's name and what it shows.

        Args:
            index: the picture's number in its request.

        Raises:
            Refused: the picture cannot be read, or is only named and not known.
        """
        named = f"uuid:{picture.uuid}" if picture.uuid else picture.url or ""
        digest = hashlib.sha256(named.encode()).digest()
        self.queries += 1
        pending = self._known.get(digest)
        self.hits += pending is not None
        if pending is None:
            if picture.url is None:
                raise Refused(bad_request(f"Cache miss for image at index {index} but data is not provided."))
            pending = self._start(picture.url)
            self._keep(digest, pending)
        else:
            self._known.move_to_end(digest)
        # Shielded: another request may wait for the same look when this one's client goes away.
        seen = await asyncio.shield(pending)
        if isinstance(seen, Refusal):
            if self._known.get(digest) is pending:
                del self._known[digest]  # a file may be there the next time
            raise Refused(seen)
        return digest, seen

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, url: str) -> asyncio.Future[Seen | Refusal]:
        loop = asyncio.get_running_loop()
        if not self._blind:
            return loop.run_in_executor(self._threads, look, url, self._media)
        done: asyncio.Future[Seen | Refusal] = loop.create_future()
        done.set_result(UNSEEN)
        return done

    def _keep(self, digest: bytes, pending: asyncio.Future[Seen | Refusal]) -> None:
        self._known[digest] = pending
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
