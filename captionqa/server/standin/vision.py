"""What can be seen in a picture by simple arithmetic: colour, shape, number of shapes, background.

In: an image part's URL. Out: `Seen`, or the `Refusal` that vLLM would give. Safe to run in threads. It knows nothing
about the world: of a photograph it can tell little more than a colour. Never fetches a URL, and opens files only below
the folder that its server was given for that.
"""

from __future__ import annotations

import binascii
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pybase64
from numpy.typing import NDArray
from PIL import Image

from captionqa.server.standin.wire import Refusal, bad_request

WORKING_SIDE_PX = 192
"""Pictures are looked at no larger than this; ~3 ms each."""
MAX_ASPECT_RATIO = 200
GRID_PX = 32
MIN_PIXELS, MAX_PIXELS = 65_536, 16_777_216
"""Qwen3-VL's preprocessor: 32-pixel grid, smaller and larger pictures are resized to these numbers of pixels."""

COLORS = {
    "red": (220, 40, 40),
    "blue": (40, 90, 210),
    "green": (40, 160, 60),
    "yellow": (240, 220, 50),
    "purple": (140, 60, 170),
    "orange": (250, 140, 30),
    "pink": (250, 150, 190),
    "brown": (120, 75, 40),
    "gray": (128, 128, 128),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
}
_HARMONIC_SHAPES = {3: "triangle", 4: "square", 5: "star"}
_ANGLES = 60

Gray = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """None where it cannot be told."""

    color: str | None
    shape: str | None
    count: int | None
    bright: bool | None
    """Whether the background is bright."""
    tokens: int
    """What the picture costs in the prompt, with its two marks."""


def image_tokens(width: int, height: int) -> int:
    """Tokens of a picture of this size in Qwen3-VL: one per 32-pixel square after resizing, and two marks around."""
    pixels = width * height
    scale = math.sqrt(min(max(pixels, MIN_PIXELS), MAX_PIXELS) / pixels)
    return max(1, round(width * scale / GRID_PX)) * max(1, round(height * scale / GRID_PX)) + 2


def look(url: str, media: Path | None = None) -> Seen | Refusal:
    """What the picture behind a data URL, or a file URL below the folder ``media``, shows. A picture that vLLM refuses
    gives vLLM's refusal as a value."""
    content = _content(url, media)
    if isinstance(content, Refusal):
        return content
    try:
        return _see(Image.open(io.BytesIO(content)))
    except Image.DecompressionBombError as error:
        return Refusal(500, "InternalServerError", str(error))
    except Exception as error:  # noqa: BLE001 - the boundary to image decoders, which raise whatever broken bytes make them
        return bad_request(f"Failed to load image: {re.sub(r' object at 0x[0-9a-f]+', ' object', str(error))}")


def _content(url: str, media: Path | None) -> bytes | Refusal:
    """The picture's file."""
    parts = urlsplit(url if url.startswith("file:") else url[:64])
    if parts.scheme == "file":
        return _read_file(Path(unquote(parts.netloc + parts.path)), media)
    if parts.scheme in ("http", "https"):
        message = f"Cannot connect to host {parts.netloc} ssl:default [the stand-in fetches nothing]"
        return Refusal(500, "InternalServerError", message)
    head, comma, encoded = url.partition(",")
    if parts.scheme != "data" or not comma:
        return bad_request("The URL must be either a HTTP, data or file URL.")
    if not head.endswith(";base64"):
        return Refusal(501, "NotImplementedError", "Only base64 data URLs are supported for now.")
    try:
        return pybase64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        return bad_request(str(error))


def _read_file(path: Path, media: Path | None) -> bytes | Refusal:
    """vLLM resolves dots and links before it compares, and hides paths in the words of the system."""
    if media is None:
        message = "Cannot load local files without `--allowed-local-media-path`."
        return Refusal(500, "InternalServerError", message)
    if path.is_absolute() and media.resolve() not in path.resolve().parents:
        return bad_request(f"The file path {path} must be a subpath of `--allowed-local-media-path {media}`.")
    try:
        return path.read_bytes()
    except OSError as error:
        return Refusal(500, "InternalServerError", f"[Errno {error.errno}] {error.strerror}: '<path>'")


