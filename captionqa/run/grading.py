"""Grades for a run's records, in their order.

In: records of a journal. Out: each with its grade, or with None where there is no answer to grade.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from captionqa.core.grading import Grade
from captionqa.core.metrics import grade_record
from captionqa.run.journal import Record


def graded(records: Iterable[Record]) -> Iterator[tuple[Record, Grade | None]]:
    for record in records:
        yield record, grade_record(record)
