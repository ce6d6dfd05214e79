"""Whether an output answers its question rightly.

In: the output, the gold as the data set has it, the choices, how generation ended. Out: a `Grade` with one verdict of
four, the answer that was read and the rule that read it. Never raises on any output, never evaluates an expression,
never turns a missing answer into a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from captionqa.core.answers.letters import Reason
from captionqa.core.answers.stated import stated_answer
from captionqa.core.answers.values import same
from captionqa.core.choices import Gold, parse_gold
from captionqa.core.extraction import extract_letter

GRADER_VERSION = "1"
"""Recorded with every grade; changes whenever a verdict may change."""


class Verdict(StrEnum):
    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    """The output states no answer that can be read."""
    TRUNCATED = "truncated"
    """The same, because the output was cut off."""


@dataclass(frozen=True, slots=True)
class Grade:
    verdict: Verdict
    predicted: str | None
    """The letter, or the final answer of an open question as written."""
    letter: str | None
    method: str
    """The rule that read the answer; for a right open answer with the rung that found it equal: ``boxed/number``."""
    reason: str | None
    """Why there is no answer; None when there is one."""
    span: tuple[int, int] | None
    """Character offsets of the answer in the output as given."""

    @property
    def correct(self) -> bool:
        return self.verdict is Verdict.CORRECT


def grade(output: str, gold: str, choices: Sequence[str] = (), *, finish_reason: str | None = None) -> Grade:
    """The verdict on one output.

    Raises:
        ValueError: the gold cannot be used, see `parse_gold`.
    """
    parsed = parse_gold(gold, choices)
    if parsed.letter is not None:
        return _by_letter(output, parsed.letter, choices, finish_reason)
    return _by_value(output, parsed, finish_reason)


def _missing(finish_reason: str | None) -> Verdict:
    return Verdict.TRUNCATED if finish_reason == "length" else Verdict.UNPARSED


def _by_letter(output: str, gold: str, choices: Sequence[str], finish_reason: str | None) -> Grade:
    read = extract_letter(output, choices, finish_reason=finish_reason)
    if read.letter is None:
        verdict = _missing(finish_reason)
    else:
        verdict = Verdict.CORRECT if read.letter == gold else Verdict.WRONG
    return Grade(verdict, read.letter, read.letter, read.method, read.reason, read.span)


def _by_value(output: str, gold: Gold, finish_reason: str | None) -> Grade:
    stated = stated_answer(output, finish_reason=finish_reason)
    if isinstance(stated, Reason):
        return Grade(_missing(finish_reason), None, None, "none", stated, None)
    rung = same(gold.text, stated.text)
    method = f"{stated.method}/{rung}" if rung else str(stated.method)
    return Grade(Verdict.CORRECT if rung else Verdict.WRONG, stated.text, None, method, None, stated.span)
