"""Images made fit to send: a source of bytes becomes the JSON content part of a chat request.

In: an `ImageSource` and an `ImagePolicy`. Out: a `PreparedImage`, or `MissingImage` / `BadImage` and nothing else.

An image that is fit already (JPEG, PNG or WebP, one frame, upright, opaque, small enough) is sent byte for byte: its
header is read here, 2-10 µs, and no pixel is decoded. Everything else is decoded, turned upright, laid on white,
reduced and encoded again. The type is declared from the bytes, never from the file's name.

Headers are parsed here rather than by Pillow for two reasons. Speed is one. The other: Pillow reports damaged metadata
through `warnings.warn`, and silencing that (`warnings.catch_warnings`) changes the whole process, which worker threads
must not. So metadata is read here and cut out, and Pillow sees pixels only. Its global settings are never changed.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import stat
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import pybase64
from PIL import Image, TiffTags
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy, fit_within, size_problem
from captionqa.errors import BadImage, ImageError, ImageProblem, MissingImage

__all__ = ["ImageCache", "PreparedImage", "prepare_image", "resolve_inside"]


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """One image as it goes into a request."""

    name: str
    """The source's name."""
    fragment: bytes
    """The content part, serialised: ``{"type":"image_url","image_url":{"url":"data:image/…;base64,…"}}``."""
    mime: str
    """As declared in the fragment: image/jpeg, image/png or image/webp."""
    width: int
    """Pixels, as sent: before an untouched image is read by the server, after turning and reducing otherwise."""
    height: int
    source_bytes: int
    """Size of the file."""
    sent_bytes: int
    """Size of the image file inside the fragment, before base64 makes it a third larger."""
    untouched: bool
    """The bytes sent are the source's bytes."""

    def to_dict(self) -> dict[str, str | int | bool]:
        """What the journal remembers; never image bytes."""
        return {
            "name": self.name,
            "source_bytes": self.source_bytes,
            "width": self.width,
            "height": self.height,
            "mime": self.mime,
            "untouched": self.untouched,
        }


def prepare_image(source: ImageSource, policy: ImagePolicy) -> PreparedImage:
    """Reads one image and makes it fit to send. Thread-safe; emits no warnings.

    Raises: MissingImage if the file is not there; BadImage with a typed ``problem`` for whatever else is wrong.
    """
    _raise_preset(source)
    try:
        return _prepare(source, policy)
    except _Refusal as refusal:
        raise _image_error(refusal, source) from refusal.__cause__


