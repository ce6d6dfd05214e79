from __future__ import annotations

import json
from dataclasses import fields

import pytest

from captionqa.core.outcomes import Outcome, OutcomeKind, among_choices, with_cut_marked, without_empty


def test_an_answer_as_the_journal_keeps_it() -> None:
    outcome = Outcome(
        OutcomeKind.ANSWERED,
        output="",
        reasoning="Hm.",
        finish_reason="length",
        usage={"prompt_tokens": 9, "completion_tokens": 1},
        latency_s=0.123456,
        attempts=1,
    )
    assert json.loads(json.dumps(outcome.to_dict())) == {
        "outcome": "answered",
        "output": "",
        "reasoning": "Hm.",
        "finish_reason": "length",
        "usage": {"prompt_tokens": 9, "completion_tokens": 1},
        "latency_s": 0.1235,
        "attempts": 1,
    }


def test_what_is_not_known_is_left_out() -> None:
    failure = Outcome(OutcomeKind.BAD_IMAGE, reason="truncated", detail="a.png: cut off")
    assert failure.to_dict() == {
        "outcome": "bad_image",
        "reason": "truncated",
        "detail": "a.png: cut off",
        "attempts": 0,
    }


def test_no_field_is_forgotten() -> None:
    full = Outcome(OutcomeKind.FAILED, "o", "r", "stop", {"prompt_tokens": 1}, "timeout", "d", 1.0, 3, True, True)
    assert len(full.to_dict()) == len(fields(Outcome))


@pytest.mark.parametrize("kind", OutcomeKind)
def test_only_an_answer_is_answered(kind: OutcomeKind) -> None:
    assert Outcome(kind).answered == (kind.value == "answered")


def test_an_answer_without_text_is_no_caption() -> None:
    spent = Outcome(OutcomeKind.ANSWERED, output=" \n", reasoning="hm", finish_reason="length", attempts=1)
    failed = without_empty(spent)
    assert (failed.kind, failed.output, failed.reason, failed.attempts) == (OutcomeKind.FAILED, None, "empty", 1)
    assert "--max-tokens" in (failed.detail or "")
    for other in (Outcome(OutcomeKind.ANSWERED, output="A dog."), Outcome(OutcomeKind.REJECTED, reason="http_400")):
        assert without_empty(other) is other


LETTERS = ("A", "B", "C")


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(OutcomeKind.ANSWERED, output="B", finish_reason="stop"),
        Outcome(OutcomeKind.ANSWERED, output=" B\n", finish_reason="stop"),
        Outcome(OutcomeKind.ANSWERED, output="", finish_reason="length"),  # cut before the letter
        Outcome(OutcomeKind.REJECTED, reason="http_400"),
    ],
)
def test_an_answer_among_its_choices_is_left_alone(outcome: Outcome) -> None:
    assert among_choices(outcome, LETTERS) is outcome


@pytest.mark.parametrize("text", ["D", "The answer is B", "b", "AB"])
@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_an_answer_that_is_none_of_its_choices_is_a_failure(text: str, finish_reason: str) -> None:
    outcome = Outcome(OutcomeKind.ANSWERED, output=text, finish_reason=finish_reason, attempts=1)
    assert among_choices(outcome, ()) is outcome
    failed = among_choices(outcome, LETTERS)
    assert (failed.kind, failed.output, failed.reason) == (OutcomeKind.FAILED, None, "not_a_choice")
    assert f"asked for one of A, B, C and got {text!r}" in (failed.detail or "")


@pytest.mark.parametrize(
    ("finish_reason", "usage", "cut"),
    [
        ("length", {"completion_tokens": 100}, False),
        ("length", {"completion_tokens": 99}, True),  # vLLM lowers max_tokens to what the context has left
        ("length", {}, False),
        ("stop", {"completion_tokens": 9}, False),
    ],
)
def test_an_answer_cut_by_the_context_is_marked(finish_reason: str, usage: dict[str, int], cut: bool) -> None:
    outcome = Outcome(OutcomeKind.ANSWERED, output="A", finish_reason=finish_reason, usage=usage)
    marked = with_cut_marked(outcome, 100)
    assert marked.cut_by_context == cut
    assert ("cut_by_context" in marked.to_dict()) == cut
