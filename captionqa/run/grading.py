"""Grades for a run's records, in their order.

In: records of a journal. Out: each with its grade, or with None where there is no answer to grade. What only algebra
can compare waits for a worker, while later records are read already; no more than a window of them is held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from captionqa.core.grading import Equivalence, Grade, Pending
from captionqa.core.metrics import grade_record
from captionqa.run.equivalence import Equivalences
from captionqa.run.journal import Record

_WINDOW = 1000
"""Records held at most: several seconds of work for each worker, so that a slow pair does not idle the others."""

_Waiting = tuple[Record, Grade | Pending | None, "Future[Equivalence] | None"]


def graded(
    records: Iterable[Record], equivalences: Equivalences | None = None
) -> Iterator[tuple[Record, Grade | None]]:
    """``equivalences`` stays open when it is given; else workers start with the first pair that needs one, and end with
    the stream. Raises: CaptionQAError when math-verify does not start."""
    own = Equivalences() if equivalences is None else None
    pool = equivalences or own
    assert pool is not None
    threads = ThreadPoolExecutor(pool.workers, thread_name_prefix="equivalence")
    waiting: deque[_Waiting] = deque()
    try:
        for record in records:
            found = grade_record(record)
            future = None
            if isinstance(found, Pending):
                future = threads.submit(pool.compare, found.question.gold, found.question.answer)
            waiting.append((record, found, future))
            while waiting and (len(waiting) > _WINDOW or _ready(waiting[0])):
                yield _settled(waiting.popleft())
        while waiting:
            yield _settled(waiting.popleft())
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        if own is not None:
            own.close()
        threads.shutdown(wait=True)


def _ready(item: _Waiting) -> bool:
    return item[2] is None or item[2].done()


def _settled(item: _Waiting) -> tuple[Record, Grade | None]:
    record, found, future = item
    if isinstance(found, Pending):
        assert future is not None
        return record, found.settled(future.result())
    return record, found