class _Refusal(Exception):
    """Why an image is not sent. Becomes an ImageError once named: the cache may meet the same bytes under two names."""

    def __init__(self, problem: ImageProblem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.text = text


def _image_error(refusal: _Refusal, source: ImageSource) -> ImageError:
    message = f"{source.name}: {refusal.text}"
    if refusal.problem is ImageProblem.MISSING:
        return MissingImage(message)
    return BadImage(refusal.problem, message)


def _raise_preset(source: ImageSource) -> None:
    """Raises what was known about a source before reading it."""
    if source.problem is not None:
        problem = ImageProblem(source.problem)
        raise _image_error(_Refusal(problem, source.detail or f"cannot be used ({problem})"), source)


def _prepare(source: ImageSource, policy: ImagePolicy) -> PreparedImage:
    data = _read_bytes(source, policy)
    header = _read_header(data)
    _refuse_size(header.kind, header.width, header.height)
    if header.plain and header.orientation == 1 and header.width * header.height <= policy.max_pixels:
        if not header.whole:
            _decode(data, header, None)  # Decides: harmless bytes after the end pass, a cut image raises.
        return _prepared(source, data, data, f"image/{header.kind}", header.width, header.height)
    picture = _decode(data, header, policy.max_pixels)
    lossy = header.kind is _Kind.JPEG
    sent = _encode(picture, policy.jpeg_quality if lossy else None)
    return _prepared(source, data, sent, "image/jpeg" if lossy else "image/png", picture.width, picture.height)


def _prepared(source: ImageSource, data: bytes, sent: bytes, mime: str, width: int, height: int) -> PreparedImage:
    opening = b'{"type":"image_url","image_url":{"url":"data:%b;base64,' % mime.encode()
    fragment = b"".join((opening, pybase64.b64encode(sent), b'"}}'))  # join copies once; % on the whole, twice
    return PreparedImage(
        name=source.name,
        fragment=fragment,
        mime=mime,
        width=width,
        height=height,
        source_bytes=len(data),
        sent_bytes=len(sent),
        untouched=sent is data,
    )


# --- bytes -----------------------------------------------------------------------------------------------------------


def _read_bytes(source: ImageSource, policy: ImagePolicy) -> bytes:
    """The source's bytes, at least one and at most ``policy.max_file_bytes``."""
    if source.data is not None:
        data = source.data
        _refuse_weight(len(data), policy)
    elif source.path is not None:
        data = _read_file(source.path, policy)
    else:
        raise _Refusal(ImageProblem.BAD_VALUE, "has neither a path nor bytes; check the image column")
    if not data:
        raise _Refusal(ImageProblem.EMPTY, "is empty (0 bytes); copy or download it again")
    return data


def _read_file(path: str, policy: ImagePolicy) -> bytes:
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise _Refusal(ImageProblem.UNREADABLE, f"is {what} ({path}); name an image file")
            _refuse_weight(status.st_size, policy)
            return file.readall()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _Refusal(
            ImageProblem.MISSING, f"there is no file {path}; check --dataset-path and the image column"
        ) from error
    except IsADirectoryError as error:  # Python refuses to wrap a directory's descriptor before it can be examined.
        raise _Refusal(ImageProblem.UNREADABLE, f"is a directory ({path}); name an image file") from error
    except OSError as error:
        raise _Refusal(
            ImageProblem.UNREADABLE,
            f"cannot be read ({path}: {error.strerror or error}); check permissions and the disk",
        ) from error
    except ValueError as error:  # a NUL byte or a character that no file name can hold
        raise _Refusal(ImageProblem.BAD_VALUE, f"{path!r} cannot be a file name ({error}); check the cell") from error


def _refuse_weight(size: int, policy: ImagePolicy) -> None:
    if size > policy.max_file_bytes:
        raise _Refusal(
            ImageProblem.UNREADABLE,
            f"has {size:,} bytes, more than the {policy.max_file_bytes:,} read for one image; make it smaller",
        )


# --- headers ---------------------------------------------------------------------------------------------------------


class _Kind(StrEnum):
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    GIF = "gif"
    BMP = "bmp"
    TIFF = "tiff"


@dataclass(frozen=True, slots=True)
class _Header:
    """What the bytes say about the picture before any pixel is decoded."""

    kind: _Kind
    width: int
    """Pixels as stored, before turning."""
    height: int
    orientation: int = 1
    """EXIF orientation, 1 (upright) to 8."""
    plain: bool = False
    """One frame of mode RGB, L or opaque P, in a type that servers read: may be sent as it is."""
    whole: bool = True
    """The end of the file is where it should be. False is a suspicion that only decoding can settle."""


_FOREIGN = (
    (b"%PDF", "a PDF document; export its pages as images"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image; run `git lfs pull` in the data set"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"\x1f\x8b", "gzip data; unpack it"),
    (b"{", "JSON text (an error message that was saved as an image?)"),
    (b"<!doctype html", "an HTML page (a failed download?)"),
    (b"<html", "an HTML page (a failed download?)"),
    (b"<svg", "an SVG drawing; render it to PNG"),
    (b"<?xml", "XML (an SVG drawing or an error message?); render drawings to PNG"),
)
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_SUPPORTED = "supported are JPEG, PNG, WebP, BMP, GIF and TIFF"


def _read_header(data: bytes) -> _Header:
    """Size, frames, orientation and completeness of image bytes.

    Raises: _Refusal NOT_AN_IMAGE for other data, TRUNCATED or CORRUPT where the header itself is damaged.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg_header(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png_header(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_header(data)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return _gif_header(data)
        if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _read_tiff(data)[0]
        if data.startswith(b"BM"):
            return _bmp_header(data)
    except (struct.error, IndexError) as error:
        raise _Refusal(ImageProblem.TRUNCATED, f"ends within its header ({len(data):,} bytes); {_AGAIN}") from error
    raise _foreign(data)


def _foreign(data: bytes) -> _Refusal:
    if len(data) < 8 and any(magic.startswith(data) for magic in _MAGIC):
        return _Refusal(ImageProblem.TRUNCATED, f"ends within its header ({len(data)} bytes); {_AGAIN}")
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, meaning in _FOREIGN:
        if start[: len(magic)].lower() == magic.lower():
            return _Refusal(ImageProblem.NOT_AN_IMAGE, f"is {meaning}; {_SUPPORTED}")
    if data[4:8] == b"ftyp":
        return _Refusal(ImageProblem.NOT_AN_IMAGE, f"is HEIC, AVIF or a video; convert it to JPEG; {_SUPPORTED}")
    if not data[:4096].strip(b"\0"):
        return _Refusal(ImageProblem.NOT_AN_IMAGE, "starts with zero bytes only (a copy that failed?); copy it again")
    return _Refusal(ImageProblem.NOT_AN_IMAGE, f"is not an image, it starts with {data[:16]!r}; {_SUPPORTED}")


_AGAIN = "copy or download it again"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, offset of its 0xFF, end) of each segment up to and with the first SOS. Skips junk as libjpeg does."""
    at = data.find(b"\xff", 2)
    while 0 <= at <= len(data) - 4:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            end = at + 1
        elif marker <= 0x01 or 0xD0 <= marker <= 0xD8:  # stuffing, TEM, RSTn, SOI: no length follows
            end = at + 2
        elif marker == 0xD9:
            return
        else:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            yield marker, at, end
            if marker == 0xDA:
                return
        at = data.find(b"\xff", end)


def _jpeg_header(data: bytes) -> _Header:
    width = height = frames = components = scan = 0
    readable = True
    exif: int | None = None
    xmp: int | None = None
    for marker, start, end in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, components = struct.unpack_from(">BHHB", data, start + 4)
            frames += 1
            readable = marker <= 0xC2 and bits == 8 and components in (1, 3)
        elif marker == 0xE1:
            if data.startswith(b"Exif\0\0", start + 4):
                exif = exif or _exif_orientation(data, start + 10, end)
            elif (found := _XMP_ORIENTATION.search(data, start + 4, end)) is not None:
                xmp = xmp or int(found[1])
        elif marker == 0xDA:
            scan = start
    if not frames or not scan:
        problem = ImageProblem.CORRUPT if b"\xff\xd9" in data[-4096:] else ImageProblem.TRUNCATED
        raise _Refusal(problem, f"is a JPEG without picture data; {_AGAIN}")
    # The end marker is looked for behind the first scan: an EXIF thumbnail has one of its own.
    whole = data.rfind(b"\xff\xd9", max(scan, len(data) - 4096)) >= 0
    if not whole and data.endswith(bytes(32)) and data.rfind(b"\xff\xd9", scan) < 0:
        # libjpeg reads zeros as grey pixels without complaint; they are what an interrupted download leaves behind.
        raise _Refusal(ImageProblem.TRUNCATED, f"ends in zero bytes instead of picture data; {_AGAIN}")
    return _Header(_Kind.JPEG, width, height, exif or xmp or 1, readable and frames == 1, whole)


def _exif_orientation(data: bytes, start: int, end: int) -> int | None:
    """Tag 0x0112 of the first directory of the TIFF block in ``data[start:end]``; None if absent or nonsense."""
    order = {b"II": "<", b"MM": ">"}.get(data[start : start + 2])
    end = min(end, len(data))
    if order is None or start + 8 > end:
        return None
    at = start + int(struct.unpack_from(order + "I", data, start + 4)[0])
    if at + 2 > end:
        return None
    (count,) = struct.unpack_from(order + "H", data, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, end - 11), 12):
        tag, form = struct.unpack_from(order + "HH", data, entry)
        if tag == 0x0112:
            (value,) = struct.unpack_from(order + ("I" if form == 4 else "H"), data, entry + 8)
            return int(value) if 1 <= value <= 8 else None
    return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, end) of each chunk up to IEND; the last one may end beyond the data."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        yield name, at, end
        if name == b"IEND":
            return
        at = end


