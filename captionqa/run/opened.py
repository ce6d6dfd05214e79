"""A run's servers, followed for as long as something is asked of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable

from captionqa.run.connection import ChatConnection, Http
from captionqa.run.discovery import Servers
from captionqa.run.endpoints import EndpointPool, FindOut, only_what_it_says

CONNECT_TIMEOUT_S = 15.0


@contextlib.asynccontextmanager
async def following(
    servers: Servers,
    model: str | None,
    *,
    limit: int,
    server_wait_s: float,
    request_timeout_s: float,
    say: Callable[[str], None],
    find_out: FindOut = only_what_it_says,
) -> AsyncIterator[tuple[EndpointPool, Http]]:
    """The pool of these servers, kept true while the block runs; open it with `EndpointPool.open`.

    Args:
        model: the served model that is wanted; None takes the one that is there.
        limit: requests that one server is given at a time.
    """
    http = Http(connect_timeout_s=CONNECT_TIMEOUT_S, request_timeout_s=request_timeout_s)
    pool = EndpointPool((), limit=limit, server_wait_s=server_wait_s, say=say, find_out=find_out)
    follower = asyncio.create_task(servers.follow(pool, functools.partial(ChatConnection, http), model))
    try:
        yield pool, http
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
        await pool.close()
        await http.aclose()