def _see(image: Image.Image) -> Seen | Refusal:
    width, height = image.size
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        return bad_request(
            "Failed to apply Qwen3VLProcessor on data={'text': '<|vision_start|><|image_pad|><|vision_end|>', "
            f"'images': [<PIL.Image.Image image mode=RGB size={width}x{height}>]}} with kwargs={{'text_kwargs': "
            "{'truncation': False}, 'images_kwargs': {'do_normalize': False, 'do_rescale': False}, 'videos_kwargs': "
            "{'do_normalize': False, 'do_rescale': False}, 'return_tensors': 'pt'}"
        )
    image.draft("RGB", (WORKING_SIDE_PX, WORKING_SIDE_PX))  # JPEG only: decodes large photos at a fraction
    image.load()
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    image.thumbnail((WORKING_SIDE_PX, WORKING_SIDE_PX), Image.Resampling.BOX)
    return _read(np.asarray(image, dtype=np.float32), image_tokens(width, height))


def _read(pixels: Gray, tokens: int) -> Seen:
    height, width, _ = pixels.shape
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = np.median(edge, axis=0)
    bright = bool(background.mean() >= 128)
    distance = np.abs(pixels - background).max(axis=2)
    noise = float(np.median(np.abs(edge - background).max(axis=1)))
    mask = distance > 40 + 3 * noise
    parts = [part for part in components(mask) if len(part[0]) >= max(12, mask.size // 1500)]
    if not parts:
        return Seen(None, None, None, bright, tokens)
    largest = max(parts, key=lambda part: len(part[0]))
    parts = [part for part in parts if len(part[0]) >= len(largest[0]) / 6]
    color = _color_name(np.median(pixels[largest], axis=0))
    drawn = len(parts) <= 9 and sum(len(part[0]) for part in parts) < 0.8 * height * width
    return Seen(color, _shape_name(largest) if drawn else None, len(parts) if drawn else None, bright, tokens)


def components(mask: Mask) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The 4-connected parts of a mask, each as (rows, columns).

    Joins horizontal runs of neighbouring rows: a few hundred runs instead of tens of thousands of pixels.
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    above = 0
    runs: list[tuple[int, int, int]] = list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
    for run, (row, start, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] <= start):
            above += 1
        other = above
        while runs[other][0] == row - 1 and runs[other][1] < end:
            parent[root(other)] = root(run)
            other += 1
    grouped: dict[int, list[tuple[int, int, int]]] = {}
    for run, extent in enumerate(runs):
        grouped.setdefault(root(run), []).append(extent)
    return [
        (
            np.concatenate([np.full(end - start, row) for row, start, end in group]),
            np.concatenate([np.arange(start, end) for _, start, end in group]),
        )
        for group in grouped.values()
    ]


def _color_name(rgb: NDArray[Any]) -> str:
    """The nearest named colour; hue counts more than lightness."""

    def distance(name: str) -> float:
        difference = rgb - np.asarray(COLORS[name], dtype=np.float32)
        return float(np.sum((difference - difference.mean()) ** 2) + 0.5 * difference.mean() ** 2)

    return min(COLORS, key=distance)


def _shape_name(part: tuple[NDArray[np.intp], NDArray[np.intp]]) -> str | None:
    """By the outline's distance from the centre as a function of the angle: a circle's is flat, a triangle's has three
    waves, a square's four, a five-pointed star's five. Turning the shape changes nothing."""
    rows, columns = part
    if len(rows) < 30:
        return None
    dy, dx = rows - rows.mean(), columns - columns.mean()
    bins = ((np.arctan2(dy, dx) + math.pi) / math.tau * _ANGLES).astype(int) % _ANGLES
    outline = np.zeros(_ANGLES)
    np.maximum.at(outline, bins, np.hypot(dy, dx))
    filled = np.nonzero(outline)[0]
    outline = np.interp(np.arange(_ANGLES), filled, outline[filled], period=_ANGLES)
    waves = np.abs(np.fft.rfft(outline)) / outline.sum()
    strongest = max(_HARMONIC_SHAPES, key=lambda harmonic: float(waves[harmonic]))
    return _HARMONIC_SHAPES[strongest] if waves[strongest] > 0.025 else "circle"
