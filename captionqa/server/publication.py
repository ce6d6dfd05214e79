"""The first lease of a start: the name is nobody else's, the key is in its file, the lease is on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from captionqa.errors import SaveFailed, UsageError
from captionqa.process import Process
from captionqa.server.lease import (
    Lease,
    LeaseState,
    PublishedLease,
    lease_path,
    make_private_folder,
    read_leases,
    remove_lease,
    write_private,
)
from captionqa.server.names import Holder, holder, name_taken
from captionqa.server.settings import ServeSettings
from captionqa.server.stopping import Stopping

WATCHED_HEARTBEATS = 3


async def publish(
    settings: ServeSettings, url: str, stopping: Stopping, say: Callable[[str], None]
) -> PublishedLease | None:
    """Publish a server that starts; None when a stop was asked for meanwhile.

    Raises: UsageError when the name is a living server's or the folder is not ours, SaveFailed.
    """
    make_private_folder(settings.folder)
    if not await _is_free(settings, stopping, say):
        return None
    remove_lease(settings.folder, settings.name)
    _reserve(settings)
    if settings.key_file is not None:
        write_private(settings.key_file, f"{settings.key}\n")
    now = time.time()
    lease = Lease(
        name=settings.name,
        state=LeaseState.STARTING,
        url=url,
        model=settings.engine.served,
        node=settings.node,
        engine=settings.engine.engine.value,
        process=Process.this(),
        started_at=now,
        heartbeat_at=now,
        job=settings.job,
        restarts=settings.restarts,
        key_file=str(settings.key_file) if settings.key_file is not None else None,
        log_file=str(settings.log_file),
        detail="loading the model",
    )
    published = PublishedLease(settings.folder, lease)
    published.update()
    return published


async def _is_free(settings: ServeSettings, stopping: Stopping, say: Callable[[str], None]) -> bool:
    """Whether the name may be taken; False when a stop was asked for meanwhile. Raises: UsageError."""
    first, doubtful = _look(settings)
    who = Holder.UNSURE if doubtful else holder(first, Process.this(), settings.job, settings.restarts)
    if who is Holder.SOMEBODY and first is not None:
        raise name_taken(first)
    if who is Holder.NOBODY:
        return True
    where = f"on {first.process.host} " if first is not None else ""
    seconds = WATCHED_HEARTBEATS * settings.pace.heartbeat_s
    say(f"a server {where}was published as {settings.name} before: watching for {seconds:g} s whether it lives")
    for _ in range(WATCHED_HEARTBEATS):
        if await stopping.asked_within(settings.pace.heartbeat_s):
            return False
        now, _ = _look(settings)
        if now is not None and now != first:
            raise name_taken(now)
    return True


def _look(settings: ServeSettings) -> tuple[Lease | None, bool]:
    """The lease of this name, and whether there is something there that is none."""
    leases = read_leases(settings.output_dir)
    return leases.found.get(settings.name), settings.name in leases.ignored


def _reserve(settings: ServeSettings) -> None:
    """Of two that start with one name in the same moment, only one gets past this. Raises: UsageError, SaveFailed."""
    path = lease_path(settings.folder, settings.name)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise UsageError(
            f"server {settings.name!r}: another one starts with this name in this moment. Give each its own --name."
        ) from error
    except OSError as error:
        raise SaveFailed(f"{path}: cannot be made ({error.strerror}). Check the folder and the disk.") from error
