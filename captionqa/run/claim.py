"""A claim on a journal: one writer per file, also across hosts, on file systems without reliable locks.

The claim is a file beside the journal, made with O_EXCL (atomic on NFS and Lustre too). It names its holder; its
modification time is the heartbeat, moved by a thread from `acquire` to `release`. A claim is stale when its holder is
dead for certain (a pid of this host, an earlier start of the same SLURM job, a job that has ended) or when its
heartbeat has not moved for `STALE_S` seconds while we watched: nothing is decided by comparing the clocks or the names
of two machines.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from captionqa.errors import JournalBusy, SaveFailed, SlurmError
from captionqa.process import Process
from captionqa.slurm.jobs import StateGroup, queue
from captionqa.slurm.this_job import ThisJob

CLAIM_SUFFIX = ".claim"
HEARTBEAT_S = 5.0
STALE_S = 60.0
POLL_S = 1.0
ASK_QUEUE_S = 15.0
"""SLURM's controller is shared by everybody."""
DYING_S = 2.0
"""How long a holder on this host may take to die: SIGKILL returns before the process is gone."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a claim."""

    token: str
    host: str
    boot: str
    pid: int
    started: str
    job: str | None = None
    restarts: int = 0
    namespace: str = ""
    cluster: str | None = None

    def __str__(self) -> str:
        job = f", SLURM job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"

    @property
    def process(self) -> Process:
        return Process(self.host, self.boot, self.namespace, self.pid, self.started)


def this_process() -> Holder:
    job = ThisJob.of(os.environ)
    return Holder(
        token=uuid.uuid4().hex,
        job=job.own_id if job is not None else None,
        cluster=os.environ.get("SLURM_CLUSTER_NAME"),
        restarts=job.restarts if job is not None else 0,
        **Process.this().to_dict(),
    )


class Claim:
    """The right to write one journal. Make it with `acquire`; give it back with `release`."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path = path
        self.holder = holder
        self._released = threading.Event()

    @classmethod
    def acquire(
        cls,
        journal: Path,
        *,
        say: Callable[[str], None] = lambda _: None,
        stale_s: float = STALE_S,
        poll_s: float = POLL_S,
        give_up: threading.Event | None = None,
    ) -> Claim:
        """Claim ``journal``, taking over a stale claim. Setting ``give_up`` ends the watching.

        Raises: JournalBusy when another live writer has it, SaveFailed when the folder cannot be written.
        """
        give_up = give_up or threading.Event()
        path = journal.with_name(journal.name + CLAIM_SUFFIX)
        claim = cls(path, this_process())
        while not claim._create():
            stale = _wait_until_stale(path, claim.holder, say, stale_s, poll_s, give_up)
            if stale is not None:
                _set_aside(path, stale, claim.holder)
                say(f"took over the claim of {stale}, which is gone")
        threading.Thread(target=claim._keep_beating, name="claim", daemon=True).start()
        return claim

    def heartbeat(self) -> None:
        """Show that the holder lives.

        Raises: JournalBusy when the claim was taken over while this process slept, SaveFailed.
        """
        try:
            holder = Holder(**json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            holder = None
        except (OSError, ValueError, TypeError):
            return  # a passing trouble of the file system (a stale NFS handle): the next beat will tell
        if holder is None or holder.token != self.holder.token:
            raise JournalBusy(
                f"{self.path}: the claim on this journal was taken over by {holder or 'someone'} while this process "
                "did not run. Nothing more is written here; start the command again when the other writer is done."
            )
        try:
            os.utime(self.path)
        except OSError as error:
            raise SaveFailed(
                f"{self.path}: cannot be written any more ({error.strerror}). Check the folder and the disk, then run "
                "the same command again: it goes on where it stopped."
            ) from error

    def release(self) -> None:
        self._released.set()
        holder = _read_holder(self.path)
        if holder is not None and holder.token == self.holder.token:
            self.path.unlink(missing_ok=True)

    def _keep_beating(self) -> None:
        """Beat while the holder is busy with something long: reading a large journal, writing exports. A claim that was
        lost is reported by the holder's own `heartbeat`."""
        with contextlib.suppress(JournalBusy, SaveFailed):
            while not self._released.wait(HEARTBEAT_S):
                self.heartbeat()

    def _create(self) -> bool:
        try:
            fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return False
        except OSError as error:
            raise SaveFailed(
                f"{self.path}: cannot be written ({error.strerror}). Check the folder and the disk."
            ) from error
        try:
            os.write(fd, json.dumps(asdict(self.holder)).encode())
            os.fsync(fd)
        except OSError as error:
            self.path.unlink(missing_ok=True)
            raise SaveFailed(f"{self.path}: cannot be written ({error.strerror}). Check the disk's space.") from error
        finally:
            os.close(fd)
        return True


