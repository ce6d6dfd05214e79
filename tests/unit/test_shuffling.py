"""Choices in another order: an order and its inverse, the same for a question wherever it stands, or none at all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.answers.options import LETTERS
from captionqa.core.choices import parse_choices
from captionqa.core.grading import grade
from captionqa.core.metrics import MetricsFold, grade_record
from captionqa.core.questions import Question, parse_row
from captionqa.core.shuffling import (
    Unshuffled,
    movable,
    original_letter,
    permutation,
    rotations,
    shown,
    shown_letter,
    shuffled,
)


def question(*choices: str, text: str = "What is it?", qid: str = "q", answer: str = "A") -> Question:
    return parse_row({"qid": qid, "question": text, "answer": answer, "image": None, "choices": list(choices) or None})


ANIMALS = ("a cat", "a dog", "a horse", "a bird")


def order_of(asked: Question, seed: int = 0) -> tuple[int, ...]:
    order = shuffled(asked, seed)
    assert not isinstance(order, Unshuffled), order
    return order


@given(st.text(), st.integers(0, 26))
def test_a_permutation_has_every_place_once(seed: str, size: int) -> None:
    assert sorted(permutation(seed, size)) == list(range(size))


def test_permutations_are_uniform_to_within_sampling() -> None:
    drawn = Counter(permutation(f"0:q{number}", 4) for number in range(24_000))
    assert len(drawn) == 24
    # Each is binomial with mean 1000 and standard deviation 31: five of them either way.
    assert all(845 < count < 1155 for count in drawn.values())


def test_an_order_is_the_questions_own_and_the_seeds() -> None:
    orders = [order_of(question(*ANIMALS, qid=f"q{number}"), seed) for seed in (0, 1) for number in range(40)]
    assert orders == [order_of(question(*ANIMALS, qid=f"q{number}"), seed) for seed in (0, 1) for number in range(40)]
    assert orders[:40] != orders[40:]
    assert len(set(orders[:40])) > 10


def test_an_order_never_changes() -> None:
    """Recorded runs go on under it: these values may not move."""
    assert [permutation(seed, 5) for seed in ("0:q", "0:r", "1:q")] == [
        (0, 3, 1, 4, 2),
        (4, 0, 2, 1, 3),
        (2, 4, 1, 3, 0),
    ]


@given(st.permutations(range(7)), st.integers(0, 6))
def test_a_letter_comes_back_from_where_it_was_shown(order: list[int], index: int) -> None:
    letter = LETTERS[index]
    at = shown_letter(letter, order)
    assert original_letter(at, order) == letter
    assert order[LETTERS.index(at)] == index


def test_a_column_of_choices_is_shown_in_the_order() -> None:
    assert shown(question(*ANIMALS), (2, 0, 3, 1)) == ("What is it?", ("a horse", "a cat", "a bird", "a dog"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Parity?\nChoices:\n(A) odd\n(B) even", "Parity?\nChoices:\n(A) even\n(B) odd"),
        ("Parity?\nOptions: A. odd, B. even", "Parity?\nOptions: A. even, B. odd"),
        ("Parity?\nA) odd\nB) even", "Parity?\nA) even\nB) odd"),
        ("奇偶?\n选项:\nA. 奇数\nB. 偶数", "奇偶?\n选项:\nA. 偶数\nB. 奇数"),
        (
            "Choices:\n(A)  an odd\n  number,\n(B) even\n\nMind the figure.",
            "Choices:\n(A)  even,\n(B) an odd\n  number\n\nMind the figure.",
        ),
    ],
)
def test_a_list_in_the_text_keeps_its_labels_and_changes_its_texts(text: str, expected: str) -> None:
    asked = question(text=text)
    assert asked.choices_in_text
    assert shown(asked, (0, 1))[0] == text
    assert shown(asked, (1, 0))[0] == expected


def test_a_list_that_stands_in_the_text_and_in_the_column_is_changed_in_both() -> None:
    asked = question("odd", "even", text="Parity?\nChoices:\n(A) odd\n(B) even")
    assert shown(asked, (1, 0)) == ("Parity?\nChoices:\n(A) even\n(B) odd", ("even", "odd"))
    assert not isinstance(movable(asked), Unshuffled)


TEXTS = st.lists(
    st.text(st.sampled_from("ab AB().:,;1\n\n选"), min_size=1, max_size=12), min_size=2, max_size=5, unique=True
)


@given(TEXTS, st.integers(0, 3), st.sampled_from(["({}) {}", "{}. {}", "{}) {}"]), st.sampled_from(["\n", " "]))
def test_whatever_a_list_holds_it_reads_back_in_the_order_or_is_left_alone(
    texts: list[str], seed: int, label: str, between: str
) -> None:
    listed = between.join(label.format(LETTERS[place], text) for place, text in enumerate(texts))
    text = f"What?\nChoices:\n{listed}"
    if not parse_choices(text):
        return
    asked = question(text=text)
    for order in (shuffled(asked, seed), *([*found] if not isinstance(found := rotations(asked), Unshuffled) else [])):
        if not isinstance(order, Unshuffled):
            new_text, choices = shown(asked, order)
            assert parse_choices(new_text) == choices == tuple(asked.choices[index] for index in order)


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        (("12", "15", "Both A and B", "18"), Unshuffled.NAMES_LETTERS),
        (("12", "15", "A or B", "18"), Unshuffled.NAMES_LETTERS),
        (("A", "B", "C", "D"), Unshuffled.NAMES_LETTERS),
        (("Figure A", "Figure B"), Unshuffled.NAMES_LETTERS),
        (("(B)", "x"), Unshuffled.NAMES_LETTERS),
        (("A is larger", "they are equal"), Unshuffled.NAMES_LETTERS),
        (("选A和B", "都不对"), Unshuffled.NAMES_LETTERS),
        (("12", "15", "both (a) and (b)"), Unshuffled.NAMES_LETTERS),
        (("<image>", "<image>"), Unshuffled.IMAGES),
        (("red", "all of the above"), Unshuffled.TOO_FEW),
        (("red", "green", "blue", "both of the above"), Unshuffled.NAMES_PLACES),
        (("red", "green", "blue", "Neither of these"), Unshuffled.NAMES_PLACES),
        (("红", "绿", "蓝", "以上两者"), Unshuffled.NAMES_PLACES),
    ],
)
def test_a_question_that_would_become_another_is_left_as_it_is(choices: tuple[str, ...], why: Unshuffled) -> None:
    assert shuffled(question(*choices), 0) is rotations(question(*choices)) is why


@pytest.mark.parametrize(
    "text",
    [
        "Is option A or the other one right?",
        "Why is choice (B) wrong?",
        "如果选项B是错的,那么?",
        "Which? A. odd B. even",
        "Which?\nA. odd\nB. even\nC. none of them, but \n\nthink",
    ],
)
def test_a_text_that_speaks_of_letters_or_lists_them_otherwise_is_left_as_it_is(text: str) -> None:
    assert isinstance(shuffled(question("odd", "even", text=text), 0), Unshuffled)


@pytest.mark.parametrize(
    "text",
    [
        "Which answer a child gives?",
        "Answer A question about it.",
        "Which option? (A figure is shown.)",
        "Option Z or Y?",
    ],
)
def test_a_text_with_articles_and_other_letters_speaks_of_no_option(text: str) -> None:
    assert movable(question("odd", "even", text=text)) == ((0, 1), ())


@pytest.mark.parametrize(
    "choices",
    [
        ("A dog", "A cat"),
        ("I think so", "I doubt it"),
        ("triangle ABC", "triangle DEF"),
        ("\\pi r^2", "2\\pi r"),
        ("Z", "Y"),  # no letter of a list of two
        ("above the table", "below the table"),
        ("option one", "option two"),
    ],
)
def test_ordinary_choices_change_places(choices: tuple[str, ...]) -> None:
    assert movable(question(*choices)) == ((0, 1), ())


@pytest.mark.parametrize(
    ("choices", "free", "last"),
    [
        (("x", "y", "z", "All of the above"), (0, 1, 2), (3,)),
        (("x", "y", "none of these", "All of the above"), (0, 1), (2, 3)),
        (("None of the other options", "x", "y"), (1, 2), (0,)),
        (("x", "y", "Both of the above"), (0, 1), (2,)),
        (("x", "y", "neither of these", "none of the above"), (0, 1), (2, 3)),
        (("红", "绿", "以上都不对"), (0, 1), (2,)),
        (("红", "绿", "以上两者都对"), (0, 1), (2,)),
    ],
)
def test_what_speaks_of_those_above_stays_last(
    choices: tuple[str, ...], free: tuple[int, ...], last: tuple[int, ...]
) -> None:
    asked = question(*choices)
    assert movable(asked) == (free, last)
    for seed in range(10):
        assert order_of(asked, seed)[len(free) :] == last


def test_rotations_put_every_choice_everywhere_once() -> None:
    assert rotations(question(*ANIMALS)) == ((0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))
    assert rotations(question("x", "y", "All of the above")) == ((0, 1, 2), (1, 0, 2))


def record(output: str, order: list[int] | None, *, gold: str = "B") -> dict[str, Any]:
    facts: dict[str, Any] = {
        "question": "What is it?",
        "choices": list(ANIMALS),
        "answer": gold,
        "gold_letter": gold,
        "category": "c",
        "source": "",
        "image_paths": [],
        **({} if order is None else {"order": order}),
    }
    return {"id": "q", "outcome": "answered", "output": output, "finish_reason": "stop", "facts": facts}


@given(st.permutations(range(4)), st.sampled_from("ABCD"), st.integers(0, 3))
def test_a_grade_is_the_same_in_every_order(order: list[int], gold: str, index: int) -> None:
    """A model that names a choice's text, or the letter that it was shown at, is graded as without an order."""
    at = LETTERS[order.index(index)]
    for output in (f"The answer is ({at}).", f"({at}) {ANIMALS[index]}", f"It is {ANIMALS[index]}."):
        found = grade_record(record(output, order, gold=gold))
        assert found is not None
        assert (found.letter, found.predicted, found.correct) == (
            LETTERS[index],
            LETTERS[index],
            LETTERS[index] == gold,
        )


