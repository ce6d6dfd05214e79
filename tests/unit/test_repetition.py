from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.repetition import LEAST_CHARACTERS, LEAST_TIMES, repeats_itself

STEP = "Let me look at the picture again. "


@pytest.mark.parametrize(
    "text",
    [
        STEP * 4,
        "The shape is round. " + STEP * 30,
        "The shape is round. " + STEP * 30 + "Let me loo",
        "!" * 200,
        "ha " * 60,
        ("Wait" + "." * 60) * 5,
        ("| a | b |\n" + "-" * 100 + "\n" + "| 1 | 2 |\n" + "-" * 100 + "\n") * 4,
        ("x" * 30 + "y" * 30) * 4,
        "答案是红色。" * 40,
        "\n".join(["| 0 | 0 |"] * 20),
        "First.\n\n" + ("A paragraph of its own, with some words that are not said again within it.\n\n" * 5),
    ],
)
def test_a_text_that_ends_in_a_loop(text: str) -> None:
    assert repeats_itself(text)
    assert repeats_itself(text + "\n \n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        STEP * 3,
        "!" * 100,
        STEP * 30 + "The answer is B, because the shape has four equal sides.",
        "\n".join(f"{number}. The object number {number} is to the left of the one before it." for number in range(40)),
        "The image shows a cat and a dog. " * 2 + "The cat is on the left, the dog on the right, and both look up.",
    ],
)
def test_a_text_that_comes_to_an_end(text: str) -> None:
    assert not repeats_itself(text)


@given(
    st.text(max_size=200), st.text(min_size=1, max_size=60).filter(lambda text: text.strip() == text), st.integers(4, 9)
)
def test_whatever_is_written_often_enough_at_the_end_is_found(before: str, piece: str, times: int) -> None:
    loop = piece * times
    assert repeats_itself(before + loop) or len(loop) < LEAST_CHARACTERS
    assert LEAST_TIMES == 4


@given(st.text(max_size=600))
def test_any_text_has_an_answer(text: str) -> None:
    assert repeats_itself(text) in (True, False)