_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def _png_header(data: bytes) -> _Header:
    length, name, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    (checksum,) = struct.unpack_from(">I", data, 29)
    if (
        name != b"IHDR"
        or length != 13
        or checksum != zlib.crc32(data[12:29])
        or depth not in _PNG_DEPTHS.get(colour, ())
    ):
        raise _Refusal(ImageProblem.CORRUPT, f"is a PNG with a damaged header; {_AGAIN}")
    seen = set()
    orientation: int | None = None
    end = 0
    for chunk, start, end in _png_chunks(data):
        seen.add(chunk)
        if chunk == b"eXIf":
            orientation = _exif_orientation(data, start + 8, end - 4) or orientation
        elif chunk == b"iTXt" and (found := _XMP_ORIENTATION.search(data, start + 8, end)) is not None:
            orientation = orientation or int(found[1])
    grey = colour == 0 and depth in (2, 4, 8)  # One bit is mode 1 and sixteen are I;16 in Pillow.
    plain = (grey or colour in (2, 3)) and b"IDAT" in seen and seen.isdisjoint((b"tRNS", b"acTL"))
    whole = b"IEND" in seen and end <= len(data)
    return _Header(_Kind.PNG, width, height, orientation or 1, plain, whole)


def _webp_header(data: bytes) -> _Header:
    end = 8 + int(struct.unpack_from("<I", data, 4)[0])
    form = data[12:16]
    size: tuple[int, int] | None = None
    flags = 0
    opaque = True
    exif: int | None = None
    xmp: int | None = None
    at = 12
    while at + 8 <= min(end, len(data)):
        name, length = struct.unpack_from("<4sI", data, at)
        body, at = at + 8, at + 8 + length + (length & 1)
        if name == b"VP8X" and body == 20:
            flags = data[body]
            size = (int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
        elif name == b"VP8 " and size is None:
            across, down = struct.unpack_from("<HH", data, body + 6)
            size = (across & 0x3FFF, down & 0x3FFF)
        elif name == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, body + 1)
            size = size or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
            opaque = opaque and not bits >> 28 & 1
        elif name == b"ALPH":
            opaque = False
        elif name == b"EXIF":
            start = body + 6 if data.startswith(b"Exif\0\0", body) else body
            exif = exif or _exif_orientation(data, start, body + length)
        elif name == b"XMP " and (found := _XMP_ORIENTATION.search(data, body, body + length)) is not None:
            xmp = int(found[1])
    if len(data) < 30:
        raise struct.error("shorter than any WebP header")
    if size is None:
        raise _Refusal(ImageProblem.CORRUPT, f"is a WebP file without picture (first chunk {form!r}); {_AGAIN}")
    plain = opaque and not flags & 0x12  # 0x10: alpha, 0x02: animation
    return _Header(_Kind.WEBP, *size, exif or xmp or 1, plain, end <= len(data))


def _gif_header(data: bytes) -> _Header:
    """Canvas and first frame: Pillow grows the canvas to hold a frame, so both count against the size limit."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[at] != 0x2C:
        if data[at] == 0x3B:
            raise _Refusal(ImageProblem.CORRUPT, f"is a GIF without picture; {_AGAIN}")
        if data[at] == 0x21:
            at += 2
            while data[at]:
                at += 1 + data[at]
        at += 1
    left, top, across, down = struct.unpack_from("<4H", data, at + 1)
    return _Header(_Kind.GIF, max(width, left + across), max(height, top + down), whole=b";" in data[-16:])


def _bmp_header(data: bytes) -> _Header:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
    if not 12 <= header_bytes <= 256:
        raise _foreign(data)  # Two letters are little to go by: text may begin with «BM» too.
    return _Header(_Kind.BMP, abs(width), abs(height))


_TIFF_UNIT_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
# Size, samples, compression, strips and tiles, palette, fax and JPEG options, YCbCr: what pixels need and no more.
_TIFF_PIXEL_TAGS = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325}
    | {332, 334, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532}
)


def _read_tiff(data: bytes) -> tuple[_Header, bytes]:
    """The header, and a copy of the file with one directory that holds valid pixel tags only.

    The new directory lies where the first one was: it has no more entries, so it fits, and bytes that are missing at
    the end stay missing.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    offset_form, count_form, inline = ("Q", "Q", 8) if big else ("I", "H", 4)
    entry_form = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    (at,) = struct.unpack_from(order + offset_form, data, 8 if big else 4)
    if at >= len(data):
        raise struct.error("directory beyond the end")
    (count,) = struct.unpack_from(order + count_form, data, at)
    first = at + struct.calcsize(order + count_form)
    kept: dict[int, bytes] = {}
    scalars: dict[int, int] = {}
    outside = 0
    for index in range(min(count, 4096)):
        tag, form, number, value = entry_form.unpack_from(data, first + index * entry_form.size)
        if number == 1 and form in (3, 4):
            scalars.setdefault(tag, int(struct.unpack_from(order + ("H" if form == 3 else "I"), value)[0]))
        if tag not in _TIFF_PIXEL_TAGS or tag in kept or form not in _TIFF_UNIT_BYTES:
            continue
        size = number * _TIFF_UNIT_BYTES[form]
        if size > inline:
            outside += size
            if struct.unpack(order + offset_form, value)[0] + size > len(data):
                raise _Refusal(ImageProblem.TRUNCATED, f"is a TIFF whose tag {tag} lies beyond its end; {_AGAIN}")
        several = number != 1 and form not in (1, 2, 7)  # BYTE, ASCII and UNDEFINED are one value of many bytes
        if outside > len(data) or (several and TiffTags.lookup(tag).length == 1):
            raise _Refusal(ImageProblem.CORRUPT, f"is a TIFF with a damaged tag {tag}; {_AGAIN}")
        kept[tag] = entry_form.pack(tag, form, number, value)
    if not {256, 257} <= scalars.keys() or scalars.get(277, 1) > 6:
        raise _Refusal(ImageProblem.CORRUPT, f"is a TIFF without a usable size or sample count; {_AGAIN}")
    entries = b"".join(kept[tag] for tag in sorted(kept))
    directory = struct.pack(order + count_form, len(kept)) + entries + struct.pack(order + offset_form, 0)
    orientation = scalars.get(274, 1)
    header = _Header(_Kind.TIFF, scalars[256], scalars[257], orientation if 1 <= orientation <= 8 else 1)
    view = memoryview(data)
    return header, b"".join((view[:at], directory, view[at + len(directory) :]))


