"""A session: one start of the program on one run, from looking at the data to the written exports.

    check data → find servers → open the run's files → send what has no answer yet → export

In: a task and settings. Out: a report of what was done. Signals end it well: the first stops admission, the second
stops at once; both leave a run that the same command goes on with.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from captionqa.core.items import Item
from captionqa.core.keys import facts_key, shard_of
from captionqa.core.outcomes import Outcome, OutcomeKind
from captionqa.core.requests import RequestFormat
from captionqa.data.image_cache import ImageCache
from captionqa.errors import CaptionQAError, ExitCode, ServerError
from captionqa.run.client import Client
from captionqa.run.connection import ChatConnection, Http
from captionqa.run.endpoints import EndpointPool
from captionqa.run.feed import PULLED_TOGETHER, Feed
from captionqa.run.journal import JournalIndex
from captionqa.run.runner import Runner
from captionqa.run.signals import LoopSignals
from captionqa.run.store import RunPaths, RunStore, Shard, versions
from captionqa.run.tasks import Task, export_run

CONNECT_TIMEOUT_S = 15.0
MAX_BYTES_IN_FLIGHT = 256 << 20
"""Request bodies held at a time, prepared or sent."""
MOST_THREADS = 8
"""That prepare images. More do not help: decoding runs outside the interpreter's lock, the rest does not."""
CONCURRENCY_AUTO = 64
"""Requests in flight per server for ``--max-concurrency auto``: enough to keep a vLLM batch full with short answers,
few enough not to queue minutes of work in one server."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session works; none of it is part of the run's identity."""

    server_urls: tuple[str, ...]
    api_key: str | None
    output_dir: Path
    model: str | None = None
    """Served model to ask for; None takes what the server serves."""
    model_name: str | None = None
    """Name of the output folder; None takes the model's name after the last «/»."""
    run_name: str | None = None
    shard: Shard = field(default_factory=Shard)
    limit: int | None = None
    max_concurrency: int | None = None
    """None is ``auto``."""
    retry_failed: bool = True
    overwrite: bool = False
    data_moved: bool = False
    server_wait_s: float = 600.0
    request_timeout_s: float = 300.0
    drain_s: float = 25.0
    """Within SLURM's usual KillWait of 30 s between SIGTERM and SIGKILL."""


class Progress(Protocol):
    """Who is told how a session goes."""

    def say(self, message: str) -> None:
        """A sentence for people. May be called from any thread."""

    def start(self, total: int) -> None:
        """The sending begins; ``total`` items are in this shard of the data set."""

    def outcome(self, outcome: Outcome, passed: int) -> None:
        """One more item has its outcome; ``passed`` items had theirs before."""

    def finish(self, passed: int) -> None: ...


@dataclass(slots=True)
class Report:
    """What a session did."""

    exit_code: ExitCode
    paths: RunPaths
    identity: dict[str, Any]
    items: int
    """Items of this shard in the data set."""
    answered_before: int
    counts: dict[str, int]
    """Outcomes of this session, by kind."""
    summary: dict[str, Any] | None
    """The exported summary or metrics; None for a shard, whose run is exported by `captionqa export`."""
    stopped_by: str | None = None


@dataclass(slots=True)
class _Walk:
    """The items of one session that need an answer, and what was seen on the way."""

    seen: int = 0
    answered_before: int = 0
    failed_before: int = 0
    complete: bool = False
    """Whether the data set was walked to its end."""

    @property
    def passed(self) -> int:
        return self.answered_before + self.failed_before

    def pending(
        self, items: Iterator[Item], index: JournalIndex, mine: Callable[[str], bool], settings: Settings
    ) -> Iterator[Item]:
        for item in items:
            if not mine(item.id):
                continue
            if settings.limit is not None and self.seen >= settings.limit:
                return
            self.seen += 1
            entry = index.find(item.id)
            if entry is None or entry.key != item.key or (settings.retry_failed and not entry.answered):
                yield item
                continue
            self.answered_before += entry.answered
            self.failed_before += not entry.answered
            if entry.facts_key != facts_key(item.facts):
                yield replace(item, content=(), recorded=index.read(item.id))
        self.complete = True


def run_session(task: Task, settings: Settings, progress: Progress) -> Report:
    """Raises: InputError, IdentityMismatch, UsageError, ServerError, JournalError, Stopped. Whatever was answered by
    then is saved."""

    def mine(item_id: str) -> bool:
        return settings.shard.alone or shard_of(item_id, settings.shard.count) == settings.shard.index

    items, own = task.check(mine)
    return asyncio.run(_session(task, settings, progress, items, own, mine))


