"""Ending jobs: a running server is asked to drain, a pending job is taken out of the queue. Raises: SlurmError."""

from __future__ import annotations

from captionqa.slurm.commands import slurm_command


def drain_job(job_id: str) -> None:
    """Ask the server of a running job to drain. Only the batch process is told (it is `captionqa serve`, by exec): a
    plain scancel would reach the engine too, and cut the answers that it is giving."""
    slurm_command(["scancel", "--batch", "--signal=USR2", job_id])


def cancel_pending(job_id: str) -> None:
    """Take a job that has not begun, or the tasks of an array that have not, out of the queue."""
    slurm_command(["scancel", "--state=PENDING", job_id])
