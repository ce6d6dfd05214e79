from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.metrics import MetricsFold, grade_record
from captionqa.core.outcomes import OutcomeKind

FACTS: dict[str, Any] = {
    "question": "Which parity?",
    "choices": ["odd", "even"],
    "answer": "B",
    "gold_letter": "B",
    "category": "arithmetic",
    "source": "ours",
    "image_paths": ["a.png"],
}
OUTPUTS = {"B": "correct", "The answer is (A).": "wrong", "I cannot tell.": "unparsed"}


def record(outcome: str = "answered", *, category: str = "arithmetic", **fields: Any) -> dict[str, Any]:
    answered = {"output": "B", "finish_reason": "stop"} if outcome == "answered" else {}
    return {"id": "q1", "outcome": outcome, "facts": {**FACTS, "category": category}, **answered, **fields}


def folded(*records: dict[str, Any]) -> dict[str, Any]:
    fold = MetricsFold()
    for each in records:
        fold.add(each, grade_record(each))
    return fold.summary()


def folded_row(given: dict[str, Any]) -> dict[str, Any] | None:
    return MetricsFold().add(given, grade_record(given))


def test_a_result_row_has_everything_a_reviewer_needs() -> None:
    row = folded_row(record(output="The answer is (A).", reasoning="Hm."))
    assert row == {
        "qid": "q1",
        "question": "Which parity?",
        "choices": ["odd", "even"],
        "gt_answer": "B",
        "gt_letter": "B",
        "predicted_letter": "A",
        "predicted": "A",
        "model_output": "The answer is (A).",
        "is_correct": False,
        "outcome": "wrong",
        "method": "declared",
        "reason": None,
        "category": "arithmetic",
        "source": "ours",
        "image_paths": ["a.png"],
        "num_images": 1,
        "finish_reason": "stop",
        "reasoning": "Hm.",
    }


def test_placeholders_that_did_not_fit_flag_the_row() -> None:
    flagged, plain = record(), record()
    flagged["facts"]["placeholders_fit"] = False
    assert (folded_row(flagged) or {})["placeholders_fit"] is False
    assert "placeholders_fit" not in (folded_row(plain) or {})


def test_a_failed_question_is_beside_the_total_and_has_no_row() -> None:
    failed = record("failed", reason="timeout")
    assert folded_row(failed) is None
    metrics = folded(failed, record())
    assert (metrics["n"], metrics["total_questions"], metrics["correct_answers"], metrics["failed"]) == (2, 1, 1, 1)
    assert metrics["overall_accuracy"] == 1.0
    assert metrics["failed_by_kind"] == {"failed": 1}


def test_truncated_and_unparsed_answers_are_inside_the_total() -> None:
    unreadable = "Let us look at the picture first"
    metrics = folded(
        record(), record(output=unreadable), record(output=unreadable, finish_reason="length"), record(output="A")
    )
    assert (metrics["total_questions"], metrics["overall_accuracy"]) == (4, 0.25)
    assert (metrics["wrong"], metrics["unparsed"], metrics["truncated"]) == (1, 1, 1)


def test_accuracy_over_nothing_is_none_and_not_zero() -> None:
    assert folded()["overall_accuracy"] is None
    assert folded()["macro_accuracy"] is None
    metrics = folded(record("rejected", category="charts"), record())
    assert metrics["category_metrics"]["charts"]["accuracy"] is None
    assert metrics["category_metrics"]["charts"]["failed"] == 1
    assert metrics["macro_accuracy"] == 1.0, "a category over nothing does not count in the mean"


def test_micro_and_macro_accuracy() -> None:
    metrics = folded(record(), record(), record(), record(output="A", category="charts"))
    assert (metrics["overall_accuracy"], metrics["macro_accuracy"]) == (0.75, 0.5)
    assert list(metrics["category_metrics"]) == ["arithmetic", "charts"]


def test_tokens_are_summed_over_answers_and_failures() -> None:
    usage = {"prompt_tokens": 90, "completion_tokens": 2}
    metrics = folded(record(usage=usage), record("failed", usage={"prompt_tokens": 10}), record())
    assert (metrics["prompt_tokens"], metrics["completion_tokens"]) == (100, 2)


records = st.builds(
    lambda kind, output, category, finish_reason: record(
        kind, category=category, **({"output": output, "finish_reason": finish_reason} if kind == "answered" else {})
    ),
    st.sampled_from([kind.value for kind in OutcomeKind]),
    st.sampled_from(list(OUTPUTS)) | st.text(max_size=20),
    st.sampled_from(["arithmetic", "charts", "geometry"]),
    st.sampled_from(["stop", "length"]),
)


@given(st.lists(records, max_size=30))
def test_every_question_is_counted_exactly_once(given_records: list[dict[str, Any]]) -> None:
    fold = MetricsFold()
    rows = [row for each in given_records if (row := fold.add(each, grade_record(each))) is not None]
    metrics = fold.summary()
    verdicts = ("wrong", "unparsed", "truncated")
    assert metrics["n"] == len(given_records)
    assert metrics["total_questions"] == len(rows) == metrics["correct_answers"] + sum(metrics[v] for v in verdicts)
    assert metrics["n"] == metrics["total_questions"] + metrics["failed"]
    assert metrics["failed"] == sum(each["outcome"] != "answered" for each in given_records)
    assert metrics["failed"] == sum(metrics["failed_by_kind"].values())
    assert metrics["correct_answers"] == sum(row["is_correct"] for row in rows)
    assert sum(method["count"] for method in metrics["methods"].values()) == metrics["total_questions"]
    assert sum(method["correct"] for method in metrics["methods"].values()) == metrics["correct_answers"]
    for name, all_of_it in (("total", "total_questions"), ("correct", "correct_answers"), ("failed", "failed")):
        assert sum(tally[name] for tally in metrics["category_metrics"].values()) == metrics[all_of_it]
    for tally in metrics["category_metrics"].values():
        assert tally["total"] == tally["correct"] + sum(tally[verdict] for verdict in verdicts)
        assert tally["accuracy"] == (tally["correct"] / tally["total"] if tally["total"] else None)


@given(st.lists(records, max_size=12), st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order_of_records(given_records: list[dict[str, Any]], order: Any) -> None:
    shuffled = list(given_records)
    order.shuffle(shuffled)
    one, other = folded(*given_records), folded(*shuffled)
    assert {**one, "macro_accuracy": None} == {**other, "macro_accuracy": None}
    assert (one["macro_accuracy"] is None) == (other["macro_accuracy"] is None)
