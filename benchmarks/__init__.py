"""What captionqa costs, measured: `python -m benchmarks` prints the tables of docs/benchmarks.md. Never part of the tests."""
