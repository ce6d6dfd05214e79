"""The drawn data set: what it promises to those who build tests and benchmarks on it."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionqa.data.drawn import CATEGORIES, COLORS, SHAPES, DrawnDataset, Flaw, draw_dataset, draw_image


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnDataset:
    return draw_dataset(tmp_path_factory.mktemp("drawn"), images=48)


def rows_of(drawn: DrawnDataset) -> list[dict]:
    return pq.read_table(drawn.questions).to_pylist()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        draw_dataset(tmp_path / name, images=8, seed=seed)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_the_global_random_state_is_left_alone(tmp_path: Path) -> None:
    random.seed(1)
    before = random.getstate()
    draw_dataset(tmp_path, images=2)
    assert random.getstate() == before


def test_counts_are_what_was_written(drawn: DrawnDataset) -> None:
    files = [file for file in drawn.images.rglob("*") if file.is_file()]
    assert (drawn.image_count, drawn.question_count) == (48, 144)
    assert len(files) == 48
    assert len({row["qid"] for row in rows_of(drawn)}) == len(rows_of(drawn)) == 144


def test_formats_sizes_and_folders_are_mixed(drawn: DrawnDataset) -> None:
    files = [file for file in drawn.images.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff"}
    assert {file.parent.name for file in files} == {"images", "sub"}
    sizes = set()
    for file in files:
        with Image.open(file) as image:
            image.load()
            sizes.add(image.width)
    assert min(sizes) >= 64
    assert max(sizes) <= 448
    assert len(sizes) > 4


def test_questions_have_the_columns_of_the_contract_and_no_choices_column(drawn: DrawnDataset) -> None:
    rows = rows_of(drawn)
    assert set(rows[0]) == {"qid", "question", "answer", "image", "category", "source"}
    assert {row["category"] for row in rows} == set(CATEGORIES)
    assert any(len(row["image"]) == 2 for row in rows)
    for row in rows:
        assert row["question"].startswith("<image>" * len(row["image"]))
        assert all((drawn.questions.parent / path).is_file() for path in row["image"])


def test_answers_are_boxed_letters_texts_of_choices_and_boxed_numbers(drawn: DrawnDataset) -> None:
    kinds = set()
    for row in rows_of(drawn):
        choices = dict(re.findall(r"^\(([A-Z])\) (.+)$", row["question"], re.MULTILINE))
        boxed = re.fullmatch(r"\\boxed\{(.+)\}", row["answer"])
        if not choices:
            assert boxed is not None
            assert boxed[1] in "1234"
            kinds.add("number")
        elif boxed:
            assert boxed[1] in choices
            kinds.add("letter")
        else:
            assert row["answer"] in choices.values()
            kinds.add("text")
    assert kinds == {"number", "letter", "text"}


def test_no_two_questions_ask_the_same_of_the_same_pictures(tmp_path: Path) -> None:
    rows = rows_of(draw_dataset(tmp_path, images=6, questions_per_image=12))
    assert len({(row["question"], *row["image"]) for row in rows}) == len(rows) == 72


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flaw", Flaw)
def test_every_shape_can_be_drawn_with_every_flaw(shape: str, flaw: Flaw) -> None:
    image = draw_image(shape, "red", 3, 96, "light", random.Random(0), flaw=flaw)
    assert image.mode == "RGB"
    assert image.size == (96, 96)


def test_an_unknown_color_is_an_error() -> None:
    assert "mauve" not in COLORS
    with pytest.raises(KeyError):
        draw_image("circle", "mauve", 1, 64, "light", random.Random(0))
