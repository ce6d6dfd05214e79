"""Names of servers: what one is called, and whether another server has the name.

In: models, jobs, leases. Out: a name, or a `Holder`. Pure, but for looking whether a process of this host lives.
"""

from __future__ import annotations

import re
from enum import StrEnum

from captionqa.errors import UsageError
from captionqa.process import Process
from captionqa.server.lease import Lease, LeaseState

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_STEM = 60


def default_name(model: str, job: str | None, host: str, pid: int) -> str:
    """``Qwen3-VL-4B-Instruct-101_3`` in a SLURM job, ``Qwen3-VL-4B-Instruct-gpu1-4711`` outside of one."""
    last = model.rstrip("/").rpartition("/")[2]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")[:_LONGEST_STEM] or "server"
    short = re.sub(r"[^A-Za-z0-9-]+", "-", host.partition(".")[0])
    return f"{stem}-{job}" if job else f"{stem}-{short}-{pid}"


def check_name(name: str) -> str:
    """Raises: UsageError for what could not be a file's name everywhere."""
    if not _PLAIN.fullmatch(name):
        raise UsageError(
            f"--name {name!r}: a server's name names its files. Use letters, digits, '.', '_' and '-', beginning with "
            "a letter or digit, at most 100."
        )
    return name


class Holder(StrEnum):
    """Who has a name."""

    NOBODY = "nobody"
    """Or somebody who is certainly gone."""
    SOMEBODY = "somebody"
    UNSURE = "unsure"
    """On another host: whether its heartbeat moves will tell."""


def holder(lease: Lease | None, me: Process, job: str | None, restarts: int) -> Holder:
    """Who has the name that this lease is published under, for the start number ``restarts`` of a SLURM job."""
    if lease is None or lease.state is LeaseState.FAILED or lease.process.is_gone_for(me):
        return Holder.NOBODY
    if lease.process.is_neighbour_of(me):
        return Holder.SOMEBODY
    if job is not None and lease.job == job and lease.restarts < restarts:
        return Holder.NOBODY  # an earlier start of this very job; SLURM has ended it
    return Holder.UNSURE


def name_taken(lease: Lease) -> UsageError:
    job = f", SLURM job {lease.job}" if lease.job else ""
    return UsageError(
        f"server {lease.name!r}: runs already ({lease.url}, process {lease.process.pid} on {lease.process.host}{job}). "
        f"Stop it (`captionqa servers stop {lease.name}`) or give this one another --name."
    )
