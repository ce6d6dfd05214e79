"""Time and size of the HTML report that ends a run, against the export that comes before it, in one process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.memory import write_questions
from benchmarks.resume import answer_all

SIZES = (1_000, 10_000, 100_000)


def measure(sizes: tuple[int, ...] = SIZES) -> str:
    """A markdown table: seconds of export and report, their ratio, and the file's size, by number of questions. Every
    eight questions are about one JPEG of about 200 kB, all are answered wrongly."""
    lines = [
        "| questions | export s | report s | ratio | without pictures s | file MB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for questions in sizes:
        with tempfile.TemporaryDirectory() as name:
            lines.append(_row(Path(name), questions))
    return "\n".join(lines)


def _row(folder: Path, questions: int) -> str:
    from captionqa.report.html import ReportOptions, write_report
    from captionqa.run.folding import export_run
    from captionqa.run.store import find_run, read_identity, read_journals

    write_questions(folder, questions)
    answer_all(folder, output="Z")
    paths = find_run(folder / "output" / "qa", folder)
    identity = read_identity(paths)
    assert identity is not None, "find_run found its file"
    export_s = _seconds(lambda: export_run(identity, paths, read_journals(paths)))
    bare_s = _seconds(lambda: write_report(paths, ReportOptions(thumbnails=False)))
    report_s = _seconds(lambda: write_report(paths))
    size_mb = paths.export("_report.html").stat().st_size / 1e6
    return (
        f"| {questions} | {export_s:.2f} | {report_s:.2f} | {report_s / export_s:.2f} | {bare_s:.2f} | {size_mb:.1f} |"
    )


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started
