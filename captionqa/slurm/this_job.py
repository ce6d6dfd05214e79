"""The SLURM job this process runs in: facts out of the environment, and the way back into the queue.

In: an environment mapping. Out: a `ThisJob`, or None outside of SLURM. Only `requeue` does anything: it calls scontrol.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

REQUEUE_TRIES = 3
REQUEUE_PAUSE_S = 5.0
"""Between tries: a restart of the controller takes a few seconds, the time limit is two minutes away."""
SCONTROL_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class ThisJob:
    """What SLURM told this process about its job."""

    id: str
    """``101``, or ``101_3`` for an array's task: what scontrol and squeue must be given. (The last task's SLURM_JOB_ID
    equals the array's own id, so that number alone would mean the whole array.)"""
    array_id: str
    """``101`` for both: what `sbatch --parsable` printed."""
    own_id: str
    """Means this job alone, whatever it inherited: `sbatch` called inside an array's task leaves SLURM_ARRAY_* of the
    outer job in the inner one's environment."""
    restarts: int
    """How often this job was put back into the queue."""
    node: str | None
    """SLURM's name of this node; None where the process does not run on one of the job's nodes (salloc's shell)."""
    end_time: float | None
    """When the time limit is reached, seconds since 1970; None on releases that do not say (before 22.05)."""
    batch: bool
    """Whether the job was submitted by sbatch: only such a job can be put back into the queue."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ThisJob | None:
        """The job that an environment (os.environ) speaks of, or None."""
        job_id = environ.get("SLURM_JOB_ID", "")
        if not job_id.isdecimal():
            return None
        array_id, task_id = environ.get("SLURM_ARRAY_JOB_ID", ""), environ.get("SLURM_ARRAY_TASK_ID", "")
        in_array = array_id.isdecimal() and task_id.isdecimal()
        return cls(
            id=f"{array_id}_{task_id}" if in_array else job_id,
            array_id=array_id if in_array else job_id,
            own_id=f"{array_id}_{task_id}" if in_array and job_id == array_id else job_id,
            restarts=_number(environ.get("SLURM_RESTART_COUNT", "")) or 0,  # unset in the first round
            node=environ.get("SLURMD_NODENAME") or None,
            end_time=_number(environ.get("SLURM_JOB_END_TIME", "")),
            batch=environ.get("ENVIRONMENT") == "BATCH",
        )


def requeue(job: ThisJob, limit: int, say: Callable[[str], None]) -> bool:
    """Put this process's own job back into the queue, unless it was there ``limit`` times. Returns whether that worked;
    when not, ``say`` was told why and what to do.

    Call it as the last thing: SLURM ends the job (SIGTERM to everything in it) as soon as it agrees.
    """
    if not job.batch:
        say(
            f"job {job.id} is no batch job, so SLURM cannot start it again; the same command goes on where this stopped"
        )
        return False
    if job.restarts >= limit:
        say(
            f"job {job.id} was restarted {job.restarts} times, the most that --requeue-limit {limit} allows: it stays "
            "ended. Submit it again to go on."
        )
        return False
    say(f"job {job.id} goes back into the queue (restart {job.restarts + 1} of at most {limit})")
    problem = ""
    for attempt in range(REQUEUE_TRIES):
        if attempt:
            time.sleep(REQUEUE_PAUSE_S)
        problem = _scontrol_requeue(job.own_id)
        if not problem:
            return True
    say(f"job {job.id} could not be put back into the queue: {problem}. Submit it again to go on.")
    return False


def _scontrol_requeue(job_id: str) -> str:
    """What went wrong, or nothing."""
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job_id],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SCONTROL_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        return "scontrol is not on the PATH of this job"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"scontrol: {error}"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip() or done.stdout.strip() or f"scontrol ended with {done.returncode}").replace("\n", " · ")


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
