"""Batches to train the tiny model on: pictures of `shapes`, questions, and where attention should look.

In: a tokenizer, an image processor, a seed. Out: tensors as `Qwen3VLForConditionalGeneration` takes them, with targets.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import shapes

IGNORED = -100
"""A target that counts for nothing (torch's cross_entropy)."""


class Kind(Enum):
    LETTERED = auto()
    CAPTION = auto()
    OPEN = auto()
    YES_OR_NO = auto()
    OPEN_SHAPE = auto()


@dataclass(frozen=True, slots=True)
class Hop:
    """What attention should do at one place: from a token of a row to another."""

    row: int
    at: int
    to: int


@dataclass(frozen=True, slots=True)
class Batch:
    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    """(rows, tokens); `IGNORED` where nothing is to be said."""
    to_letter: list[Hop]
    """From each choice's word to its letter."""
    to_word: list[Hop]
    """From where the letter is said to the right choice's word."""


def ask(kind: Kind, color: str, shape: str, rng: random.Random) -> tuple[str, str, shapes.Lettered | None]:
    """Text, answer, and for lettered questions what they consist of."""
    match kind:
        case Kind.LETTERED:
            question = shapes.ask_lettered(color, shape, rng)
            return question.text, question.answer, question
        case Kind.CAPTION:
            return rng.choice(shapes.CAPTION_REQUESTS), shapes.caption(color, shape), None
        case Kind.OPEN:
            return *shapes.ask_openly(color, shape, rng, about_color=rng.random() < 0.5), None
        case Kind.YES_OR_NO:
            return *shapes.ask_yes_or_no(color, shape, rng), None
        case Kind.OPEN_SHAPE:
            return *shapes.ask_openly(color, shape, rng, about_color=False), None


def texts(number: int = 4000, seed: int = 1) -> list[str]:
    """Questions and answers for the tokenizer to be trained on."""
    rng = random.Random(seed)
    kinds = (Kind.LETTERED, Kind.LETTERED, Kind.CAPTION, Kind.OPEN, Kind.YES_OR_NO)
    asked = (
        ask(rng.choice(kinds), rng.choice(list(shapes.COLORS)), rng.choice(shapes.SHAPES), rng) for _ in range(number)
    )
    return [text for question, answer, _ in asked for text in (question, answer)]


class Examples:
    """Draws batches without end."""

    def __init__(self, tokenizer: Any, processor: Any, seed: int) -> None:
        self._tokenizer, self._processor, self._rng = tokenizer, processor, random.Random(seed)
        self._user = self._ids("<|im_start|>user\n")
        self._turn = self._ids("<|im_end|>\n<|im_start|>assistant\n")
        self._end = self._ids("<|im_end|>\n")
        self._vision = self._ids("<|vision_start|>"), self._ids("<|vision_end|>")
        self._image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")

    def pictures(self, number: int, sizes: Sequence[int]) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Features of pictures, and the numbers of their colours and shapes."""
        facts = [self._fact() for _ in range(number)]
        colors, names = list(shapes.COLORS), list(shapes.SHAPES)
        features = self._features(facts, sizes)
        return (
            features,
            torch.tensor([colors.index(color) for color, _ in facts]),
            torch.tensor([names.index(shape) for _, shape in facts]),
        )

    def batch(self, number: int, weights: dict[Kind, int], turns: int = 1) -> Batch:
        """``number`` conversations of ``turns`` questions each, every one about its own picture."""
        facts = [self._fact() for _ in range(number)]
        features = self._features(facts, shapes.SIZES_PX)
        to_letter: list[Hop] = []
        to_word: list[Hop] = []
        rows = [
            self._row(row, fact, int(grid.prod()) // 4, weights, turns, to_letter, to_word)
            for row, (fact, grid) in enumerate(zip(facts, features["image_grid_thw"], strict=True))
        ]
        length = max(len(tokens) for tokens, _ in rows)
        inputs = torch.full((number, length), self._pad)
        targets = torch.full((number, length), IGNORED)
        mask = torch.zeros(number, length, dtype=torch.long)
        for row, (tokens, wanted) in enumerate(rows):
            inputs[row, : len(tokens)] = torch.tensor(tokens)
            targets[row, : len(wanted)] = torch.tensor(wanted)
            mask[row, : len(tokens)] = 1
        tensors = {"input_ids": inputs, "attention_mask": mask, "mm_token_type_ids": (inputs == self._image).int()}
        tensors |= {name: features[name] for name in ("pixel_values", "image_grid_thw")}
        return Batch(tensors, targets, to_letter, to_word)

    def _row(
        self,
        row: int,
        fact: tuple[str, str],
        image_tokens: int,
        weights: dict[Kind, int],
        turns: int,
        to_letter: list[Hop],
        to_word: list[Hop],
    ) -> tuple[list[int], list[int]]:
        """Tokens and targets of one conversation; its hops are appended."""
        before, after = self._vision
        tokens = [*self._user, *before, *[self._image] * image_tokens, *after]
        targets = [IGNORED] * len(tokens)
        for turn in range(turns):
            (kind,) = self._rng.choices(list(weights), list(weights.values()))
            text, answer, lettered = ask(kind, *fact, self._rng)
            lead = self._user if turn else []
            encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            head = [*lead, *encoded["input_ids"], *self._turn]
            if lettered is not None:
                begin = len(tokens) + len(lead)
                places = [
                    tuple(begin + _token_at(encoded["offset_mapping"], character) for character in mark)
                    for mark in lettered.marks
                ]
                to_letter += [Hop(row, word, letter) for letter, word in places]
                to_word.append(Hop(row, len(tokens) + len(head) - 1, places[lettered.right][1]))
            said = [*self._ids(answer), self._end[0]]
            tokens += [*head, *said, *self._end[1:]]
            targets += [*[IGNORED] * len(head), *said, *[IGNORED] * (len(self._end) - 1)]
        return tokens, targets

    def _fact(self) -> tuple[str, str]:
        return self._rng.choice(list(shapes.COLORS)), self._rng.choice(shapes.SHAPES)

    def _features(self, facts: Sequence[tuple[str, str]], sizes: Sequence[int]) -> Any:
        images = [shapes.draw(*fact, self._rng.choice(sizes), self._rng) for fact in facts]
        return self._processor(images=images, return_tensors="pt")

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _token_at(offsets: Sequence[tuple[int, int]], character: int) -> int:
    return next(number for number, (begin, end) in enumerate(offsets) if begin <= character < end)
