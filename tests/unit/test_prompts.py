from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.prompts import IMAGE_TOKEN, interleave, render_prompt
from captionqa.errors import UsageError


def test_a_template_is_filled_and_stripped() -> None:
    assert render_prompt("\n{{ question }}\n", question="What?") == "What?"


def test_data_is_never_compiled() -> None:
    assert render_prompt("{{ question }}", question="{{ 1/0 }} <b>&") == "{{ 1/0 }} <b>&"


@pytest.mark.parametrize(
    ("template", "fragments"),
    [
        ("{{ nope }}", ["'nope' is undefined", "may use here: letters, question."]),
        ("{% if nope %}x{% endif %}", ["'nope' is undefined"]),
        ("{{ question.nope }}", ["no attribute 'nope'"]),
        ("{{ letters[26] }}", ["no element 26"]),
        ("one\n{% if %}", ["line 2: Expected an expression", "Correct the template file."]),
        ("{{ question", ["line 1: "]),
        ("{{ question|nosuch }}", ["line 1: No filter named 'nosuch'"]),
        ("{{ 1/0 }}", ["division by zero"]),
        ("{{ question + 1 }}", ["can only concatenate str"]),
        ("{% include 'other' %}", ["no loader for this environment"]),
    ],
)
def test_a_template_that_cannot_be_filled_is_the_users_error(template: str, fragments: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        render_prompt(template, question="What?", letters="AB")
    assert [fragment for fragment in fragments if fragment not in str(raised.value)] == []


@pytest.mark.parametrize(
    ("text", "images", "content", "fitted"),
    [
        ("What?", (), ("What?",), True),
        ("What?", (1,), (1, "What?"), True),
        ("What?", (1, 2), (1, 2, "What?"), True),
        ("<image>What?", (1,), (1, "What?"), True),
        ("<image>\n<image>\nWhich?", (1, 2), (1, 2, "Which?"), True),
        ("Is <image> like\n<image>?", (1, 2), ("Is", 1, "like", 2, "?"), True),
        ("What is <image>", (1,), ("What is", 1), True),
        ("<image>What?", (1, 2), (1, 2, "What?"), False),
        ("<image><image>What?", (1,), (1, "What?"), False),
        ("<image>What?", (), ("What?",), False),
    ],
)
def test_images_stand_at_their_placeholders_or_first(
    text: str, images: tuple[int, ...], content: tuple[int | str, ...], fitted: bool
) -> None:
    assert interleave(text, images) == (content, fitted)


prose = st.text(alphabet="ab <image>\n", max_size=20)


@given(st.lists(prose | st.just(IMAGE_TOKEN), max_size=6).map("".join), st.lists(st.integers(), max_size=5))
def test_content_keeps_every_image_once_and_in_order_and_every_word(text: str, images: list[int]) -> None:
    content, fitted = interleave(text, images)
    assert [part for part in content if isinstance(part, int)] == images
    words = "".join(part for part in content if isinstance(part, str))
    assert "".join(words.split()) == "".join(text.replace(IMAGE_TOKEN, "").split())
    placeholders = text.count(IMAGE_TOKEN)
    assert fitted == (placeholders in (0, len(images)))
    if not (fitted and placeholders):
        assert list(content[: len(images)]) == images


@given(st.lists(st.text(alphabet="ab?", min_size=1), min_size=2, max_size=6))
def test_fitting_placeholders_can_be_put_back(pieces: list[str]) -> None:
    text = IMAGE_TOKEN.join(pieces)
    content, fitted = interleave(text, list(range(len(pieces) - 1)))
    assert fitted
    assert "".join(IMAGE_TOKEN if isinstance(part, int) else part for part in content) == text
