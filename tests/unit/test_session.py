"""What a session tells the user about its answers as they come."""

from __future__ import annotations

import pytest

from captionqa.core.outcomes import Outcome, OutcomeKind
from captionqa.run.session import MANY_EMPTY, Spent

SPENT = Outcome(OutcomeKind.ANSWERED, output="", reasoning="Hm", finish_reason="length")
NO_CAPTION = Outcome(OutcomeKind.FAILED, reason="empty", finish_reason="length")
ANSWER = Outcome(OutcomeKind.ANSWERED, output="A", finish_reason="stop")
CUT = Outcome(OutcomeKind.ANSWERED, output="A cat on", finish_reason="length")
REFUSED = Outcome(OutcomeKind.REJECTED, reason="http_400")


@pytest.mark.parametrize("spent", [SPENT, NO_CAPTION])
def test_answers_that_are_all_reasoning_are_mentioned_once_when_they_are_many(spent: Outcome) -> None:
    watch = Spent()
    told = [watch.add(outcome) for outcome in [ANSWER, CUT, REFUSED] + [spent] * 3 * MANY_EMPTY]
    assert told.index(True) == 3 + MANY_EMPTY - 1
    assert sum(told) == 1


def test_a_few_among_many_answers_are_not_mentioned() -> None:
    watch = Spent()
    assert not any(watch.add(outcome) for outcome in ([ANSWER] * 9 + [SPENT]) * 20)
