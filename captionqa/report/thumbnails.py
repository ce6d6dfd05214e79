"""Thumbnails for reports: every image once, small enough to be part of the page.

In: where the images are. Out: for each a data URL, or why there is none. Never raises for what an image holds or lacks:
a report must not fail because a file is gone.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pybase64
from PIL import Image

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy
from captionqa.data.images import PILLOW_ERRORS, prepare_image
from captionqa.errors import ImageError

LONGEST_EDGE_PX = 192
"""Shown at 148. A noisy picture of this size still fits in one try; at 256 it took five, and three times as long."""
MAX_BYTES = 8_000
"""Of one thumbnail, before base64 makes it a third larger."""
_POLICY = ImagePolicy(max_pixels=LONGEST_EDGE_PX * LONGEST_EDGE_PX)
_QUALITIES = ((1.0, 60), (0.8, 35), (0.5, 30), (0.25, 20))
"""Scale and quality, tried in turn until a thumbnail is small enough; the last is taken as it is."""

LEFT_OUT = "left out, so that the run could end; `captionqa report` makes the page with all pictures"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """What a report shows of one image."""

    url: str | None
    """``data:image/webp;base64,…``; None when there is nothing to show."""
    problem: str | None = None
    """Why there is nothing to show."""


def thumbnails(
    sources: Iterable[tuple[str, ImageSource]], within_s: float | None = None
) -> Iterator[tuple[str, Thumbnail]]:
    """A thumbnail for each key, made in threads: Pillow works outside the interpreter's lock. In the order given; of
    the bytes that sources carry no more than a few are held. ``within_s``: how long thumbnails are begun."""
    threads = max(2, min(8, len(os.sched_getaffinity(0))))
    began = time.monotonic()

    def make(source: ImageSource) -> Thumbnail:
        if within_s is not None and time.monotonic() - began > within_s:
            return Thumbnail(None, f"{source.name}: {LEFT_OUT}")
        return thumbnail(source)

    with ThreadPoolExecutor(threads, thread_name_prefix="thumbnail") as pool:
        waiting = []
        for key, source in sources:
            waiting.append((key, pool.submit(make, source)))
            if len(waiting) > 4 * threads:
                first, made = waiting.pop(0)
                yield first, made.result()
        for key, made in waiting:
            yield key, made.result()


def thumbnail(source: ImageSource) -> Thumbnail:
    """Prepared as for a server (upright, on white, first frame), then reduced. Thread-safe."""
    try:
        prepared = prepare_image(source, _POLICY)
    except ImageError as error:
        return Thumbnail(None, str(error))
    try:
        with Image.open(io.BytesIO(pybase64.b64decode(prepared.pieces[1]))) as file:
            picture = file if file.mode in ("RGB", "L") else file.convert("RGB")
            picture.thumbnail((LONGEST_EDGE_PX, LONGEST_EDGE_PX))
            small = _small(picture)
    except PILLOW_ERRORS as error:  # a small file is sent as it is, so nobody has decoded its pixels yet
        return Thumbnail(None, f"{source.name}: cannot be decoded ({str(error) or type(error).__name__})")
    return Thumbnail(f"data:image/webp;base64,{pybase64.b64encode(small).decode('ascii')}")


def _small(picture: Image.Image) -> bytes:
    encoded = b""
    for scale, quality in _QUALITIES:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        reduced = picture if scale == 1 else picture.resize(size)
        reduced.info = {}  # no comment and no colour profile: a profile alone may weigh more than the picture
        buffer = io.BytesIO()
        reduced.save(buffer, "WEBP", quality=quality, method=0)
        encoded = buffer.getvalue()
        if len(encoded) <= MAX_BYTES:
            break
    return encoded
