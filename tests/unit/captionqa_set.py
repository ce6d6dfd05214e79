"""A small question set in the form of CaptionQA's, with its quirks, drawn for tests."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
QUESTION = pa.struct(
    [
        ("question", pa.string()),
        ("choices", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("category", pa.list_(pa.string())),
        ("source", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("images", pa.list_(IMAGE)),
        ("questions", pa.list_(QUESTION)),
        ("domain", pa.string()),
        ("image_paths", pa.list_(pa.string())),
    ]
)
CATEGORIES = ("Spatial - Relationship", "Spatial - Position", "Text - Title", "Object")


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (seed * 37 % 256, seed * 91 % 256, 120)).save(buffer, "PNG")
    return buffer.getvalue()


def question(text: str, choices: list[Any], answer: str, category: str = "Object") -> dict[str, Any]:
    return {"question": text, "choices": choices, "answer": answer, "category": [category], "source": "hand"}


def row(row_id: str, questions: list[dict[str, Any]], *, images: int = 1, domain: str = "natural") -> dict[str, Any]:
    number = sum(map(ord, row_id))
    paths = [f"{domain}/{row_id}_{position}.png" for position in range(images)]
    return {
        "id": row_id,
        "images": [{"bytes": png(number + position), "path": path} for position, path in enumerate(paths)],
        "questions": questions,
        "domain": domain,
        "image_paths": paths,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, row_group_size=3)
    return path


def quirky_questions(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Some of everything that the protocol treats in its own way."""
    words = ["red", "blue", "to the north", "eyes only", "None", "left", "A", "B", " padded ", "7", "not", "yesterday"]
    texts = [
        "Which colour?",
        "Is it red?",
        "is there a cat?",
        "Island or sea?",
        "  Does it rain?",
        "What of {caption}?",
    ]
    made = []
    for number in range(count):
        choices = rng.sample(words, rng.randint(2, 5))
        answer = rng.choice(choices).strip()
        if rng.random() < 0.15:
            choices[-1] = choices[0]
        if rng.random() < 0.15:
            choices = ["Yes", "No", "Cannot tell"][: rng.randint(2, 3)]
            answer = "No"
        if rng.random() < 0.1:
            choices = choices[:1]
        if rng.random() < 0.1:
            answer = "something else"
        made.append(question(f"{rng.choice(texts)} ({number})", choices, answer, rng.choice(CATEGORIES)))
    return made


def quirky_rows(seed: int = 0, rows: int = 8, questions: int = 9) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    domains = ("natural", "document", "ecommerce")
    return [
        row(f"img_{number:03d}", quirky_questions(rng, questions), images=1 + (number == 2), domain=domains[number % 3])
        for number in range(rows)
    ]