# --- pixels ----------------------------------------------------------------------------------------------------------

# The plugins' classes rather than `Image.open`: the list of types is closed, and `Image.open` warns about large images.
_READERS: dict[_Kind, type[ImageFile]] = {
    _Kind.JPEG: JpegImageFile,
    _Kind.PNG: PngImageFile,
    _Kind.WEBP: WebPImageFile,
    _Kind.GIF: GifImageFile,
    _Kind.BMP: BmpImageFile,
    _Kind.TIFF: TiffImageFile,
}
_DEFAULT_MAX_IMAGE_PIXELS = 89_478_485
_HUGE_PIXELS = 50_000_000
# Above 50 Mpixel a decoded picture takes 150 MB and more, several times over while it is converted. One at a time:
# sixteen threads would take the node's memory.
_one_huge_picture = threading.Lock()

# Everything Pillow may raise on hostile bytes. This is the one place that names so much; a warning turned
# into an exception by `-W error` is in the list too.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    MemoryError,
    BufferError,
    Image.DecompressionBombError,
    Warning,
)
# EXIF 2.32, tag 0x0112: what to do to see the stored rows and columns upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _refuse_size(kind: _Kind, width: int, height: int) -> None:
    """Refuses from the header alone: a bomb, a strip of pixels, an impossible shape."""
    if width < 1 or height < 1:
        raise _Refusal(ImageProblem.CORRUPT, f"says it is {width}×{height} px; {_AGAIN}")
    # Pillow warns above its limit and refuses above twice the limit, where vLLM answers 500. A 108-Mpixel photograph
    # is no bomb, so the higher one counts, except where the reader itself would warn.
    limit = (Image.MAX_IMAGE_PIXELS or _DEFAULT_MAX_IMAGE_PIXELS) * (1 if kind in (_Kind.GIF, _Kind.TIFF) else 2)
    if width * height > limit:
        raise _Refusal(
            ImageProblem.BOMB,
            f"says it is {width}×{height} px, over the limit of {limit:,} (decompression bomb?); make it smaller",
        )
    problem = size_problem(width, height)
    if problem is not None:
        raise _Refusal(*problem)


