"""Train the tiny Qwen3-VL of the tests: coloured shapes, lettered questions, short answers, captions.

    python tests/vllm/making/train.py FOLDER [--minutes 8] [--seed 0]

In: nothing. Out: a checkpoint in FOLDER, and its accuracy on pictures that it has never seen. Run it with an
environment that has torch and transformers, such as ``.venv-vllm``. Two things make 8 minutes on two cores enough: the
vision tower learns alone first, with a linear head on its mean output that is thrown away (through the language model
it learns far more slowly); and two attention heads are told where to look for «which letter stands before the right
word», a lookup in two steps.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import checkpoint
import torch
from examples import IGNORED, Batch, Examples, Hop, Kind, shapes, texts
from torch.nn import functional
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl import Qwen2VLImageProcessor

VISION_PART = 0.3
OPEN_PART = 0.1
HOP_PART = 0.75
"""Shares of the time: the vision tower alone; then only short answers; until when attention is told where to look."""
EASY_PX = (64,)
TEMPLATE = Path(__file__).parents[1] / "model/chat_template.jinja"
OPEN_ONLY = {Kind.CAPTION: 1, Kind.OPEN: 3}
ALL_KINDS = {Kind.LETTERED: 5, Kind.CAPTION: 1, Kind.OPEN: 2, Kind.YES_OR_NO: 1}


@dataclass(frozen=True, slots=True)
class Clock:
    """The time that may be spent."""

    begin: float
    budget_s: float

    @property
    def share(self) -> float:
        return (time.monotonic() - self.begin) / self.budget_s


def train_vision(model: Any, examples: Examples, hidden: int, clock: Clock) -> None:
    """Until colour and shape can be read off the tower's mean output."""
    tower = model.model.visual
    head = torch.nn.Linear(hidden, len(shapes.COLORS) + len(shapes.SHAPES))
    optimizer = torch.optim.AdamW([*tower.parameters(), *head.parameters()], lr=1e-3, betas=(0.9, 0.98))
    step, accuracy, easy = 0, 0.0, True
    while clock.share < VISION_PART and accuracy < 0.985:
        easy = easy and accuracy < 0.9
        features, colors, names = examples.pictures(64, EASY_PX if easy else shapes.SIZES_PX)
        output = tower(features["pixel_values"], grid_thw=features["image_grid_thw"]).pooler_output
        tokens = output if torch.is_tensor(output) else torch.cat(list(output))
        lengths = (features["image_grid_thw"].prod(1) // 4).tolist()
        scores = head(torch.stack([part.mean(0) for part in tokens.split(lengths)]))
        of_color, of_shape = scores.split([len(shapes.COLORS), len(shapes.SHAPES)], dim=1)
        loss = functional.cross_entropy(of_color, colors) + functional.cross_entropy(of_shape, names)
        step += 1
        _learn(optimizer, loss, tower, 1e-3 * min(1, step / 50))
        right = (of_color.argmax(1) == colors) & (of_shape.argmax(1) == names)
        accuracy = 0.98 * accuracy + 0.02 * right.float().mean().item()
        if step % 200 == 0:
            print(f"vision: step {step}, accuracy {accuracy:.3f}", flush=True)


def train_whole(model: Any, examples: Examples, held_out: Examples, clock: Clock, highest_rate: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=highest_rate, betas=(0.9, 0.98), weight_decay=0.01)
    begin, step = clock.share, 0
    while (share := clock.share) < 1:
        batch = examples.batch(64, OPEN_ONLY) if share < begin + OPEN_PART else examples.batch(32, ALL_KINDS, turns=4)
        told = max(0.0, 1 - share / HOP_PART)
        output = model.model(**batch.inputs, output_attentions=told > 0)
        wanted = batch.targets[:, 1:]
        said = model.lm_head(output.last_hidden_state[:, :-1][wanted != IGNORED])
        loss = functional.cross_entropy(said, wanted[wanted != IGNORED])
        if told and batch.to_letter:
            loss = loss + 0.3 * told * _hop_loss(output.attentions, batch)
        step += 1
        falling = 0.5 * (1 + math.cos(math.pi * min(1, max(0, (share - 0.3) / 0.7))))
        _learn(optimizer, loss, model, highest_rate * min(1, step / 100) * (0.03 + 0.97 * falling))
        if step % 200 == 0:
            print(
                f"step {step}, {share:.0%} of the time, loss {loss.item():.3f}, {evaluate(model, held_out)}", flush=True
            )


def _hop_loss(attentions: Any, batch: Batch) -> torch.Tensor:
    """Head 0 of the first layer goes from words to letters, head 0 of the last from the answer to the right word."""

    def loss(layer: int, hops: list[Hop]) -> torch.Tensor:
        rows, at, to = torch.tensor([(hop.row, hop.at, hop.to) for hop in hops]).T
        seen: torch.Tensor = attentions[layer][rows, 0, at, to]
        return -seen.clamp_min(1e-6).log().mean()

    return loss(0, batch.to_letter) + loss(-1, batch.to_word)


def _learn(optimizer: torch.optim.Optimizer, loss: torch.Tensor, model: Any, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def evaluate(model: Any, examples: Examples, number: int = 64) -> dict[str, float]:
    """Share of answers with every token right, by kind, greedily."""
    model.eval()
    found = {}
    for kind in Kind:
        batch = examples.batch(number, {kind: 1})
        said, wanted = model(**batch.inputs).logits.argmax(-1)[:, :-1], batch.targets[:, 1:]
        found[kind.name.lower()] = round(((said == wanted) | (wanted == IGNORED)).all(1).float().mean().item(), 3)
    model.train()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=640, help="Tokens at most; the texts fill about 530.")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="Highest learning rate.")
    options = parser.parse_args()
    clock = Clock(time.monotonic(), options.minutes * 60)
    torch.manual_seed(options.seed)
    tokenizer = checkpoint.make_tokenizer(texts(), options.vocabulary, TEMPLATE.read_text(encoding="utf-8"))
    config = checkpoint.make_config(tokenizer, "float32", hidden=options.hidden)
    model = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="eager").train()
    processor = Qwen2VLImageProcessor(**checkpoint.IMAGE_PROCESSOR)
    print(f"{sum(one.numel() for one in model.parameters())} parameters, {len(tokenizer)} tokens", flush=True)
    examples, held_out = (Examples(tokenizer, processor, seed) for seed in (options.seed, 10_000 + options.seed))
    train_vision(model, examples, options.hidden, clock)
    train_whole(model, examples, held_out, clock, options.rate)
    print("held out:", evaluate(model, held_out, 256), flush=True)
    model.to(torch.bfloat16)
    model.config.dtype = "bfloat16"
    config = checkpoint.make_config(tokenizer, "bfloat16", hidden=options.hidden)
    checkpoint.write_checkpoint(options.folder, model, tokenizer, config)


if __name__ == "__main__":
    main()
