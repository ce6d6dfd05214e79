"""Images made fit to send: a source of bytes becomes the JSON content part of a chat request.

In: an `ImageSource` and an `ImagePolicy`. Out: a `PreparedImage`, or `MissingImage` / `BadImage` and nothing else.

An image that is fit already (JPEG, PNG or WebP, one frame, upright, opaque, small enough) is sent byte for byte: Pillow
reads its header, no pixel is decoded. Everything else is decoded, turned upright, laid on white, reduced and encoded
again. The type is declared from the bytes, never from the file's name.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import stat
import struct
import threading
import warnings
import zlib
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import cast

import pybase64
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy, fit_within, size_problem
from captionqa.errors import BadImage, ImageError, ImageProblem, MissingImage

__all__ = [
    "FORMAT_MIMES",
    "PILLOW_ERRORS",
    "PreparedImage",
    "Refusal",
    "fit_image",
    "is_plain",
    "is_whole",
    "prepare_image",
]

# Pillow warns of damaged metadata and of large pictures (DecompressionBombWarning). Either is harmless, or decoding
# finds it and raises. The filters are set here, once: images are prepared in threads, and `warnings.catch_warnings`
# changes the whole process. Its TIFF reader also logs, then raises: the exception says it all.
warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # Pillow reports a JPEG of several pictures as MPO.
FORMAT_MIMES = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
# All that Pillow raises on hostile bytes. A picture beyond its bomb limit of 179 Mpixel, where vLLM refuses as well, is
# refused by `Image.open` from the header alone.
PILLOW_ERRORS = (
    *(OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, ArithmeticError, LookupError),
    *(TypeError, AttributeError, AssertionError, RuntimeError, MemoryError, BufferError, Image.DecompressionBombError),
)
# A decoded picture of 50 Mpixel takes 150 MB, several times over while it is converted. One such at a time: sixteen
# threads would take the node's memory.
_HUGE_PIXELS = 50_000_000
_one_huge_picture = threading.Lock()
UUID_HEX = 40
"""Hex digits of an image's uuid: 160 bits."""
_AGAIN = "copy or download it again"


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """One image as it goes into a request."""

    name: str
    """The source's name."""
    pieces: tuple[bytes, bytes, bytes]
    """The content part, serialised, in three pieces that a request body is joined from, so that a large payload is
    copied once: ``{"type":"image_url","image_url":{"url":"data:image/…;base64,``, the payload, ``"}}``."""
    mime: str
    """As declared: image/jpeg, image/png or image/webp."""
    width: int
    """Pixels, as sent."""
    height: int
    source_bytes: int
    """Size of the file."""
    sent_bytes: int
    """Size of the image file inside the payload, before base64 makes it a third larger."""
    untouched: bool
    """The bytes sent are the source's bytes."""
    fitted_from: tuple[int, int] | None = None
    """Its size in pixels before it was reduced to fit into the model's context, by ``--fit``."""
    _uuid: list[str] = field(default_factory=list, repr=False, compare=False)
    """Computed when first wanted, and shared with this image's copies under other names."""

    @property
    def uuid(self) -> str:
        """Names the bytes that are sent: a digest of the payload, 0.2 ms for 300 kB. Others never share it."""
        if not self._uuid:
            self._uuid.append(hashlib.sha256(self.pieces[1]).hexdigest()[:UUID_HEX])
        return self._uuid[0]

    @property
    def weight(self) -> int:
        """Bytes that the pieces hold."""
        return sum(map(len, self.pieces))

    def to_dict(self) -> dict[str, str | int | bool | list[int]]:
        """What the journal remembers; never image bytes."""
        names = ("name", "source_bytes", "width", "height", "mime", "untouched")
        remembered: dict[str, str | int | bool | list[int]] = {name: getattr(self, name) for name in names}
        return remembered if self.fitted_from is None else {**remembered, "fitted_from": list(self.fitted_from)}


