"""Images that a server may read itself: files that show it the very pixels that would be sent.

In: an `ImageSource` and an `ImagePolicy`. Out: the content part with its ``file://`` URL, or None where anything is in
doubt: `data.images` then reads the file, and makes it fit or says what is wrong with it. Reads a header and the file's
end, not the file.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import PurePath

from PIL import Image

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy, size_problem
from captionqa.data.images import FORMAT_MIMES, PILLOW_ERRORS, PreparedImage, is_plain, is_whole

__all__ = ["file_image", "file_part"]

TAIL_BYTES = 1 << 16


def file_image(source: ImageSource, policy: ImagePolicy) -> PreparedImage | None:
    """The image by its path, when it would be sent untouched. Never raises for what the file holds."""
    if source.path is None or source.data is not None or source.problem is not None:
        return None
    try:
        return _file_image(source.name, source.path, policy)
    except PILLOW_ERRORS:  # among them OSError and ValueError of opening it
        return None


def file_part(path: str) -> tuple[bytes, bytes, bytes]:
    """The content part, in the pieces of `PreparedImage.pieces`."""
    url = json.dumps(PurePath(path).as_uri())[1:-1].encode("ascii")
    return b'{"type":"image_url","image_url":{"url":"', url, b'"}}'


def _file_image(name: str, path: str, policy: ImagePolicy) -> PreparedImage | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a named pipe must not hold us up
    with open(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= policy.max_file_bytes:
            return None
        file = Image.open(opened, formats=("JPEG", "PNG", "WEBP"))
        mime = FORMAT_MIMES.get(file.format or "")
        if mime is None or size_problem(*file.size) or file.width * file.height > policy.max_pixels:
            return None
        header_ends, tail_begins = opened.tell(), max(0, status.st_size - TAIL_BYTES)
        start, tail = os.pread(descriptor, 16, 0), os.pread(descriptor, TAIL_BYTES, tail_begins)
        if not is_whole(file.format, start, tail, status.st_size, max(0, header_ends - tail_begins)):
            return None
        if not is_plain(file, tail):
            return None
        return PreparedImage(name, file_part(path), mime, *file.size, status.st_size, 0, untouched=True)