async def _session(
    task: Task, settings: Settings, progress: Progress, all_items: int, own_items: int, mine: Callable[[str], bool]
) -> Report:
    http = Http(connect_timeout_s=CONNECT_TIMEOUT_S, request_timeout_s=settings.request_timeout_s)
    connections = [ChatConnection(http, url, settings.api_key) for url in settings.server_urls]
    per_server = settings.max_concurrency or CONCURRENCY_AUTO
    pool = EndpointPool(connections, limit=per_server, server_wait_s=settings.server_wait_s, say=progress.say)
    signals = LoopSignals()
    try:
        with signals.cancelling_this_task():
            await pool.open(settings.model)
            identity = task.identity(pool.model)
            model_name = settings.model_name or pool.model.rstrip("/").rpartition("/")[2]
            paths = task.paths(settings.output_dir, model_name, settings.run_name)
            store = await _open_store(paths, identity, settings, progress)
        with store:
            store.append_session(_session_facts(task, settings, all_items))
            walk = _Walk()
            items = walk.pending(task.items(), store.index, mine, settings)
            senders = settings.max_concurrency or CONCURRENCY_AUTO * len(connections)
            try:
                counts = await _send(items, task, walk, pool, store, senders, settings, progress, signals, own_items)
            except ServerError:
                if settings.shard.alone:
                    export_run(identity, paths, store.index)
                raise
            if walk.complete and signals.received is None:
                _record_removals(store, mine)
            summary = export_run(identity, paths, store.index) if settings.shard.alone else None
    finally:
        signals.restore()
        await pool.close()
        await http.aclose()
    unanswered = walk.failed_before + sum(count for kind, count in counts.items() if kind is not OutcomeKind.ANSWERED)
    return Report(
        exit_code=_exit_code(signals.received, unanswered),
        paths=paths,
        identity=identity,
        items=own_items,
        answered_before=walk.answered_before,
        counts={kind.value: counts[kind] for kind in OutcomeKind if counts[kind]},
        summary=summary,
        stopped_by=signals.received,
    )


async def _send(
    items: Iterator[Item],
    task: Task,
    walk: _Walk,
    pool: EndpointPool,
    store: RunStore,
    senders: int,
    settings: Settings,
    progress: Progress,
    signals: LoopSignals,
    total: int,
) -> Counter[OutcomeKind]:
    request_format = RequestFormat.of(pool.model, task.asking.system_prompt, task.asking.sampling)

    def on_outcome(outcome: Outcome) -> None:
        progress.outcome(outcome, walk.passed)

    def stop() -> None:
        progress.say(
            f"{signals.received}: no new requests; waiting up to {settings.drain_s:.0f} s for those in flight "
            "(again to stop at once)"
        )
        runner.stop(settings.drain_s)

    progress.start(total)
    threads = max(2, min(MOST_THREADS, len(os.sched_getaffinity(0))))
    feed = Feed(
        items,
        request_format,
        ImageCache(task.asking.policy, max_bytes=task.image_cache_bytes),
        threads=threads,
        max_ready=PULLED_TOGETHER * (threads + 1),  # every thread has room to work, and one batch lies ready
        max_bytes=MAX_BYTES_IN_FLIGHT,
    )
    with feed:
        runner = Runner(feed, Client(pool), store, senders=senders, takes_empty=task.takes_empty, on_outcome=on_outcome)
        with signals.calling(stop, runner.stop_now):
            await runner.run()
    progress.finish(walk.passed)
    return runner.counts


async def _open_store(paths: RunPaths, identity: dict[str, Any], settings: Settings, progress: Progress) -> RunStore:
    """Open the run's files in a thread: watching another writer's claim and reading a long journal take their time."""
    give_up = threading.Event()

    def open_it() -> RunStore:
        return RunStore.open(
            paths,
            identity,
            shard=settings.shard,
            overwrite=settings.overwrite,
            data_moved=settings.data_moved,
            say=progress.say,
            give_up=give_up,
        )

    opening = asyncio.ensure_future(asyncio.to_thread(open_it))
    try:
        store = await asyncio.shield(opening)
    except asyncio.CancelledError:
        give_up.set()
        with contextlib.suppress(CaptionQAError):
            (await opening).close()
        raise
    if store.healed_bytes:
        progress.say(
            f"healed the journal: its last line was torn ({store.healed_bytes} bytes), that item is asked again"
        )
    return store


def _session_facts(task: Task, settings: Settings, total: int) -> dict[str, Any]:
    return {
        "items": total,
        "num_shards": settings.shard.count,
        "shard_index": settings.shard.index,
        "server_urls": list(settings.server_urls),
        "host": socket.gethostname(),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "limit": settings.limit,
        "versions": versions(),
        **task.notes(),
    }


def _record_removals(store: RunStore, mine: Callable[[str], bool]) -> None:
    """Items that were asked once and are no longer in the data set leave the exports."""
    for record in store.index.unseen():
        if mine(record["id"]):
            store.append({"id": record["id"], "removed": True})


def _exit_code(stopped_by: str | None, unanswered: int) -> ExitCode:
    if stopped_by is not None:
        return ExitCode.STOPPED
    return ExitCode.INCOMPLETE if unanswered else ExitCode.COMPLETE