def _decode(data: bytes, header: _Header, max_pixels: int | None) -> Image.Image:
    """The picture, fully read, upright, mode RGB or L, reduced to ``max_pixels`` unless that is None.

    Raises: _Refusal, whatever the bytes hold.
    """
    try:
        with _READERS[header.kind](io.BytesIO(_pixel_bytes(data, header.kind))) as file:
            _refuse_size(header.kind, *file.size)
            target = file.size if max_pixels is None else fit_within(*file.size, max_pixels)
            if target != file.size:
                file.draft(file.mode, target)  # JPEG only: decodes at 1/2, 1/4, 1/8, never below the target
            with _one_huge_picture if file.width * file.height > _HUGE_PIXELS else nullcontext():
                file.load()
                if max_pixels is None:
                    return file
                picture = _as_rgb_or_l(file)
                if target != picture.size:
                    picture = picture.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
        turn = _UPRIGHT.get(header.orientation)
        return picture if turn is None else picture.transpose(turn)
    except _DECODING_ERRORS as error:
        # Where the end is known to be there, Pillow's «truncated» means damaged in the middle.
        known_end = header.kind in (_Kind.JPEG, _Kind.PNG, _Kind.WEBP)
        if not header.whole or (not known_end and "truncated" in str(error)):
            raise _Refusal(
                ImageProblem.TRUNCATED, f"ends before its picture is complete ({len(data):,} bytes); {_AGAIN}"
            ) from error
        reason = str(error) or type(error).__name__
        raise _Refusal(
            ImageProblem.CORRUPT,
            f"is a {header.kind.upper()} that cannot be decoded ({reason}); {_AGAIN} or re-save it",
        ) from error


def _pixel_bytes(data: bytes, kind: _Kind) -> bytes:
    """The file without the metadata that Pillow would parse, and warn about, on the way to the pixels."""
    if kind is _Kind.JPEG:
        pieces = [b"\xff\xd8"]
        for marker, start, end in _jpeg_segments(data):
            if marker == 0xDA:
                pieces.append(data[start:])
            elif marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
                pieces.append(data[start:end])  # APP14 says how colours are stored; other APPn and comments go
        return b"".join(pieces)
    if kind is _Kind.PNG:
        needed = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
        return data[:8] + b"".join(data[start:end] for name, start, end in _png_chunks(data) if name in needed)
    if kind is _Kind.TIFF:
        return _read_tiff(data)[1]
    return data


def _as_rgb_or_l(picture: Image.Image) -> Image.Image:
    """Any mode as opaque 8-bit RGB or L. Transparency is laid on white, as vLLM does."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _as_8_bit(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        flat = Image.new("RGB", layer.size, (255, 255, 255))
        flat.paste(layer, mask=layer.getchannel("A"))
        return flat
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in ("RGB", "L") else picture.convert("RGB")


def _as_8_bit(picture: Image.Image) -> Image.Image:
    """Integers and floats as L. 16 bits are scaled by 1/257, so that 65535 becomes 255.

    Wider numbers have no white point of their own: 0 to 255 is taken as it is, floats in 0 to 1 are multiplied by 255,
    integers up to 65535 are 16-bit, anything else is stretched from its darkest to its brightest pixel.
    """
    if picture.mode.startswith("I;16"):
        scale, offset = 1 / 257, 0.5
        picture = picture.convert("I")
    else:
        low, high = (float(value) for value in _extrema(picture))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("pixels that are not numbers")
        if low >= 0 and high <= 1 and picture.mode == "F":
            scale, offset = 255.0, 0.5
        elif low >= 0 and high <= 255:
            scale, offset = 1.0, 0.0
        elif low >= 0 and high <= 65535 and picture.mode == "I":
            scale, offset = 1 / 257, 0.5
        else:
            scale = 255 / (high - low) if high > low else 0.0
            offset = 0.5 - low * scale
    return picture.point(lambda value: value * scale + offset).convert("L")


def _extrema(picture: Image.Image) -> tuple[Any, Any]:
    low, high = picture.getextrema()
    return low, high


def _encode(picture: Image.Image, jpeg_quality: int | None) -> bytes:
    """JPEG of a quality, or PNG for None."""
    buffer = io.BytesIO()
    if jpeg_quality is None:
        # Level 1: 0.37 s instead of 0.74 s (default 6) for a photograph of 4 Mpixel, 14 % more bytes.
        picture.save(buffer, "PNG", compress_level=1)
    else:
        # Colours at full resolution: coloured thin lines and small text are what questions are about.
        picture.save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
    return buffer.getvalue()


# --- reuse -----------------------------------------------------------------------------------------------------------

_REFUSAL_WEIGHT_BYTES = 1024


class ImageCache:
    """Prepared images of one policy, each made once however many threads ask for it at the same time.

    Holds at most ``max_bytes`` of fragments, the least recently used go first. A refused image is remembered as well
    (as 1 KiB), so that twenty questions on a broken file decode it once. Every `get` that reaches a file or bytes
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
        self._done: OrderedDict[object, PreparedImage | _Refusal] = OrderedDict()
        self._working: dict[object, Future[PreparedImage | _Refusal]] = {}

    def get(self, source: ImageSource) -> PreparedImage:
        """The image, under the name of this source. Thread-safe; waits if another thread is preparing it.

        Raises: as `prepare_image`.
        """
        _raise_preset(source)
        result = self._result(source)
        if isinstance(result, _Refusal):
            raise _image_error(result, source)
        return result if result.name == source.name else replace(result, name=source.name)

    def _result(self, source: ImageSource) -> PreparedImage | _Refusal:
        key = _cache_key(source)
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
        if future is not None:
            return future.result()
        return self._work(key, source, mine)

    def _work(
        self, key: object, source: ImageSource, future: Future[PreparedImage | _Refusal]
    ) -> PreparedImage | _Refusal:
        result: PreparedImage | _Refusal
        try:
            result = _prepare(source, self.policy)
        except _Refusal as refusal:
            # A fresh one: the traceback of the caught one would keep the image's bytes alive.
            result = _Refusal(refusal.problem, refusal.text)
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

    def _store(self, key: object, result: PreparedImage | _Refusal) -> None:
        weight = _weight(result)
        if weight > self.max_bytes:
            return
        self._done[key] = result
        self.held_bytes += weight
        while self.held_bytes > self.max_bytes:
            _, oldest = self._done.popitem(last=False)
            self.held_bytes -= _weight(oldest)


