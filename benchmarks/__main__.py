"""`python -m benchmarks [throughput|memory|resume|report|concurrency …]`: run some or all, print markdown tables."""

from __future__ import annotations

import sys

from benchmarks import concurrency, memory, report, resume, throughput

BENCHMARKS = {
    "throughput": lambda: throughput.measure(images=1500, rounds=5),
    "memory": memory.measure,
    "resume": resume.measure,
    "report": report.measure,
    "concurrency": concurrency.measure,
}

for name in sys.argv[1:] or BENCHMARKS:
    print(f"\n## {name}\n\n{BENCHMARKS[name]()}", flush=True)
