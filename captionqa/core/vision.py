"""What Qwen's vision models can look at: sizes, limits, tokens.

In: widths and heights in pixels. Out: sizes, token counts, a typed reason for refusal. Never opens an image.

Source of the constants: ``preprocessor_config.json`` of Qwen/Qwen3-VL-*-Instruct (``patch_size`` 16, ``merge_size`` 2,
``size.shortest_edge`` 65536 and ``size.longest_edge`` 16777216, which are areas in pixels in spite of their names) and
``smart_resize`` in transformers, ``models/qwen2_vl/image_processing_qwen2_vl.py``, which vLLM calls too. Qwen2-VL and
Qwen2.5-VL differ in the numbers: a patch of 14, ``min_pixels`` 3136, ``max_pixels`` 12845056.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from captionqa.errors import ImageProblem

GRID_PX = 32
"""One vision token covers 32 × 32 pixels: a patch of 16, merged 2 × 2."""
MIN_PIXELS = 65_536
"""Smaller images are enlarged by the server to about this area."""
MAX_PIXELS = 16_777_216
"""Larger images are reduced by the server to this area."""
ASPECT_LIMIT = 200
"""Longer edge over shorter edge must stay below this; the server answers 400 above it."""


@dataclass(frozen=True, slots=True)
class VisionRule:
    """How a family of models counts an image's tokens."""

    grid_px: int
    """One token covers a square of this edge."""
    min_pixels: int
    max_pixels: int

    def tokens(self, width: int, height: int) -> int:
        """Vision tokens of an image of this size, after the server's own resizing to the grid; without the two (vision
        start and end) that frame every image in the prompt. Both edges at least 1."""
        grid_width, grid_height = round(width / self.grid_px), round(height / self.grid_px)
        area = grid_width * grid_height * self.grid_px**2
        if area > self.max_pixels:
            shrink = math.sqrt(width * height / self.max_pixels)
            grid_width = max(1, math.floor(width / shrink / self.grid_px))
            grid_height = max(1, math.floor(height / shrink / self.grid_px))
        elif area < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            grid_width = math.ceil(width * grow / self.grid_px)
            grid_height = math.ceil(height * grow / self.grid_px)
        return grid_width * grid_height


QWEN3_VL = VisionRule(GRID_PX, MIN_PIXELS, MAX_PIXELS)
QWEN2_VL = VisionRule(28, 3_136, 12_845_056)
"""Qwen2-VL and Qwen2.5-VL."""
VISION_RULES = (QWEN3_VL, QWEN2_VL)
FRAME_TOKENS = 2
"""Vision start and vision end, around every image."""


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """How images are made fit to send. Part of a run's identity: another policy shows the model other pixels."""

    max_pixels: int = 4_194_304
    """Width × height above which an image is reduced. 2048 × 2048, 4,096 vision tokens. At least 1,024 (32 × 32), so
    that no image which is sent can shrink to an edge of one pixel."""
    jpeg_quality: int = 95
    """1 to 100, for images that were JPEG and had to be changed. Others are sent as PNG, without loss."""
    max_file_bytes: int = 1 << 30
    """A larger file is refused without being read: it would not fit into memory beside others."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a value out of range."""
        if self.max_pixels < GRID_PX**2:
            raise ValueError(f"max_pixels {self.max_pixels} is below {GRID_PX**2} (one vision token)")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality {self.jpeg_quality} is not within 1 to 100")
        if self.max_file_bytes < 1:
            raise ValueError(f"max_file_bytes {self.max_file_bytes} is not positive")


def fit_within(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The largest (width, height) of about the same aspect ratio with width × height ≤ ``max_pixels``.

    Never larger than the input in either edge, never below 1, and an image that fits is returned as it is. An aspect
    ratio under `ASPECT_LIMIT` stays under it. Swapping width and height swaps the result.

    Raises: ValueError if an argument is below 1.
    """
    if min(width, height, max_pixels) < 1:
        raise ValueError(f"width {width}, height {height} and max_pixels {max_pixels} must be at least 1")
    if width * height <= max_pixels:
        return width, height
    short, long = sorted((width, height))
    floor = max(1, math.isqrt(max_pixels * short // long))
    # The shorter edge decides how far rounding can bend the picture, so both its neighbours are tried.
    candidates = [_complete(edge, short, long, max_pixels) for edge in (floor, floor + 1) if edge <= short]
    new_short, new_long = min(
        (pair for pair in candidates if pair[0] <= pair[1] or pair[0] == floor),
        key=lambda pair: abs(pair[1] * short - pair[0] * long) / pair[0],
    )
    return (new_short, new_long) if width <= height else (new_long, new_short)


def _complete(edge: int, short: int, long: int, max_pixels: int) -> tuple[int, int]:
    """``edge`` with the longer edge that keeps long / short best, within all limits."""
    best = (2 * edge * long + short) // (2 * short)
    limit = min(long, max_pixels // edge)
    if long < ASPECT_LIMIT * short:
        limit = min(limit, ASPECT_LIMIT * edge - 1)
    return edge, max(1, min(best, limit))


def size_problem(width: int, height: int) -> tuple[ImageProblem, str] | None:
    """Why an image of this size is never sent, and what to do; None if it may be.

    An edge of one pixel is refused, not padded: padding would invent a picture that is not in the data set.
    """
    short, long = sorted((width, height))
    if short <= 1:
        return ImageProblem.TOO_SMALL, (
            f"{width}×{height} px; both edges must be at least 2 px. It is not padded: replace or remove it"
        )
    if long >= ASPECT_LIMIT * short:
        return ImageProblem.ASPECT_RATIO, (
            f"{width}×{height} px is an aspect ratio of {long / short:.0f}; Qwen3-VL accepts below {ASPECT_LIMIT}. "
            "Crop it or cut it into pieces"
        )
    return None


def vision_tokens(width: int, height: int) -> int:
    """Vision tokens of an image of this size in Qwen3-VL, see `VisionRule.tokens`.

    Raises: ValueError for a size that `size_problem` refuses.
    """
    problem = size_problem(width, height)
    if problem is not None:
        raise ValueError(problem[1])
    return QWEN3_VL.tokens(width, height)


Size = tuple[int, int]
"""Width and height in pixels."""


def reduced(sizes: Sequence[Size], share: float) -> list[Size]:
    """The sizes with this share (0 to 1) of each one's pixels, none below the 1,024 that a policy may ask for."""
    least = GRID_PX**2
    return [fit_within(w, h, min(w * h, max(least, math.floor(w * h * share)))) for w, h in sizes]


def reduced_to_tokens(sizes: Sequence[Size], rule: VisionRule, room: int) -> list[Size] | None:
    """The sizes, all reduced in the same proportion and no more than it takes, so that together they have at most
    ``room`` vision tokens (frames not counted); None when not even the smallest do."""

    def fits(share: float) -> bool:
        return sum(rule.tokens(*size) for size in reduced(sizes, share)) <= room

    if fits(1.0):
        return list(sizes)
    if not fits(0.0):
        return None
    enough, too_much = 0.0, 1.0
    for _ in range(24):  # 2^-24 of the largest picture that is sent is a pixel
        middle = (enough + too_much) / 2
        enough, too_much = (middle, too_much) if fits(middle) else (enough, middle)
    return reduced(sizes, enough)