def test_a_letter_is_read_against_the_choices_as_shown() -> None:
    """«B. a cat» is the second choice only where a cat was shown second."""
    read = grade_record(record("B. a cat", [2, 0, 3, 1]))
    assert read is not None
    assert (read.letter, read.correct) == ("A", False)
    assert grade("B. a cat", "B", ANIMALS).letter is None


def test_rows_and_metrics_have_both_letters() -> None:
    fold = MetricsFold()
    rows = [fold.add(each, grade_record(each)) for each in (record("B", [2, 0, 3, 1]), record("no idea", [3, 2, 1, 0]))]
    first, second = rows
    assert first is not None
    assert second is not None
    assert (first["predicted_letter"], first["shown_letter"], first["order"]) == ("A", "B", [2, 0, 3, 1])
    assert (second["predicted_letter"], second["shown_letter"]) == (None, None)
    unshuffled = record("C", None)
    unshuffled["facts"]["unshuffled"] = "names_letters"
    row = fold.add(unshuffled, grade_record(unshuffled))
    assert row is not None
    assert "shown_letter" not in row
    metrics = fold.summary()
    assert (metrics["shuffled"], metrics["unshuffled"]) == (2, {"names_letters": 1})
    assert metrics["letters"]["shown"] == {"B": 1, "C": 1}


def test_without_an_order_nothing_is_said_of_one() -> None:
    fold = MetricsFold()
    row = fold.add(record("B", None), grade_record(record("B", None)))
    assert row is not None
    assert not {"order", "shown_letter", "variant"} & row.keys()
    assert not {"shuffled", "unshuffled", "samples", "circular"} & fold.summary().keys()
