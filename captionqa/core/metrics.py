"""Accuracy as a fold of records: a graded row for each question, and the metrics over all of them.

In: the last record of every question. Out: result rows and counts. The accounting identity, asserted: n = correct +
wrong + unparsed + truncated + failed. Failures (no answer) are beside the total, never inside it, never wrong answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from captionqa.core.grading import GRADER_VERSION, Grade, Pending, Verdict, grade, read_grade
from captionqa.core.outcomes import Failures, OutcomeKind
from captionqa.core.samples import VariantsFold
from captionqa.core.shuffling import in_original_order, shown_choices, shown_letter, variant_fields


def grade_record(record: Mapping[str, Any]) -> Grade | Pending | None:
    """The grade of a question's recorded output, or what is left to ask; None when it has no answer to grade."""
    if record["outcome"] != OutcomeKind.ANSWERED:
        return None
    facts, finish_reason = record["facts"], record.get("finish_reason")
    order = facts.get("order")
    if order is None:
        return read_grade(record["output"], facts["answer"], facts["choices"], finish_reason=finish_reason)
    gold = shown_letter(facts["gold_letter"], order)  # only choices have an order
    read = grade(record["output"], gold, shown_choices(facts), finish_reason=finish_reason)
    return in_original_order(read, order)


def result_row(record: Mapping[str, Any], grading: Grade) -> dict[str, Any]:
    """One entry of ``qa_results.json``."""
    facts = record["facts"]
    return {
        "qid": record["id"],
        "question": facts["question"],
        "choices": facts["choices"],
        "gt_answer": facts["answer"],
        "gt_letter": facts["gold_letter"],
        "predicted_letter": grading.letter,
        "predicted": grading.predicted,
        "model_output": record["output"],
        "is_correct": grading.correct,
        "outcome": grading.verdict.value,
        "method": grading.method,
        "reason": grading.reason,
        "category": facts["category"],
        "source": facts["source"],
        "image_paths": facts["image_paths"],
        "num_images": len(facts["image_paths"]),
        "finish_reason": record.get("finish_reason"),
        **({"reasoning": record["reasoning"]} if "reasoning" in record else {}),
        **variant_fields(facts, grading.letter),
        **({"placeholders_fit": False} if facts.get("placeholders_fit") is False else {}),
    }


@dataclass(slots=True)
class _Tally:
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    failed: int = 0

    @property
    def total(self) -> int:
        return sum(self.verdicts.values())

    @property
    def correct(self) -> int:
        return self.verdicts[Verdict.CORRECT]

    @property
    def accuracy(self) -> float | None:
        """Correct over graded; None when nothing was graded."""
        return self.correct / self.total if self.total else None

    def fields(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "wrong": self.verdicts[Verdict.WRONG],
            "unparsed": self.verdicts[Verdict.UNPARSED],
            "truncated": self.verdicts[Verdict.TRUNCATED],
            "failed": self.failed,
        }


@dataclass(slots=True)
class MetricsFold:
    """Metrics over the records added so far."""

    n: int = 0
    overall: _Tally = field(default_factory=_Tally)
    categories: dict[str, _Tally] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)
    methods: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    variants: VariantsFold = field(default_factory=VariantsFold)

    def add(self, record: Mapping[str, Any], grading: Grade | None) -> dict[str, Any] | None:
        """The question's result row, or None when it has no answer (``grading`` is None just then)."""
        self.n += 1
        self.variants.add(record, grading)
        usage = record.get("usage") or {}
        self.prompt_tokens += usage.get("prompt_tokens", 0)
        self.completion_tokens += usage.get("completion_tokens", 0)
        category = self.categories.setdefault(record["facts"]["category"], _Tally())
        if grading is None:
            self.failures.add(record)
            self.overall.failed += 1
            category.failed += 1
            return None
        self.overall.verdicts[grading.verdict] += 1
        category.verdicts[grading.verdict] += 1
        self.methods[grading.method] += 1
        return result_row(record, grading)

    def summary(self) -> dict[str, Any]:
        """The counts and accuracies of ``qa_metrics.json``; accuracies are fractions from 0 to 1, None over nothing."""
        overall = self.overall
        assert self.n == overall.total + overall.failed == overall.total + self.failures.total
        assert overall.total == sum(tally.total for tally in self.categories.values())
        means = [tally.accuracy for tally in self.categories.values() if tally.accuracy is not None]
        return {
            "n": self.n,
            "total_questions": overall.total,
            "correct_answers": overall.correct,
            "overall_accuracy": overall.accuracy,
            "macro_accuracy": sum(means) / len(means) if means else None,
            "wrong": overall.verdicts[Verdict.WRONG],
            "unparsed": overall.verdicts[Verdict.UNPARSED],
            "truncated": overall.verdicts[Verdict.TRUNCATED],
            **self.failures.fields(),
            "category_metrics": {name: self.categories[name].fields() for name in sorted(self.categories)},
            "methods": dict(self.methods.most_common()),
            **self.variants.fields(),
            **({"letters": letters} if (letters := self.variants.letters()) else {}),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "grader_version": GRADER_VERSION,
        }
