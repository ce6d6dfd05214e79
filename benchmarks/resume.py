"""Time and memory to take up a run of which everything is answered: the journal is read, the data set walked, the
exports written. Against the journal's bare JSON parse, in one run."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from benchmarks.memory import run_qa, write_questions
from benchmarks.throughput import sink

ANSWERED = 200_000


def measure(answered: int = ANSWERED) -> str:
    """A markdown table: seconds and peak memory, and the ratio to parsing the journal's lines."""
    with tempfile.TemporaryDirectory() as name, sink() as url:
        folder = Path(name)
        write_questions(folder, answered)
        answer_all(folder)
        journal = next((folder / "output").rglob("*.journal.jsonl"))
        size_mb = journal.stat().st_size / 1e6
        started = time.perf_counter()
        with open(journal, "rb") as file:
            for line in file:
                json.loads(line)
        parse_s = time.perf_counter() - started
        resume_s, megabytes = run_qa(folder, url)
    return "\n".join(
        (
            f"{answered} answers done, journal of {size_mb:.0f} MB",
            "",
            "| what | seconds | ratio | peak memory MB |",
            "| --- | ---: | ---: | ---: |",
            f"| parsing the journal's lines | {parse_s:.1f} | 1.00 | |",
            f"| `captionqa qa`, nothing left to ask (check, read, walk, grade, export) | {resume_s:.1f} "
            f"| {resume_s / parse_s:.1f} | {megabytes:.0f} |",
        )
    )


def answer_all(folder: Path, output: str = "A") -> None:
    """Answer the set without sending 200,000 images: the engine's own records, made from its own items."""
    from captionqa.core.keys import facts_key
    from captionqa.core.outcomes import Outcome, OutcomeKind
    from captionqa.core.requests import QUESTION_SAMPLING
    from captionqa.core.vision import ImagePolicy
    from captionqa.data.prompt_files import load_style, question_styles
    from captionqa.run.question_task import QuestionTask
    from captionqa.run.store import RunStore, Shard
    from captionqa.run.tasks import Asking

    style = load_style("default", question_styles(Path("/")))
    task = QuestionTask(folder / "questions.parquet", folder, Asking(style, None, QUESTION_SAMPLING, ImagePolicy()))
    outcome = Outcome(
        OutcomeKind.ANSWERED, output=output, finish_reason="stop", usage={"completion_tokens": 1}, attempts=1
    )
    with RunStore.open(task.paths(folder / "output", "sink", None), task.identity("sink"), shard=Shard()) as store:
        for item in task.items():
            store.append(
                {
                    "id": item.id,
                    "key": item.key,
                    "facts_key": facts_key(item.facts),
                    "ordinal": item.ordinal,
                    **outcome.to_dict(),
                    "facts": item.facts,
                }
            )
