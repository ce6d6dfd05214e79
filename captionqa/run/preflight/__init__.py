"""Preflight: everything that a run needs, looked at before a GPU waits for it.

    data.py      the data set: read as the run will read it, sampled or whole
    storage.py   room for what the run writes
    servers.py   what each server answers, and what it can do
    burst.py     a short measured run: how long all of it will take

In: a task and settings, as the run has them. Out: `core.checks.Check` values; nothing is left behind, no journal is
touched. Trouble is a failed check, never an exception.
"""
