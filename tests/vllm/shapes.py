"""What the tiny model knows: one shape of one colour on a plain ground, and the ways to ask about it.

In: names and a random generator. Out: pictures, questions with their answers. The model was trained on these (see
``making/``); tests draw new ones with other seeds. Never touches the global random state.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (220, 30, 30),
    "green": (30, 170, 50),
    "blue": (40, 60, 220),
    "yellow": (240, 220, 40),
    "purple": (150, 40, 180),
    "orange": (245, 140, 20),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "square", "triangle", "cross")
SIZES_PX = (64, 64, 96, 96, 112, 128)
"""Sides of the square pictures; at 224, never trained, captions are right in 82 of 100 cases instead of 99."""
LETTERS = "ABCDEF"

COLOR_QUESTIONS = (
    "What color is the shape?",
    "What is the color of the shape in the image?",
    "Which color is shown?",
)
SHAPE_QUESTIONS = ("What shape is in the image?", "Which shape is shown?", "What is the shape in the image?")
CAPTION_REQUESTS = (
    "Describe the image.",
    "Describe this image in one sentence.",
    "Write a short caption for this image.",
    "Caption this image.",
)
_GROUNDS: tuple[Rgb, ...] = ((128, 128, 128), (90, 100, 110), (170, 165, 160), (200, 200, 205), (60, 60, 70))
_BEFORE = ("", "", "Question: ")
_HEADINGS = ("", "", "Choices:\n", "Options:\n")
_OPTION_LINES = ("{letter}. {word}", "{letter}. {word}", "{letter}) {word}", "({letter}) {word}")
_AFTER = (
    "Answer with the option's letter from the given choices directly.",
    "Answer with a single letter.",
    "Answer:",
    "",
)


@dataclass(frozen=True, slots=True)
class Lettered:
    """A question with lettered choices."""

    text: str
    answer: str
    """The right choice's letter."""
    right: int
    """The right choice's number."""
    marks: tuple[tuple[int, int], ...]
    """Of each choice, where in the text its letter and its word begin."""


def draw(color: str, shape: str, side_px: int, rng: random.Random) -> Image.Image:
    """One shape somewhere on a ground of another colour; shades vary."""
    image = Image.new("RGB", (side_px, side_px), _shade(rng.choice(_GROUNDS), rng))
    pen = ImageDraw.Draw(image)
    ink = _shade(COLORS[color], rng)
    extent = rng.uniform(0.38, 0.7) * side_px
    x = rng.uniform(0.04 * side_px, 0.96 * side_px - extent)
    y = rng.uniform(0.04 * side_px, 0.96 * side_px - extent)
    match shape:
        case "circle":
            pen.ellipse((x, y, x + extent, y + extent), fill=ink)
        case "square":
            pen.rectangle((x, y, x + extent, y + extent), fill=ink)
        case "triangle":
            pen.polygon([(x + extent / 2, y), (x, y + extent), (x + extent, y + extent)], fill=ink)
        case "cross":
            near, far = extent * 0.35, extent * 0.65
            pen.rectangle((x + near, y, x + far, y + extent), fill=ink)
            pen.rectangle((x, y + near, x + extent, y + far), fill=ink)
        case _:
            raise ValueError(f"no shape {shape!r}. Known: {', '.join(SHAPES)}.")
    return image


def caption(color: str, shape: str) -> str:
    """What the model says when it is asked to describe."""
    return f"A {color} {shape}."


def ask_lettered(color: str, shape: str, rng: random.Random) -> Lettered:
    """`ask_with_choices` as one text, in one of many wordings."""
    asked, truth, options = ask_with_choices(color, shape, rng)
    line = rng.choice(_OPTION_LINES)
    text = f"{rng.choice(_BEFORE)}{asked}\n{rng.choice(_HEADINGS)}"
    marks = []
    for number, (letter, word) in enumerate(zip(LETTERS, options, strict=False)):
        added = ("\n" if number else "") + line.format(letter=letter, word=word)
        marks.append((len(text) + added.index(letter), len(text) + added.index(word)))
        text += added
    after = rng.choice(_AFTER)
    right = options.index(truth)
    return Lettered(f"{text}\n{after}" if after else text, LETTERS[right], right, tuple(marks))


def ask_with_choices(color: str, shape: str, rng: random.Random) -> tuple[str, str, list[str]]:
    """About the colour or the shape: the question, what is right, and that among two to four choices."""
    about_color = rng.random() < 0.5
    asked, truth, words = _subject(about_color, color, shape, rng)
    return asked, truth, _some_of(words, truth, min(rng.choice((2, 3, 4, 4, 4, 4)), len(words)), rng)


def ask_openly(color: str, shape: str, rng: random.Random, *, about_color: bool) -> tuple[str, str]:
    """A question and its answer, one word."""
    asked, truth, _ = _subject(about_color, color, shape, rng)
    return asked, truth


def ask_yes_or_no(color: str, shape: str, rng: random.Random) -> tuple[str, str]:
    about_color = rng.random() < 0.5
    _, truth, words = _subject(about_color, color, shape, rng)
    word = truth if rng.random() < 0.5 else rng.choice([other for other in words if other != truth])
    text = f"Is the shape {word}?" if about_color else f"Is there a {word} in the image?"
    return f"{text} Answer yes or no.", "yes" if word == truth else "no"


def _subject(about_color: bool, color: str, shape: str, rng: random.Random) -> tuple[str, str, Sequence[str]]:
    """How to ask, what is right, and what could be."""
    if about_color:
        return rng.choice(COLOR_QUESTIONS), color, tuple(COLORS)
    return rng.choice(SHAPE_QUESTIONS), shape, SHAPES


def _some_of(words: Sequence[str], truth: str, number: int, rng: random.Random) -> list[str]:
    chosen = [*rng.sample([word for word in words if word != truth], number - 1), truth]
    rng.shuffle(chosen)
    return chosen


def _shade(color: Rgb, rng: random.Random) -> Rgb:
    red, green, blue = (min(255, max(0, channel + rng.randint(-12, 12))) for channel in color)
    return red, green, blue
