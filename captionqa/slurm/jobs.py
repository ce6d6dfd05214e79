"""The state of jobs, as squeue tells it while SLURM remembers them (MinJobAge, usually five minutes after their end)
and sacct afterwards, on clusters that have accounting.

In: job ids. Out: `Job` values, one per task of an array. A state that is not known here is passed on as received, and a
controller that does not answer is an error: never «the job is gone».
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from captionqa.errors import SlurmError
from captionqa.slurm.commands import SlurmRefused, slurm_command

_FIELD = "\x1f"
_RECORD = "\x1e"
"""ASCII's own separators: no name, comment or folder holds them, while each may hold «|», blanks and line breaks."""
_NOTHING = ("N/A", "(null)", "None assigned")
JOBS_PER_CALL = 500
"""So that the ids fit on a command line, and an answer stays small for the controller."""


class StateGroup(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    """Also on its way there, or ending: its processes may live."""
    ENDED = "ended"
    UNKNOWN = "unknown"


_GROUP_STATES = {
    StateGroup.WAITING: "PENDING REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT RESV_DEL_HOLD",
    StateGroup.RUNNING: "RUNNING CONFIGURING COMPLETING SIGNALING STAGE_OUT STOPPED SUSPENDED RESIZING",
    StateGroup.ENDED: "COMPLETED FAILED CANCELLED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY REVOKED "
    "LAUNCH_FAILED RECONFIG_FAIL",
}
"""https://slurm.schedmd.com/job_state_codes.html"""
_GROUP_OF = {state: group for group, states in _GROUP_STATES.items() for state in states.split()}


def state_group(state: str) -> StateGroup:
    """The group of a state in long form; sacct's «CANCELLED by 1001» and a trailing «+» are understood."""
    word = state.split()[0].rstrip("+") if state.split() else ""
    return _GROUP_OF.get(word, StateGroup.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Job:
    """One job, or one task of an array, as SLURM described it. A text SLURM did not give is empty."""

    id: str
    """``101`` or ``101_3``."""
    array_id: str
    """``101`` for both."""
    name: str
    state: str
    """As received: PENDING, RUNNING, …"""
    reason: str = ""
    node: str = ""
    comment: str = ""
    work_dir: str = ""
    time_left: str = ""
    elapsed: str = ""
    submitted: str = ""
    started: str = ""
    exit_code: str = ""
    """``0:0``: exit code and signal; only of jobs that ended, and only from sacct."""
    restarts: int | None = None
    """None when nobody asked or SLURM did not say."""

    @property
    def group(self) -> StateGroup:
        return state_group(self.state)


_SQUEUE = {
    "id": "%i", "array_id": "%F", "name": "%j", "state": "%T", "reason": "%r", "node": "%N", "time_left": "%L",
    "elapsed": "%M", "submitted": "%V", "started": "%S", "work_dir": "%Z", "comment": "%k",
}  # fmt: skip
_SACCT = {
    "id": "JobID", "name": "JobName", "state": "State", "node": "NodeList", "elapsed": "Elapsed",
    "submitted": "Submit", "started": "Start", "exit_code": "ExitCode",
}  # fmt: skip


def queue(ids: Iterable[str] | None = None) -> list[Job]:
    """What SLURM's controller knows of these jobs (an array's id: all of its tasks), also of those that ended a short
    while ago; without ids, of this user's jobs that wait or run. Ids that it does not know any more are left out.

    Raises: SlurmError.
    """
    layout = _RECORD + _FIELD.join(_SQUEUE.values())
    common = ["squeue", "--noheader", "--array", f"--format={layout}"]
    if ids is None:
        return parse_squeue(slurm_command([*common, f"--user={os.geteuid()}"]))
    return [job for part in _parts(ids) for job in _queue_of([*common, "--states=all"], part)]


def _queue_of(command: list[str], ids: Sequence[str]) -> list[Job]:
    try:
        return parse_squeue(slurm_command([*command, f"--jobs={','.join(ids)}"]))
    except SlurmRefused as error:
        if "invalid job id" not in error.received.lower():
            raise
    if len(ids) == 1:
        return []
    return [job for one in ids for job in _queue_of(command, [one])]  # one that is forgotten must not hide the others


def parse_squeue(text: str) -> list[Job]:
    """Raises: SlurmError for output in another layout."""
    rows = (_split(record, _SQUEUE, "squeue") for record in text.split(_RECORD)[1:])
    return [Job(**row) for row in rows]


def restart_counts(ids: Iterable[str]) -> dict[str, int]:
    """How often each task was put back into the queue, by its id. A separate question, because only squeue's other
    way of formatting has the number. Raises: SlurmError."""
    counts: dict[str, int] = {}
    command = ["squeue", "--noheader", "--array", "--states=all", "--Format=JobArrayID:|,RestartCnt:|"]
    for part in _parts(ids):
        try:
            text = slurm_command([*command, f"--jobs={','.join(part)}"])
        except SlurmRefused:
            continue  # an id it has forgotten, or a release without that column
        for line in text.splitlines():
            job_id, count, *_ = [*line.split("|"), ""]
            if count.strip().isdecimal():
                counts[job_id.strip()] = int(count)
    return counts


def history(ids: Iterable[str]) -> list[Job]:
    """What accounting knows of jobs; nothing on a cluster without accounting. Raises: SlurmError."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", f"--delimiter={_FIELD}"]
    found: list[Job] = []
    for part in _parts(ids):
        try:
            text = slurm_command([*command, f"--format={','.join(_SACCT.values())}", f"--jobs={','.join(part)}"])
        except SlurmError as error:
            if isinstance(error.__cause__, FileNotFoundError) or "storage is disabled" in str(error):
                return []
            raise
        found += parse_sacct(text)
    return found


def parse_sacct(text: str) -> list[Job]:
    """Raises: SlurmError for output in another layout."""
    lines = [line for line in text.split("\n") if line.strip()]
    rows = (_split(line, _SACCT, "sacct") for line in lines)
    return [Job(**row, array_id=row["id"].partition("_")[0]) for row in rows]


def _split(record: str, columns: Mapping[str, str], program: str) -> dict[str, Any]:
    values = record.rstrip("\n").split(_FIELD)
    if len(values) != len(columns):
        raise SlurmError(
            f"{program} printed something that was not asked for: {record[:200]!r}. Is it a wrapper? "
            f"Run `{program} --version` and report both."
        )
    return {name: "" if value in _NOTHING else value for name, value in zip(columns, values, strict=True)}


def _parts(ids: Iterable[str]) -> list[list[str]]:
    every = list(dict.fromkeys(ids))
    return [every[start : start + JOBS_PER_CALL] for start in range(0, len(every), JOBS_PER_CALL)]
