"""A small drawn data set for the demo, tests and benchmarks: pictures of a few shapes, and questions about them.

In: a folder and a seed. Out: ``images/**`` in mixed sizes and formats and ``questions.parquet``, the same for the same
seed. Every sixth picture is hard on purpose (low contrast, tiny shapes, noise), so that an honest reader of pixels is
good but not perfect. Never downloads anything, never touches the global random state.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]

SHAPES = ("circle", "square", "triangle", "star")
COLORS: dict[str, Rgb] = {
    "red": (214, 39, 40),
    "blue": (31, 98, 200),
    "green": (40, 150, 50),
    "yellow": (240, 215, 40),
    "purple": (140, 60, 180),
    "orange": (250, 140, 30),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}
BACKGROUNDS = ("light", "dark")
CATEGORIES = ("color", "shape", "count", "brightness")
SIZES_PX = (64, 96, 128, 160, 224, 256, 320, 448)
FORMATS = ("png", "jpg", "webp", "png", "jpeg", "gif", "bmp", "tiff")
SUPERSAMPLING = 3


class Flaw(StrEnum):
    """What makes a picture hard to read."""

    NONE = "none"
    LOW_CONTRAST = "low_contrast"
    TINY = "tiny"
    NOISE = "noise"


@dataclass(frozen=True, slots=True)
class DrawnDataset:
    """What was written."""

    images: Path
    """The folder of images, for ``captionqa caption --dataset-path``."""
    questions: Path
    """The parquet file; its image paths are relative to the folder that holds both."""
    image_count: int
    question_count: int


@dataclass(frozen=True, slots=True)
class _Picture:
    """What one drawn file shows."""

    path: str
    facts: dict[str, str]
    """The right answer by category."""


def draw_dataset(folder: Path, *, images: int = 24, questions_per_image: int = 3, seed: int = 0) -> DrawnDataset:
    """Writes ``folder/images/**`` and ``folder/questions.parquet``; existing files of the same name are replaced.

    About one question in eight is about two pictures. Choices stand inside the question's text, never in a column.
    """
    rng = random.Random(seed)
    pictures = [_write_picture(folder, index, rng) for index in range(images)]
    rows = [
        _question(pictures, index, position, rng) for index in range(images) for position in range(questions_per_image)
    ]
    questions = folder / "questions.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), questions)
    return DrawnDataset(folder / "images", questions, len(pictures), len(rows))


def draw_image(
    shape: str, color: str, count: int, size: int, background: str, rng: random.Random, *, flaw: Flaw = Flaw.NONE
) -> Image.Image:
    """``count`` (1 to 4) shapes of one kind that do not overlap, on a square RGB picture of ``size`` pixels.

    Draws only from ``rng``. Shades vary a little, as they do in the world.
    """
    paper = _shade((232, 232, 232) if background == "light" else (38, 38, 38), 14, rng)
    ink = _shade(COLORS[color], 14, rng)
    if flaw is Flaw.LOW_CONTRAST:
        ink = tuple(round(0.85 * p + 0.15 * i) for p, i in zip(paper, ink, strict=True))  # type: ignore[assignment]
    large = size * SUPERSAMPLING
    image = Image.new("RGB", (large, large), paper)
    pen = ImageDraw.Draw(image)
    for center, room in _places(count, large, rng):
        radius = room * (0.12 if flaw is Flaw.TINY else rng.uniform(0.55, 0.8))
        _draw_shape(pen, shape, center, radius, rng.uniform(0, math.tau), ink)
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    return _with_noise(image, rng) if flaw is Flaw.NOISE else image


_SCHEMA: Any = pa.schema(
    [(name, pa.string()) for name in ("qid", "question", "answer")]
    + [("image", pa.list_(pa.string()))]
    + [(name, pa.string()) for name in ("category", "source")]
)


def _shade(color: Rgb, spread: int, rng: random.Random) -> Rgb:
    red, green, blue = (min(255, max(0, channel + rng.randint(-spread, spread))) for channel in color)
    return red, green, blue


def _places(count: int, side: int, rng: random.Random) -> list[tuple[tuple[float, float], float]]:
    """Centres and the room around each: one cell for one shape, otherwise cells of a two by two grid."""
    if count == 1:
        return [((side / 2 + rng.uniform(-0.1, 0.1) * side, side / 2 + rng.uniform(-0.1, 0.1) * side), side * 0.38)]
    cells = [(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75)]
    return [((x * side, y * side), side * 0.23) for x, y in rng.sample(cells, count)]


def _draw_shape(
    pen: ImageDraw.ImageDraw, shape: str, center: tuple[float, float], radius: float, turn: float, ink: Rgb
) -> None:
    x, y = center
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
        return
    corners = {"triangle": 3, "square": 4, "star": 10}[shape]
    radii = [radius * (0.42 if shape == "star" and corner % 2 else 1.0) for corner in range(corners)]
    angles = [turn + math.tau * corner / corners for corner in range(corners)]
    pen.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)], fill=ink)


def _with_noise(image: Image.Image, rng: random.Random) -> Image.Image:
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 55, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image, dtype=np.float64) + noise, 0, 255).astype(np.uint8))


def _write_picture(folder: Path, index: int, rng: random.Random) -> _Picture:
    shape, background = rng.choice(SHAPES), rng.choice(BACKGROUNDS)
    color = rng.choice([name for name in COLORS if name != ("white" if background == "light" else "black")])
    count, size = rng.randint(1, 4), rng.choice(SIZES_PX)
    hard = (Flaw.LOW_CONTRAST, Flaw.TINY, Flaw.NOISE)
    flaw = hard[index // 6 % len(hard)] if index % 6 == 5 else Flaw.NONE
    image = draw_image(shape, color, count, size, background, rng, flaw=flaw)
    path = f"images/{'sub/' if index % 5 == 4 else ''}drawn-{index:04d}.{FORMATS[index % len(FORMATS)]}"
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    (image.convert("P", palette=Image.Palette.ADAPTIVE) if file.suffix == ".gif" else image).save(file)
    brightness = "bright" if background == "light" else "dark"
    return _Picture(path, {"color": color, "shape": shape, "count": str(count), "brightness": brightness})


_ASKED = {
    "color": "What color are the shapes in {where}?",
    "shape": "Which shape is drawn in {where}?",
    "count": "How many shapes are there in {where}?",
    "brightness": "Is the background of {where} bright or dark?",
}
_OPTIONS = {
    "color": tuple(COLORS),
    "shape": SHAPES,
    "count": ("1", "2", "3", "4"),
    "brightness": ("bright", "dark"),
}


def _question(pictures: list[_Picture], index: int, position: int, rng: random.Random) -> dict[str, object]:
    category = CATEGORIES[(index + position) % len(CATEGORIES)]
    shown = [pictures[index]]
    if len(pictures) > 1 and rng.random() < 1 / 8:
        shown.insert(0, pictures[index - 1])
    where = "the picture" if len(shown) == 1 else "the second picture"
    # More questions than categories repeat one; the words keep every question of the set different.
    question = "Look again. " * (position // len(CATEGORIES)) + _ASKED[category].format(where=where)
    answer = pictures[index].facts[category]
    if category == "count" and rng.random() < 0.6:
        answer = rf"\boxed{{{answer}}}"
    else:
        options = _some_options(category, answer, rng)
        question += "\nChoices:\n" + "\n".join(f"({chr(65 + i)}) {option}" for i, option in enumerate(options))
        if rng.random() < 0.7:
            answer = rf"\boxed{{{chr(65 + options.index(answer))}}}"
    return {
        "qid": f"drawn-{index:04d}-{position}",
        "question": "<image>" * len(shown) + question,
        "answer": answer,
        "image": [picture.path for picture in shown],
        "category": category,
        "source": "captionqa-drawn",
    }


def _some_options(category: str, answer: str, rng: random.Random) -> list[str]:
    """The right option among at most three wrong ones, in random order."""
    wrong = [option for option in _OPTIONS[category] if option != answer]
    options = [answer, *rng.sample(wrong, min(3, len(wrong)))]
    rng.shuffle(options)
    return options
