"""The published servers at one look: each with what can be known of it now. For people; clients follow leases instead
(`discovery`), which takes longer and is surer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from captionqa.process import Process
from captionqa.run.discovery import AskQueue, Judgement, Standing, judge, server_jobs
from captionqa.server.lease import Lease, read_leases
from captionqa.server.probe import Counts, Probe
from captionqa.slurm.jobs import Job


@dataclass(frozen=True, slots=True)
class ListedServer:
    lease: Lease
    judgement: Judgement
    counts: Counts | None
    """Its requests; None when it does not tell."""
    age_s: float

    @property
    def dead(self) -> bool:
        return self.judgement.standing is Standing.DEAD

    def to_dict(self) -> dict[str, Any]:
        lease = self.lease
        return {
            "name": lease.name,
            "state": self.judgement.standing.value,
            "detail": self.judgement.why,
            "node": lease.node,
            "job": lease.job,
            "restarts": lease.restarts,
            "model": lease.model,
            "url": lease.url,
            "engine": lease.engine,
            "version": lease.version,
            "running": self.counts.running if self.counts else None,
            "waiting": self.counts.waiting if self.counts else None,
            "started_at": lease.started_at,
            "heartbeat_at": lease.heartbeat_at,
            "age_s": round(self.age_s, 1),
            "log_file": lease.log_file,
        }


@dataclass(frozen=True, slots=True)
class ServerList:
    servers: list[ListedServer]
    """By name."""
    ignored: Mapping[str, str]
    """Leases that are not believed, and why."""
    unpublished: list[Job]
    """Jobs that will bring up a server here: they wait in the queue, or have just begun."""
    jobs: Mapping[str, Job] | None
    """This user's jobs by id; None when SLURM cannot be asked."""


def list_servers(output_dir: Path, ask_queue: AskQueue) -> ServerList:
    """Look at every published server: its lease, its job, whether it answers. Raises: UsageError."""
    leases = read_leases(output_dir)
    jobs = ask_queue()
    published = {lease.job for lease in leases.found.values()}
    unpublished = [job for job in server_jobs(jobs or {}, output_dir) if job.id not in published]
    return ServerList(asyncio.run(_look_at(list(leases.found.values()), jobs)), leases.ignored, unpublished, jobs)


async def _look_at(leases: list[Lease], jobs: Mapping[str, Job] | None) -> list[ListedServer]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        return list(await asyncio.gather(*(_look(session, lease, jobs) for lease in leases)))


async def _look(session: aiohttp.ClientSession, lease: Lease, jobs: Mapping[str, Job] | None) -> ListedServer:
    probe = Probe(session, lease.url, lease.model, None)  # health and metrics need no key
    health, counts = await asyncio.gather(probe.health(), probe.counts())
    now = time.time()
    # The clocks of two machines may differ: a server that answers lives, whatever its heartbeat says.
    unmoved_s = 0.0 if health is not None else max(0.0, now - lease.heartbeat_at)
    judgement = judge(lease, me=Process.this(), jobs=jobs, unmoved_s=unmoved_s)
    if judgement.standing is Standing.READY and health != 200:
        judgement = Judgement(Standing.LOST, "does not answer" if health is None else f"/health says {health}")
    return ListedServer(lease, judgement, counts, max(0.0, now - lease.started_at))
