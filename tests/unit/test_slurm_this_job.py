"""What a process learns about its own job, from environments as SLURM 22.05 and later make them."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from captionqa.slurm import this_job
from captionqa.slurm.this_job import ThisJob, requeue

BATCH = {"SLURM_JOB_ID": "101", "SLURMD_NODENAME": "gpu1", "ENVIRONMENT": "BATCH"}
TASK = {**BATCH, "SLURM_JOB_ID": "103", "SLURM_ARRAY_JOB_ID": "101", "SLURM_ARRAY_TASK_ID": "7"}


@pytest.mark.parametrize(
    "environ", [{}, {"SLURM_JOB_ID": ""}, {"SLURM_CONF": "/etc/slurm.conf"}, {"SLURM_JOB_ID": "x"}]
)
def test_outside_of_a_job_there_is_none(environ: dict[str, str]) -> None:
    assert ThisJob.of(environ) is None


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        (BATCH, ThisJob("101", "101", "101", 0, "gpu1", None, True)),
        (TASK, ThisJob("101_7", "101", "103", 0, "gpu1", None, True)),
        # The last task has the array's own id: that number alone would be taken for the whole array.
        ({**TASK, "SLURM_JOB_ID": "101"}, ThisJob("101_7", "101", "101_7", 0, "gpu1", None, True)),
        (
            {**BATCH, "SLURM_RESTART_COUNT": "2", "SLURM_JOB_END_TIME": "1795253453"},
            ThisJob("101", "101", "101", 2, "gpu1", 1795253453, True),
        ),
        ({"SLURM_JOB_ID": "44"}, ThisJob("44", "44", "44", 0, None, None, False)),  # salloc's shell
        ({"SLURM_JOB_ID": "42", "SLURMD_NODENAME": "n"}, ThisJob("42", "42", "42", 0, "n", None, False)),  # srun
        ({**BATCH, "SLURM_RESTART_COUNT": "?"}, ThisJob("101", "101", "101", 0, "gpu1", None, True)),
    ],
)  # fmt: skip
def test_a_job_is_what_its_environment_says(environ: dict[str, str], job: ThisJob) -> None:
    assert ThisJob.of(environ) == job


class Scontrol:
    """The calls of scontrol, and how each ends."""

    def __init__(self, *ends: int | Exception) -> None:
        self.ends = list(ends)
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, Exception):
            raise end
        return subprocess.CompletedProcess(command, end, "", "Unable to contact\nthe controller\n" if end else "")


def put_back(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], limit: int, *ends: int | Exception
) -> tuple[bool, list[list[str]], str]:
    scontrol = Scontrol(*(ends or (0,)))
    monkeypatch.setattr(this_job.subprocess, "run", scontrol)
    monkeypatch.setattr(this_job.time, "sleep", lambda _: None)
    said: list[str] = []
    job = ThisJob.of(environ)
    assert job is not None
    return requeue(job, limit, said.append), scontrol.calls, "\n".join(said)


def test_a_job_puts_itself_back_into_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    done, calls, said = put_back(monkeypatch, BATCH, 5)
    assert (done, calls) == (True, [["scontrol", "requeue", "101"]])
    assert said == "job 101 goes back into the queue (restart 1 of at most 5)"


def test_scontrol_is_given_what_means_this_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert put_back(monkeypatch, {**TASK, "SLURM_JOB_ID": "101"}, 5)[1] == [["scontrol", "requeue", "101_7"]]
    # Submitted by sbatch inside task 101_7, which leaves its variables in the environment: job 200 is no array's task.
    assert put_back(monkeypatch, {**TASK, "SLURM_JOB_ID": "200"}, 5)[1] == [["scontrol", "requeue", "200"]]


def test_not_more_often_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    done, calls, said = put_back(monkeypatch, {**BATCH, "SLURM_RESTART_COUNT": "5"}, 5)
    assert (done, calls) == (False, [])
    assert "job 101 was restarted 5 times, the most that --requeue-limit 5 allows" in said
    assert put_back(monkeypatch, BATCH, 0)[:2] == (False, [])


def test_an_interactive_job_cannot_be_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    done, calls, said = put_back(monkeypatch, {"SLURM_JOB_ID": "44"}, 5)
    assert (done, calls) == (False, [])
    assert "job 44 is no batch job" in said


def test_a_controller_that_is_away_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done, calls, _ = put_back(monkeypatch, BATCH, 5, 1, subprocess.TimeoutExpired("scontrol", 20), 0)
    assert (done, len(calls)) == (True, 3)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (1, "Unable to contact · the controller. Submit it again to go on."),
        (FileNotFoundError(), "scontrol is not on the PATH of this job"),
        (PermissionError(13, "Permission denied"), "scontrol: [Errno 13] Permission denied"),
    ],
)
def test_what_did_not_work_is_said(monkeypatch: pytest.MonkeyPatch, end: int | Exception, why: str) -> None:
    done, calls, said = put_back(monkeypatch, BATCH, 5, end)
    assert (done, len(calls)) == (False, this_job.REQUEUE_TRIES)
    assert f"job 101 could not be put back into the queue: {why}" in said
