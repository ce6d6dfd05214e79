"""Running a session for a program: in a thread of its own, because the caller may be within an event loop (a notebook)
and because a library installs no signal handlers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from captionqa.run.signals import RemoteStop

ResultT = TypeVar("ResultT")


def apart(work: Callable[[RemoteStop], ResultT]) -> ResultT:
    """What ``work`` returns or raises, from another thread.

    Ctrl-C stops it as it stops a command: the first lets requests in flight finish, the second does not. Raises:
    KeyboardInterrupt then, when the work has ended.
    """
    remote = RemoteStop()
    interrupted: KeyboardInterrupt | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="captionqa") as threads:
        future = threads.submit(work, remote)
        while not _wait(future):
            interrupted = KeyboardInterrupt()
            remote.stop("SIGINT")
        if interrupted is not None:
            raise interrupted from future.exception()
        return future.result()


def _wait(future: Future[ResultT]) -> bool:
    """False when Ctrl-C came before the end."""
    try:
        future.exception()
    except KeyboardInterrupt:
        return False
    return True
