from __future__ import annotations

import json
from dataclasses import fields

import pytest

from captionqa.core.outcomes import Outcome, OutcomeKind, without_empty


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
    full = Outcome(OutcomeKind.FAILED, "o", "r", "stop", {"prompt_tokens": 1}, "timeout", "d", 1.0, 3)
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