class Refusal(Exception):
    """Why an image is not sent. Becomes an ImageError once named: the cache may meet the same bytes under two names."""

    def __init__(self, problem: ImageProblem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.text = text

    def named(self, name: str) -> ImageError:
        message = f"{name}: {self.text}"
        return MissingImage(message) if self.problem is ImageProblem.MISSING else BadImage(self.problem, message)


def prepare_image(source: ImageSource, policy: ImagePolicy) -> PreparedImage:
    """Reads one image and makes it fit to send. Thread-safe; emits no warnings.

    Raises: MissingImage if the file is not there; BadImage with a typed ``problem`` for whatever else is wrong.
    """
    try:
        return fit_image(source, policy)
    except Refusal as refusal:
        raise refusal.named(source.name) from refusal.__cause__


def fit_image(source: ImageSource, policy: ImagePolicy) -> PreparedImage:
    """As `prepare_image`, but raises Refusal."""
    if source.problem is not None:
        problem = ImageProblem(source.problem)
        raise Refusal(problem, source.detail or f"cannot be used ({problem})")
    data = _read_bytes(source, policy)
    sent, mime, (width, height) = _fit(data, policy)
    opening = b'{"type":"image_url","image_url":{"url":"data:%b;base64,' % mime.encode()
    pieces = (opening, pybase64.b64encode(sent), b'"}}')
    return PreparedImage(source.name, pieces, mime, width, height, len(data), len(sent), untouched=sent is data)


# --- bytes -----------------------------------------------------------------------------------------------------------


def _read_bytes(source: ImageSource, policy: ImagePolicy) -> bytes:
    """The source's bytes, at least one and at most ``policy.max_file_bytes``."""
    data = _read_file(source.path, policy) if source.data is None else source.data
    _refuse_weight(len(data), policy)
    if not data:
        raise Refusal(ImageProblem.EMPTY, f"is empty (0 bytes); {_AGAIN}")
    return data


def _read_file(path: str | None, policy: ImagePolicy) -> bytes:
    if path is None:
        raise Refusal(ImageProblem.BAD_VALUE, "has neither a path nor bytes; check the image column")
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Refusal(ImageProblem.UNREADABLE, f"is not a regular file ({path}); name an image file")
            _refuse_weight(status.st_size, policy)
            return file.readall()
    except (FileNotFoundError, NotADirectoryError) as error:
        text = f"there is no file {path}; check --dataset-path and the image column"
        raise Refusal(ImageProblem.MISSING, text) from error
    except OSError as error:
        text = f"cannot be read ({path}: {error.strerror or error}); name an image file, check permissions and the disk"
        raise Refusal(ImageProblem.UNREADABLE, text) from error
    except ValueError as error:  # a NUL byte or a character that no file name can hold
        raise Refusal(ImageProblem.BAD_VALUE, f"{path!r} cannot be a file name ({error}); check the cell") from error


def _refuse_weight(size: int, policy: ImagePolicy) -> None:
    if size > policy.max_file_bytes:
        text = f"has {size:,} bytes, more than the {policy.max_file_bytes:,} read for one image; make it smaller"
        raise Refusal(ImageProblem.UNREADABLE, text)


# --- pixels ----------------------------------------------------------------------------------------------------------


def _fit(data: bytes, policy: ImagePolicy) -> tuple[bytes, str, tuple[int, int]]:
    """Bytes fit to send, their MIME type and their size in pixels. Raises: Refusal, whatever the bytes hold."""
    try:
        file = Image.open(io.BytesIO(data), formats=_FORMATS)
        refused = size_problem(*file.size)
        if refused is not None:
            raise Refusal(*refused)
        pixels = file.width * file.height
        mime = FORMAT_MIMES.get(file.format or "")
        whole = is_whole(file.format, data, data, len(data), file.fp.tell() if file.fp else 0)
        if mime is not None and pixels <= policy.max_pixels and is_plain(file, data):
            if not whole:
                file.load()  # Decides: harmless bytes after the end pass, a cut image raises.
            return data, mime, file.size
        with _one_huge_picture if pixels > _HUGE_PIXELS else nullcontext():
            picture = _decode(file, policy.max_pixels)
        return _encode(picture, mime, policy.jpeg_quality)
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Image.DecompressionBombError as error:
        raise Refusal(ImageProblem.BOMB, f"is too large to open ({error}); make it smaller") from error
    except PILLOW_ERRORS as error:
        if "truncated" in str(error).lower():
            text = f"is truncated, it ends before its picture is complete ({len(data):,} bytes); {_AGAIN}"
            raise Refusal(ImageProblem.TRUNCATED, text) from error
        text = f"cannot be decoded ({str(error) or type(error).__name__}); {_AGAIN} or re-save it"
        raise Refusal(ImageProblem.CORRUPT, text) from error


def is_whole(kind: str | None, start: bytes, tail: bytes, size: int, header_ends: int) -> bool:
    """The end of the file is where it should be. False is a suspicion that only decoding can settle.

    Args:
        kind: Pillow's name of the format.
        start: the file's first bytes, at least 8.
        tail: its last bytes, or all of them.
        size: its size in bytes.
        header_ends: where, within ``tail``, Pillow stopped reading the header.

    Raises: OSError for a JPEG that has no end at all in ``tail``.
    """
    if kind == "PNG":
        return tail.endswith(b"IEND\xaeB`\x82")
    if kind == "WEBP":
        return 8 + int.from_bytes(start[4:8], "little") <= size
    if kind in ("JPEG", "MPO"):
        # Searched behind the header, where Pillow stopped: an EXIF thumbnail has an end marker of its own. A file
        # without any was cut. It may have been padded with zeros, which libjpeg takes for grey pixels.
        end = tail.rfind(b"\xff\xd9", header_ends)
        if end < 0:
            raise OSError("truncated: no end marker")
        return end >= len(tail) - 4096
    return False


def is_plain(file: ImageFile, tail: bytes) -> bool:
    """Servers show it as it is: upright, opaque, RGB, L or P, and one frame (of an MPO they read the first).

    Args:
        tail: the file's last bytes, 64 KiB of them if it has so many.
    """
    if file.mode not in ("RGB", "L", "P") or file.has_transparency_data:
        return False
    if file.format != "MPO" and getattr(file, "is_animated", False):
        return False
    with suppress(*PILLOW_ERRORS):  # Damaged metadata says nothing, so the picture stays as it is stored.
        # A PNG may hold EXIF (64 KiB at most) behind its pixels, and `PngImageFile.getexif` decodes them all to look.
        behind = file.format == "PNG" and b"eXIf" in tail[-(1 << 16) :]
        exif = file.getexif() if behind else Image.Image.getexif(file)
        return exif.get(ExifTags.Base.Orientation) not in range(2, 9)
    return True


def _decode(file: ImageFile, max_pixels: int) -> Image.Image:
    """The first frame, upright, mode RGB or L, of at most ``max_pixels``."""
    target = fit_within(*file.size, max_pixels)
    if target != file.size:
        file.draft(None, target)  # JPEG only: decodes at 1/2, 1/4 or 1/8, never below the target
    stored = file.size
    file.load()
    with suppress(*PILLOW_ERRORS):  # damaged metadata
        ImageOps.exif_transpose(file, in_place=True)
    if file.size != stored:
        target = target[1], target[0]
    picture = _as_rgb_or_l(file)
    if picture.size != target:
        picture = picture.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return picture


def _as_rgb_or_l(picture: Image.Image) -> Image.Image:
    """Any mode as opaque 8-bit RGB or L. Transparency is laid on white, as vLLM does."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _as_8_bit(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        flat = Image.new("RGB", layer.size, (255, 255, 255))
        flat.paste(layer, mask=layer.getchannel("A"))
        return flat
    if picture.mode in ("RGB", "L"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _as_8_bit(picture: Image.Image) -> Image.Image:
    """Integers and floats as L. 16 bits are scaled by 1/257, so that 65535 becomes 255.

    Wider numbers have no white point of their own: 0 to 255 is taken as it is, floats in 0 to 1 are multiplied by 255,
    integers up to 65535 are 16-bit, anything else is stretched from its darkest to its brightest pixel.
    """
    sixteen_bits = picture.mode.startswith("I;16")
    if sixteen_bits:
        picture = picture.convert("I")
    low, high = cast(tuple[float, float], picture.getextrema())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("pixels that are not numbers")
    if sixteen_bits or (picture.mode == "I" and low >= 0 and 255 < high <= 65535):
        scale, offset = 1 / 257, 0.5
    elif picture.mode == "F" and low >= 0 and high <= 1:
        scale, offset = 255.0, 0.5
    elif low >= 0 and high <= 255:
        scale, offset = 1.0, 0.0
    else:
        scale = 255 / ((high - low) or 1)
        offset = 0.5 - low * scale
    return picture.point(lambda value: value * scale + offset).convert("L")


def _encode(picture: Image.Image, mime: str | None, jpeg_quality: int) -> tuple[bytes, str, tuple[int, int]]:
    """A JPEG again as JPEG, anything else as PNG, without loss."""
    buffer = io.BytesIO()
    picture.info = {}  # Pillow would write the source's comment and colour profile.
    if mime == "image/jpeg":
        # Colours at full resolution: coloured thin lines and small text are what questions are about.
        picture.save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
        return buffer.getvalue(), mime, picture.size
    # Level 1: 0.37 s instead of 0.74 s (default 6) for a photograph of 4 Mpixel, 14 % more bytes.
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), "image/png", picture.size


# --- other data ------------------------------------------------------------------------------------------------------

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FOREIGN = (
    (b"%PDF", "a PDF document; export its pages as images"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image; run `git lfs pull` in the data set"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"\x1f\x8b", "gzip data; unpack it"),
    (b"{", "JSON text (an error message that was saved as an image?)"),
    (b"<!doctype", "an HTML page (a failed download?)"),
    (b"<html", "an HTML page (a failed download?)"),
    (b"<svg", "an SVG drawing; render it to PNG"),
    (b"<?xml", "XML (an SVG drawing or an error message?); render drawings to PNG"),
)


def _unidentified(data: bytes) -> Refusal:
    """What the bytes are, as far as that helps, after Pillow found no image in them."""
    if data.startswith(_MAGIC) or (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return Refusal(ImageProblem.CORRUPT, f"has an image header that is damaged or cut off; {_AGAIN}")
    supported = "supported are JPEG, PNG, WebP, BMP, GIF and TIFF"
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, meaning in _FOREIGN:
        if start.startswith(magic.lower()):
            return Refusal(ImageProblem.NOT_AN_IMAGE, f"is {meaning}; {supported}")
    if data[4:8] == b"ftyp":
        return Refusal(ImageProblem.NOT_AN_IMAGE, f"is HEIC, AVIF or a video; convert it to JPEG; {supported}")
    if not data[:4096].strip(b"\0"):
        return Refusal(ImageProblem.NOT_AN_IMAGE, "starts with zero bytes only (a copy that failed?); copy it again")
    return Refusal(ImageProblem.NOT_AN_IMAGE, f"is not an image, it starts with {data[:16]!r}; {supported}")
