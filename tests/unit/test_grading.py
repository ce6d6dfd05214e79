from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.answers.values import Rung, same
from captionqa.core.grading import GRADER_VERSION, Verdict, grade


def test_the_grader_has_a_version() -> None:
    assert GRADER_VERSION == "2"


@pytest.mark.parametrize(
    ("output", "finish_reason", "verdict"),
    [
        ("The answer is B.", None, Verdict.CORRECT),
        ("even", None, Verdict.CORRECT),
        ("The answer is A.", None, Verdict.WRONG),
        ("I can't tell.", None, Verdict.UNPARSED),
        ("Let us see whether it", "length", Verdict.TRUNCATED),
        ("The answer is B, which", "length", Verdict.CORRECT),
        ("<think>It is B", "stop", Verdict.UNPARSED),
    ],
)
def test_a_letter_is_graded(output: str, finish_reason: str | None, verdict: Verdict) -> None:
    result = grade(output, "\\boxed{B}", ("odd", "even"), finish_reason=finish_reason)
    assert result.verdict is verdict
    assert result.correct == (verdict is Verdict.CORRECT)
    assert (result.reason is None) == (verdict in (Verdict.CORRECT, Verdict.WRONG))


def test_a_gold_letter_without_choices_is_graded_by_letter() -> None:
    assert grade("\\boxed{\\text{C. } 35}", "C").correct
    assert grade("The answer is (D).", "C").verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("output", "gold", "method"),
    [
        ("<think>\\boxed{4}</think>So \\boxed{12}.", "12", "boxed/text"),
        ("<answer>12.0</answer>", "12", "tag/number"),
        ("The answer is 12.", "12", "declared/text"),
        ("The final answer is **12**.", "12", "declared/text"),
        ("答案是12。", "12", "declared/text"),
        ("1,200", "1200", "whole_output/number"),
        ("So there are **12** apples.", "12", "last_line/text"),
        ("We add them.\n3 + 9 = 12", "12", "last_line/text"),
        ("The area is $24\\ \\text{cm}^2$.", "24 cm^2", "last_line/text"),
        ("right triangle", "Right triangle", "whole_output/text"),
    ],
)
def test_an_open_answer_is_found_and_the_rule_recorded(output: str, gold: str, method: str) -> None:
    result = grade(output, gold)
    assert (result.verdict, result.method) == (Verdict.CORRECT, method)
    assert result.span is not None
    assert output[slice(*result.span)] == result.predicted


@pytest.mark.parametrize(
    "output",
    [
        "",
        "I cannot determine the answer.",
        "There are 12 months in a year, but the problem cannot be solved.",
        "There are 12 months in a year and 7 days in a week.",
        "\\boxed{",
        "\\boxed{12",
        "<think>12",
    ],
)
def test_an_output_without_a_stated_answer_is_unparsed_not_wrong(output: str) -> None:
    assert grade(output, "12").verdict is Verdict.UNPARSED
    assert grade(output, "12", finish_reason="length").verdict is Verdict.TRUNCATED


def test_a_number_that_may_have_been_cut_off_is_not_read() -> None:
    assert grade("The answer is 12", "12", finish_reason="length").verdict is Verdict.TRUNCATED
    assert grade("12", "12", finish_reason="length").verdict is Verdict.TRUNCATED


EQUAL = [
    ("1200", "1,200"),
    ("1200", "1\\,200"),
    ("3.50", "3.5"),
    (".5", "0.5"),
    ("1/2", "\\frac{1}{2}"),
    ("0.5", "\\dfrac12"),
    ("1\\frac{1}{2}", "\\frac{3}{2}"),
    ("-3", "−3"),
    ("60^\\circ", "60°"),
    ("60^{\\circ}", "60 \\text{ degrees}"),
    ("24 cm", "24"),
    ("24cm", "24\\text{ cm}"),
    ("24 cm^2", "24~\\mathrm{cm}^{2}"),
    ("5 apples", "5"),
    ("\\$18.00", "18"),
    ("3.5\\times 10^{4}", "35000"),
    ("3.5e4", "35000"),
    ("five", "5"),
    ("x = 5", "5"),
    ("2\\sqrt{3}", "2√3"),
    ("\\left(3, 4\\right)", "(3,4)"),
    ("H_2O", "\\mathrm{H_2O}"),
    ("ABD", "A, B, D"),
    ("Isosceles", "isosceles"),
    ("50\\%", "50%"),
]
DIFFERENT = [
    ("24 cm", "24 m"),
    ("24 cm", "24 cm^2"),
    ("5 m", "5 min"),
    ("50%", "0.05"),
    ("0.5%", "0.5"),
    ("1/3", "0.33"),
    ("3", "3x"),
    ("3", "3xy"),
    ("3", "3!"),
    ("3", "-3"),
    ("5", "5 or 6"),
    ("5", "5 to 6"),
    ("5", "5 million"),
    ("5", "5万"),
    ("2", "2^10"),
    ("7", "7/2"),
    ("3", "3:15"),
    ("1", "1/0"),
    ("48", "48\\pi"),
    ("(3,4)", "(4,3)"),
    ("[0,1)", "[0,1]"),
    ("x=3", "y=3"),
    ("a", "A"),
    ("1,2", "12"),
    ("", ""),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_answers_are_equal_both_ways(one: str, other: str) -> None:
    assert isinstance(same(one, other), Rung)
    assert isinstance(same(other, one), Rung)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_answers_are_different_both_ways(one: str, other: str) -> None:
    assert not isinstance(same(one, other), Rung)
    assert not isinstance(same(other, one), Rung)


def test_an_unusable_gold_is_an_error_and_not_a_grade() -> None:
    with pytest.raises(ValueError, match="unbalanced"):
        grade("12", "\\boxed{12")


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_two_integers_are_the_same_exactly_when_they_are(one: int, other: int) -> None:
    assert isinstance(same(str(one), f"{other:,}"), Rung) == (one == other)


PIECES = st.sampled_from(
    [
        "\\boxed{",
        "}",
        "12",
        "1/0",
        "\\frac{1}{",
        "answer is ",
        "= ",
        "**",
        "$",
        " cm",
        "%",
        "9" * 500,
        "\ud800",
        "\n",
        "e999",
    ]
)


@given(
    st.one_of(st.text(), st.lists(PIECES, max_size=10).map("".join)), st.sampled_from(["12", "x", "B", "\\frac{1}{2}"])
)
def test_any_text_gets_exactly_one_verdict(output: str, gold: str) -> None:
    result = grade(output, gold)
    assert (result.verdict in (Verdict.CORRECT, Verdict.WRONG)) == (result.predicted is not None)
    if result.span is not None:
        assert 0 <= result.span[0] < result.span[1] <= len(output)


@pytest.mark.parametrize(
    "piece", ["\\boxed{", "answer is ", "= 1", "1", "$1$", "**a**", "\\frac{1}{", "\\text{", " ", "9!^"]
)
def test_hostile_outputs_take_under_a_second(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    times = []
    while len(times) < 3 and min(times, default=1) >= 1:  # what else the core does can only add to it
        start = time.process_time()
        grade(text, "12")
        grade("\\boxed{" + text + "}", "12")
        times.append(time.process_time() - start)
    assert min(times) < 1
