"""Peak memory of a question run at two sizes of the data set: it must not grow with the set. Whole `captionqa qa` runs
in processes of their own, images of ~200 kB with eight questions each, against the sink server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.throughput import draw_photos, sink

QUESTIONS_PER_IMAGE = 8
SIZES = (3_000, 24_000, 48_000)


def measure(sizes: tuple[int, ...] = SIZES) -> str:
    """A markdown table: peak resident memory per size, and the growth."""
    lines = [
        f"Images of ~200 kB, {QUESTIONS_PER_IMAGE} questions each, default concurrency",
        "",
        "| questions | images | peak memory MB | growth |",
        "| ---: | ---: | ---: | ---: |",
    ]
    first = 0.0
    for size in sizes:
        with tempfile.TemporaryDirectory() as name, sink() as url:
            folder = Path(name)
            write_questions(folder, size)
            _, megabytes = run_qa(folder, url)
        first = first or megabytes
        lines.append(f"| {size} | {size // QUESTIONS_PER_IMAGE} | {megabytes:.0f} | {megabytes / first:.2f} × |")
    return "\n".join(lines)


def write_questions(folder: Path, count: int) -> None:
    import pandas as pd

    draw_photos(folder / "images", min(count // QUESTIONS_PER_IMAGE, 400))
    files = sorted(path.name for path in (folder / "images").iterdir())
    images = [files[number // QUESTIONS_PER_IMAGE % len(files)] for number in range(count)]
    pd.DataFrame(
        {
            "qid": [f"q{number:07d}" for number in range(count)],
            "question": [
                f"Question {number}: what is shown here?\nChoices:\n(A) a picture\n(B) a sound"
                for number in range(count)
            ],
            "answer": ["\\boxed{A}"] * count,
            "image": [[f"images/{name}"] for name in images],
            "category": [f"category {number % 8}" for number in range(count)],
        }
    ).to_parquet(folder / "questions.parquet", row_group_size=2_000)


def run_qa(folder: Path, url: str) -> tuple[float, float]:
    """Seconds and peak resident megabytes of a whole `captionqa qa`, by the system's accounting of a finished child."""
    code = (
        "import resource,subprocess,sys,time;"
        "t=time.perf_counter();"
        "r=subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL);"
        "assert r.returncode==0,r.returncode;"
        "print(time.perf_counter()-t,resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1000)"
    )
    command = [sys.executable, "-m", "captionqa", "qa", "--question-path", str(folder / "questions.parquet")]
    command += ["--dataset-path", str(folder), "--output-dir", str(folder / "output"), "--server-url", url]
    shown = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True).stdout
    seconds, megabytes = map(float, shown.split())
    return seconds, megabytes
