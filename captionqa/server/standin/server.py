"""Runs a stand-in: in the foreground until a signal, or beside a test in a thread.

In: a configuration and an address. Out: a listening server. Never stays behind: signals, `StandInServer.stop` and
leaving its ``with`` block end it within its grace period.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from types import TracebackType

from aiohttp import web

from captionqa.errors import UsageError
from captionqa.server.standin.app import STANDIN, StandIn, build_app
from captionqa.server.standin.config import StandInConfig
from captionqa.server.standin.engine import Ledger
from captionqa.server.standin.faults import Faults

START_TIMEOUT_S = 30
_TURNS = 5
"""Of the event loop; one or two more than it needs to open or close a connection."""


def serve(
    config: StandInConfig,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; then requests in flight get ``config.grace_s`` seconds to finish.

    Args:
        port: 0 picks a free one.
        ready: called once with the base URL, ending in ``/v1``, when the server listens.

    Raises:
        UsageError: the address cannot be used.
    """
    asyncio.run(_serve_until_signal(config, host, port, ready))


async def _serve_until_signal(config: StandInConfig, host: str, port: int, ready: Callable[[str], None] | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _listening(_runner(config, Ledger()), host, port) as bound:
        if ready is not None:
            ready(_url(host, bound))
        await stop.wait()


def _runner(config: StandInConfig, ledger: Ledger) -> web.AppRunner:
    # A time-out of 0 would mean «wait for ever» to aiohttp.
    grace_s = max(config.grace_s, 0.001)
    app = build_app(config, ledger=ledger)
    return web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=grace_s)


@contextlib.asynccontextmanager
async def _listening(runner: web.AppRunner, host: str, port: int) -> AsyncIterator[int]:
    """Gives the port. At the end what is in flight may finish within the grace, and no connection stays open."""
    await runner.setup()
    try:
        assert runner.server is not None, "it was set up"
        try:
            server = await asyncio.get_running_loop().create_server(runner.server, host, port, backlog=1024)
        except OSError as error:
            raise UsageError(
                f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port, or 0."
            ) from error
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            held = await _accepted(server, runner.server)
            server.close()
    except BaseException:
        await runner.cleanup()
        raise
    await runner.cleanup()
    for transport in held:
        transport.abort()  # closing alone waits for a peer that reads no more
    for _ in range(_TURNS):  # in one of its next turns the loop closes what was aborted
        await asyncio.sleep(0)


async def _accepted(server: asyncio.Server, handlers: web.Server) -> list[asyncio.Transport]:
    """Accepts nothing more, and returns the connections there are.

    A connection takes three turns of the loop until it is known. One that is on its way when listening ends is dropped
    without being closed (Python before 3.12); one that comes when aiohttp has closed those it knew stays open, with
    nobody behind it.
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    return [one.transport for one in handlers.connections if isinstance(one.transport, asyncio.Transport)]


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{reachable}:{port}/v1"


class StandInServer:
    """A stand-in in a thread of this process, for tests.

        with StandInServer(StandInConfig(faults=Faults(busy_rate=0.2))) as server:
            client = OpenAI(base_url=server.url, api_key="none")

    `stats` counts on over a restart.
    """

    def __init__(self, config: StandInConfig | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.config = config or StandInConfig()
        self._host = host
        self._port = port
        self._ledger = Ledger()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._standin: StandIn | None = None
        self._stop: asyncio.Event | None = None

    @property
    def port(self) -> int:
        """0 until the server has listened once; then the same for all its restarts."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL, ending in ``/v1``."""
        return _url(self._host, self._port)

    def start(self) -> None:
        """Returns when the server listens."""
        started = threading.Event()
        failures: list[UsageError] = []
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started, failures)), name="standin", daemon=True
        )
        self._thread.start()
        if not started.wait(START_TIMEOUT_S):
            raise TimeoutError(f"The stand-in did not listen on {self._host}:{self._port} in {START_TIMEOUT_S} s.")
        if failures:
            self._thread.join()
            raise failures[0]

    def stop(self, *, abort: bool = False) -> None:
        """Stops listening. Requests in flight get ``config.grace_s`` seconds, or are dropped at once (``abort``)."""
        if self._thread is None or self._loop is None or self._stop is None or self._standin is None:
            return
        # The loop is gone already if the server failed; then there is nothing to tell it.
        with contextlib.suppress(RuntimeError):
            if abort:
                self._loop.call_soon_threadsafe(self._standin.drop_open)
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None

    def restart(self, *, abort: bool = False) -> None:
        """Stops and starts again on the same port, with the faults set last."""
        self.stop(abort=abort)
        self.start()

    def set_faults(self, faults: Faults) -> None:
        """From the next request on."""
        self.config = replace(self.config, faults=faults)
        if self._standin is not None:
            self._standin.set_faults(faults)

    def stats(self) -> dict[str, int]:
        """As ``GET /standin/stats``, also while the server is stopped."""
        return self._ledger.stats()

    def __enter__(self) -> StandInServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(abort=True)

    async def _run(self, started: threading.Event, failures: list[UsageError]) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        runner = _runner(self.config, self._ledger)
        self._standin = runner.app[STANDIN]
        async with contextlib.AsyncExitStack() as stack:
            with _reported(started, failures):
                self._port = await stack.enter_async_context(_listening(runner, self._host, self._port))
            if not failures:
                await self._stop.wait()


@contextlib.contextmanager
def _reported(started: threading.Event, failures: list[UsageError]) -> Iterator[None]:
    """Hands a failure to the thread that waits, and lets it go on either way."""
    try:
        yield
    except UsageError as error:
        failures.append(error)
    finally:
        started.set()
