"""Captions as a fold of records: which images have a caption, which have none and why.

In: the last record of every image. Out: the caption or the failure of each, and counts that add up. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from captionqa.core.caption_statistics import CaptionStatistics
from captionqa.core.outcomes import Failures, OutcomeKind
from captionqa.core.reasons import Reason


@dataclass(slots=True)
class CaptionFold:
    """Counts over the records added so far: ``n == captioned + failed``, asserted."""

    n: int = 0
    captioned: int = 0
    truncated: int = 0
    """Captions that were cut; they are among ``captioned``."""
    cut_by_context: int = 0
    """Of these, at the end of the model's context, before max_tokens."""
    failures: Failures = field(default_factory=Failures)
    characters: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    statistics: CaptionStatistics = field(default_factory=CaptionStatistics)

    def add(self, record: Mapping[str, Any]) -> str | None:
        """The image's caption, or None when it has none."""
        self.n += 1
        usage = record.get("usage") or {}
        self.prompt_tokens += usage.get("prompt_tokens", 0)
        self.completion_tokens += usage.get("completion_tokens", 0)
        caption: str | None = record.get("output")
        if record["outcome"] != OutcomeKind.ANSWERED or caption is None:
            self.failures.add(record)
            # An image file without a byte is «empty», too.
            self.statistics.empty += record["outcome"] == OutcomeKind.FAILED and record.get("reason") == Reason.EMPTY
            return None
        self.captioned += 1
        self.truncated += record.get("finish_reason") == "length"
        self.cut_by_context += record.get("cut_by_context", False)
        self.characters += len(caption)
        self.statistics.add(record["id"], caption, truncated=record.get("finish_reason") == "length")
        return caption

    def summary(self) -> dict[str, Any]:
        assert self.n == self.captioned + self.failures.total, "every image has one outcome"
        return {
            "n": self.n,
            "captioned": self.captioned,
            "truncated": self.truncated,
            "cut_by_context": self.cut_by_context,
            **self.failures.fields(),
            "mean_caption_characters": round(self.characters / self.captioned, 1) if self.captioned else None,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }
