"""What captionqa costs, measured: `python -m benchmarks` prints the tables of docs/benchmarks.md. Not a test."""
