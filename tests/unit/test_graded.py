"""The stream of grades, with algebra that answers when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from captionqa.core.grading import Equivalence
from captionqa.run.equivalence import Equivalences
from captionqa.run.grading import graded


def record(name: str, output: str, answer: str = "2x", outcome: str = "answered") -> dict[str, Any]:
    return {"id": name, "outcome": outcome, "output": output, "facts": {"answer": answer, "choices": []}}


class Algebra(Equivalences):
    """Finds all equal, but only after `go`."""

    def __init__(self, workers: int = 2) -> None:
        super().__init__(workers)
        self.go = threading.Event()
        self.asked: list[str] = []
        self.closed = False

    def compare(self, gold: str, answer: str) -> Equivalence:
        self.asked.append(answer)
        assert self.go.wait(20)
        return Equivalence.EQUAL

    def close(self) -> None:
        self.closed = True


def test_grades_come_in_the_order_of_the_records() -> None:
    algebra = Algebra()
    algebra.go.set()
    outputs = ["\\boxed{x+x}", "\\boxed{red}", "no idea", "\\boxed{3x-x}", "\\boxed{2x}"] * 20
    records = [record(str(n), output) for n, output in enumerate(outputs)]
    records.insert(3, record("failed", "", outcome="failed"))
    found = list(graded(records, algebra))
    assert [one["id"] for one, _ in found] == [one["id"] for one in records]
    assert [grade is None for _, grade in found].count(True) == 1
    assert sum(grade is not None and grade.correct for _, grade in found) == 60
    assert not algebra.closed


def test_what_needs_no_algebra_passes_at_once_and_starts_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captionqa.run.equivalence.subprocess.Popen", None)  # would raise
    stream = graded([record("1", "\\boxed{2x}"), record("2", "\\boxed{red}")])
    assert [grade is not None and grade.correct for _, grade in stream] == [True, False]


def test_later_records_are_read_while_one_waits_but_only_a_window_of_them() -> None:
    algebra = Algebra(1)
    taken = []

    def records() -> Iterator[dict[str, Any]]:
        for n in range(5000):
            taken.append(n)
            if n == 900:
                algebra.go.set()  # the first one waits until then
            yield record(str(n), "\\boxed{x+x}" if n == 0 else "\\boxed{2x}")

    stream = graded(records(), algebra)
    first, grade = next(stream)
    assert (first["id"], grade is not None and grade.correct) == ("0", True)
    assert 900 <= len(taken) < 1100
    stream.close()  # type: ignore[attr-defined]


def test_a_stream_that_fails_or_is_left_closes_its_own_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Algebra] = []

    def make() -> Algebra:
        made.append(Algebra())
        made[-1].go.set()
        return made[-1]

    monkeypatch.setattr("captionqa.run.grading.Equivalences", make)
    stream = graded([record("1", "\\boxed{x+x}"), record("2", "\\boxed{x+x}")])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(KeyError):
        list(graded([record("1", "\\boxed{x+x}"), {"outcome": "answered"}]))
    assert [each.closed for each in made] == [True, True]