def _weight(result: PreparedImage | _Refusal) -> int:
    return _REFUSAL_WEIGHT_BYTES if isinstance(result, _Refusal) else len(result.fragment)


def _cache_key(source: ImageSource) -> object:
    """The path, or a digest of inline bytes: the same picture in two rows of a parquet file is two bytes objects."""
    if source.data is not None:
        return hashlib.sha256(source.data).digest()
    return source.path


# --- paths -----------------------------------------------------------------------------------------------------------

_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 4096


def resolve_inside(root: Path, relative: str) -> ImageSource:
    """The image that a data set names, if it is inside the data set's folder.

    ``relative`` is joined to ``root``. An absolute path, or one that leaves the folder through ``..`` or a symbolic
    link, has the problem OUTSIDE_DATASET; one that cannot be a file name has BAD_VALUE. Links within the folder are
    followed. ``path`` is absolute and free of links; the file need not exist.
    """
    if not relative.strip():
        return _unusable(relative, ImageProblem.BAD_VALUE, "the image path is empty; check the image column")
    try:
        encoded = os.fsencode(relative)
    except UnicodeEncodeError:
        return _unusable(relative, ImageProblem.BAD_VALUE, "the image path cannot be encoded; check the image column")
    if b"\0" in encoded:
        return _unusable(relative, ImageProblem.BAD_VALUE, "the image path holds a NUL byte; check the image column")
    parts = encoded.split(b"/")
    if len(encoded) >= _MAX_PATH_BYTES or max(map(len, parts)) > _MAX_NAME_BYTES:
        short = f"{relative[:80]}…"
        detail = f"{len(encoded):,} bytes are no file name (255 a part, 4,095 in all); is this the image column?"
        return _unusable(short, ImageProblem.BAD_VALUE, detail)
    if relative.startswith("/"):
        detail = f"the path is absolute; write it relative to the data set's folder {root}"
        return _unusable(relative, ImageProblem.OUTSIDE_DATASET, detail)
    real_root = _real_root(os.path.abspath(root))
    real = _real_path(real_root, relative)
    if real == real_root:
        return _unusable(relative, ImageProblem.BAD_VALUE, "names the data set's folder itself; name an image file")
    if not real.startswith(real_root.rstrip("/") + "/"):
        detail = f"leads to {real}, outside the data set's folder {root}; copy the image into it"
        return _unusable(relative, ImageProblem.OUTSIDE_DATASET, detail)
    return ImageSource(name=relative, path=real)


def _unusable(name: str, problem: ImageProblem, detail: str) -> ImageSource:
    return ImageSource(name=name, problem=problem.value, detail=detail)


@lru_cache(maxsize=64)
def _real_root(root: str) -> str:
    return os.path.realpath(root)


def _real_path(real_root: str, relative: str) -> str:
    """As `os.path.realpath`, but only the parts below the root are examined: one lstat each, which Lustre feels."""
    path = real_root
    for part in relative.split("/"):
        if part in ("", "."):
            continue
        path = os.path.join(path, part)
        try:
            plain = part != ".." and not stat.S_ISLNK(os.lstat(path).st_mode)
        except OSError:  # Missing or unreadable: reading it will say so.
            plain = part != ".."
        if not plain:
            return os.path.realpath(os.path.join(real_root, relative))
    return path