def _wait_until_stale(
    path: Path, me: Holder, say: Callable[[str], None], stale_s: float, poll_s: float, give_up: threading.Event
) -> Holder | None:
    """The holder of a stale claim, or None when the claim is gone. Raises: JournalBusy when its heartbeat moves."""
    holder, beat = _read_holder(path), _heartbeat(path)
    deadline = time.monotonic() + stale_s
    dying_until = time.monotonic() + min(DYING_S, stale_s)
    announced = False
    ask_at = time.monotonic()
    while beat is not None:
        if holder is not None and _certainly_dead(holder, me):
            return holder
        if holder is not None and time.monotonic() >= ask_at:
            if _job_has_ended(holder, me):
                return holder
            ask_at = time.monotonic() + ASK_QUEUE_S
        if holder is not None and holder.process.is_neighbour_of(me.process) and time.monotonic() >= dying_until:
            raise _busy(path, holder)  # alive on this very host
        if time.monotonic() >= deadline:
            return holder or Holder("", "an unknown host", "", 0, "")
        if not announced:
            say(f"{path.name} is held by {holder or 'a writer'}; watching up to {stale_s:.0f} s whether it is alive")
            announced = True
        if give_up.wait(min(poll_s, 0.1 if time.monotonic() < dying_until else poll_s)):
            raise _busy(path, holder)
        now = _heartbeat(path)
        if now is not None and now != beat:
            raise _busy(path, _read_holder(path) or holder)
        holder, beat = _read_holder(path) or holder, now
    return None


def _busy(path: Path, holder: Holder | None) -> JournalBusy:
    return JournalBusy(
        f"{path}: {holder or 'another process'} is writing this run. Wait for it or stop it; to run a second, separate "
        "run at the same time, give it its own --run-name (or split the work with --num-shards/--shard-index)."
    )


def _certainly_dead(holder: Holder, me: Holder) -> bool:
    if holder.job and holder.job == me.job and holder.restarts < me.restarts:
        return True  # an earlier start of this very job: SLURM ended it before it started this one
    return holder.process.is_gone_for(me.process)


def _job_has_ended(holder: Holder, me: Holder) -> bool:
    """Whether SLURM says that the holder's job has ended, or has yet to begin again. Only jobs of one cluster can be
    told from each other by their ids; where SLURM cannot be asked, nothing is known."""
    if not holder.job or not me.cluster or holder.cluster != me.cluster:
        return False
    try:
        return all(job.group in (StateGroup.ENDED, StateGroup.WAITING) for job in queue([holder.job]))
    except SlurmError:
        return False


def _set_aside(path: Path, stale: Holder, me: Holder) -> None:
    """Remove a stale claim unless somebody else was faster: rename is atomic, and the token tells what was renamed."""
    aside = path.with_name(f"{path.name}.{me.token}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    holder = _read_holder(aside)
    if (holder.token if holder else "") != stale.token:
        # A fresh claim of another challenger, who may not have written its name into it yet: give it back. Should a
        # third one have claimed the journal meanwhile, the second learns of it at its next heartbeat.
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _read_holder(path: Path) -> Holder | None:
    """None when there is no claim, or one that is being written this moment."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _heartbeat(path: Path) -> int | None:
    """Modification time in nanoseconds. Opening the file makes NFS clients ask the server for fresh attributes."""
    try:
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
