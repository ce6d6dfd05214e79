"""How an item ended. Every item ends in exactly one outcome and the counts add up to the number of items.

In: a server's completion or a failure. Out: frozen records, as dictionaries ready for the journal and back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from captionqa.core.reasons import Reason
from captionqa.errors import ImageError, MissingImage


class OutcomeKind(StrEnum):
    ANSWERED = "answered"
    """The model's text is in ``output``. Whether it is right is decided by grading, not here."""
    BAD_IMAGE = "bad_image"
    MISSING_IMAGE = "missing_image"
    MISSING_CAPTION = "missing_caption"
    """The question was to be answered from a caption, and its image has none. Nothing was sent."""
    REJECTED = "rejected"
    """This request is at fault: the server said so (400, 413, 422, a permanent 500), or it surely does not fit into the
    context and was not sent (``attempts`` is 0)."""
    FAILED = "failed"
    """No answer after every attempt: time-outs, 5xx, dropped connections, empty or aborted answers."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    kind: OutcomeKind
    output: str | None = None
    """The model's answer as it came, without reasoning; None unless answered."""
    reasoning: str | None = None
    """A thinking model's reasoning, kept apart from the answer."""
    finish_reason: str | None = None
    """As the server said it: ``stop``, ``length``, …"""
    usage: Mapping[str, int] = field(default_factory=dict)
    """Tokens: ``prompt_tokens``, ``completion_tokens``."""
    reason: str | None = None
    """Why there is no answer: a `core.reasons.Reason`, an `errors.ImageProblem`, or ``http_<status>``."""
    detail: str | None = None
    """The same for people: the server's message or the file and what is wrong with it."""
    latency_s: float | None = None
    """Seconds from sending the last attempt to its complete answer."""
    attempts: int = 0
    """Requests sent for this item in this run; 0 when nothing was sent."""
    thought_in_text: bool = False
    """The reasoning came in the answer's text and was taken out here: the server has no parser for it."""
    cut_by_context: bool = False
    """It ended at the end of the model's context, before max_tokens: the server lowers max_tokens and does not say."""

    @classmethod
    def of_image(cls, error: ImageError, attempts: int = 0) -> Outcome:
        """Of an item whose image cannot be sent."""
        missing = isinstance(error, MissingImage)
        kind = OutcomeKind.MISSING_IMAGE if missing else OutcomeKind.BAD_IMAGE
        return cls(kind, reason=error.problem.value, detail=str(error), attempts=attempts)

    @property
    def answered(self) -> bool:
        return self.kind is OutcomeKind.ANSWERED

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, ready for JSON."""
        fields: dict[str, Any] = {"outcome": self.kind.value}
        for name in ("output", "reasoning", "finish_reason", "reason", "detail"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        for name in ("thought_in_text", "cut_by_context"):
            if getattr(self, name):
                fields[name] = True
        if self.usage:
            fields["usage"] = dict(self.usage)
        if self.latency_s is not None:
            fields["latency_s"] = round(self.latency_s, 4)
        fields["attempts"] = self.attempts
        return fields


def without_empty(outcome: Outcome) -> Outcome:
    """The outcome, but an answer without any text is a failure: an empty caption is none."""
    if not outcome.answered or (outcome.output or "").strip():
        return outcome
    detail = "max_tokens was spent before any text came (on reasoning?): raise --max-tokens"
    return replace(outcome, kind=OutcomeKind.FAILED, output=None, reason=Reason.EMPTY, detail=detail)


def among_choices(outcome: Outcome, choices: Sequence[str]) -> Outcome:
    """The outcome, but an answer that is none of the ``choices`` it was constrained to is a failure: some server behind
    the URL ignores the constraint. An answer that was cut may be the beginning of one. Without choices, as it is."""
    if not choices or not outcome.answered:
        return outcome
    text = (outcome.output or "").strip()
    cut = outcome.finish_reason == "length"
    if any(choice == text or (cut and choice.startswith(text)) for choice in choices):
        return outcome
    detail = f"asked for one of {', '.join(choices)} and got {text[:80]!r}: the server does not constrain its answers"
    return replace(outcome, kind=OutcomeKind.FAILED, output=None, reason=Reason.NOT_A_CHOICE, detail=detail)


def with_cut_marked(outcome: Outcome, max_tokens: int) -> Outcome:
    """The outcome, with what ended an answer at ``length`` made out by its tokens, when the server counted them."""
    tokens = outcome.usage.get("completion_tokens")
    cut = outcome.finish_reason == "length" and tokens is not None and tokens < max_tokens
    return replace(outcome, cut_by_context=True) if cut else outcome


@dataclass(slots=True)
class Failures:
    """Items without an answer: how many of each kind and reason, with the first one's detail as an example."""

    kinds: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, record: Mapping[str, Any]) -> None:
        kind, reason = record["outcome"], record.get("reason")
        self.kinds[kind] += 1
        name = f"{kind}: {reason}" if reason else kind
        example = {"count": 0, "example_id": record["id"], "example": record.get("detail")}
        self.reasons.setdefault(name, example)["count"] += 1

    @property
    def total(self) -> int:
        return self.kinds.total()

    def fields(self) -> dict[str, Any]:
        return {
            "failed": self.total,
            "failed_by_kind": {kind.value: self.kinds[kind] for kind in OutcomeKind if self.kinds[kind]},
            "failed_by_reason": dict(sorted(self.reasons.items(), key=lambda reason: -reason[1]["count"])),
        }
