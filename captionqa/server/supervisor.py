"""Supervises one engine: starts it, says where it is, watches it, starts it again, ends it.

    start ─► wait until ready ─► look after it ─┐
      ▲          │ died, stuck                  │ died, stuck          stop asked, in any state
      └──────────┴───── restart or give up ◄────┘                      └─► drain ─► end ─► lease removed

In: `ServeSettings` and a `Stopping`. Out: an `Ending`, and meanwhile a lease that tells clients the state. The engine's
exit status is never trusted (vLLM exits 0 after a crash), nor is /health (200 while its workers hang): unasked is
unasked, and only completions prove life.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn

import aiohttp

from captionqa.errors import ExitCode, UsageError
from captionqa.server.addresses import base_url, free_port, local_host, published_host
from captionqa.server.child import Child, Log
from captionqa.server.diagnosis import describe_status, find_cause, port_was_taken, tail
from captionqa.server.engines import EngineCommand, engine_environment, render_command
from captionqa.server.heart import Heart
from captionqa.server.lease import LeaseState, key_path
from captionqa.server.probe import Probe
from captionqa.server.publication import publish
from captionqa.server.restarts import Restarts
from captionqa.server.settings import ServeSettings
from captionqa.server.stopping import Reason, Stopping, margin_s
from captionqa.server.watch import EngineRefused, EngineStuck, Watch

TAIL_LINES = 30
PORT_TRIES = 5
"""Starts with another port after the engine found its own taken."""
SCANCEL_DRAIN_S = 15.0
"""SLURM kills a job 30 s (KillWait) after it has sent SIGTERM, to the engine as well: time to take the lease back."""
SETTLE_S = 10.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a supervisor ended."""

    code: ExitCode
    error: str = ""
    """What failed, where, and what to do."""
    served: int = 0
    """Requests of clients that the engine finished, as far as its metrics told."""


class _StopAsked(Exception):
    pass


class _EngineDied(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"ended unasked ({describe_status(status)})")
        self.status = status


class _CannotStart(Exception):
    pass


class Supervisor:
    def __init__(self, settings: ServeSettings, stopping: Stopping, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._pace = settings.pace
        self._stopping = stopping
        self._say = say
        self._restarts = Restarts(
            settings.max_restarts, self._pace.backoff_first_s, self._pace.backoff_most_s, self._pace.healthy_s
        )
        self._log = Log(settings.log_file)
        self._port = 0
        self._port_tries = 0
        self._been_ready = False
        self._served = 0
        self._child: Child | None = None
        self._watch: Watch | None = None
        self._command: EngineCommand | None = None
        self._heart: Heart
        self._beat: asyncio.Task[None]
        self._http: aiohttp.ClientSession

    async def run(self) -> Ending:
        """Until a stop is asked for or nothing more helps.

        Raises: UsageError for a port or a name that is taken, or a folder that is not ours; SaveFailed when not even
        the first lease can be written.
        """
        settings, stopping = self._settings, self._stopping
        stopping.attach()
        if settings.lifeline is not None:
            stopping.hold_lifeline(settings.lifeline)
        self._port = self._first_port()
        published = await publish(settings, self._url(), stopping, self._say)
        if published is None:  # stopped while it looked whether the name is free
            return Ending(self._stopped_code())
        self._heart = Heart(published, self._pace.heartbeat_s, say=self._say, on_lost=self._lost_name)
        self._log.put_large_aside()
        self._say(f"{settings.name}: lease {published.path}; the engine prints to {self._log.path}")
        # No proxy leads to an engine, and no connection outlives it: the next one may have the same port.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as self._http:
            self._beat = asyncio.create_task(self._heart.beat())
            limit = asyncio.create_task(self._until_time_limit())
            try:
                ending = await self._supervise()
            finally:
                await self._end_child(term_s=0)  # nothing is left behind, also after a bug
                limit.cancel()
                self._heart.stop()
                await asyncio.wait([self._beat, limit], timeout=SETTLE_S)
        if not ending.error:
            published.remove()
        elif not published.is_taken_over():
            key_path(settings.folder, settings.name).unlink(missing_ok=True)
        return ending

    async def _supervise(self) -> Ending:
        while True:
            try:
                await self._start()
                await self._guarded(self._live())
            except _StopAsked:
                return await self._drain()
            except (_CannotStart, EngineRefused) as error:
                return await self._fail(str(error))
            except (_EngineDied, EngineStuck) as end:
                # A plain scancel sends SIGTERM to every process of a job: the engine may just have been faster than us.
                if await self._stopping.asked_within(self._pace.exit_grace_s):
                    return await self._drain()
                status = self._child.status if self._child is not None else None
                # One that answers nothing may just be on its way out: then its exit says more.
                failed = await self._start_again(end if status is None else _EngineDied(status))
                if failed is not None:
                    return failed

    async def _start(self) -> None:
        """Raises: _CannotStart, _StopAsked."""
        if self._stopping.asked:
            raise _StopAsked
        settings = self._settings
        await self._keep_or_change_port()
        self._command = command = render_command(settings.engine, settings.host, self._port)
        environment = engine_environment(command, os.environ, settings.key)
        shown = command.shown(settings.key_file)
        self._say(f"runs: {shown}")
        try:
            output = self._log.open(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {shown}")
        except OSError as error:
            raise _CannotStart(f"{self._log.path}: cannot be written ({error.strerror}). Check the disk.") from error
        try:
            self._child = await Child.spawn(command.argv, environment, output)
        except OSError as error:
            raise _CannotStart(
                f"{command.argv[0]}: cannot be run ({error.strerror}). Install vLLM here (from a checkout: "
                "pip install '.[server]'), name it with --vllm-command, or give a --container"
            ) from error
        finally:
            os.close(output)
        self._served = self._clients_served()
        probe = Probe(self._http, base_url(local_host(settings.host), self._port), settings.engine.served, settings.key)
        self._watch = Watch(probe, self._log, self._pace, vision=settings.vision, stall_s=settings.stall_s)

    async def _live(self) -> NoReturn:
        """From start to end. Raises: EngineStuck, EngineRefused."""
        assert self._watch is not None
        started = time.monotonic()
        await self._watch.until_ready()
        if await self._watch.probe.answers_without_key():
            raise EngineRefused(
                "the engine serves everybody, also without its key: VLLM_API_KEY did not reach it. A container or a "
                "wrapper (--vllm-command) may clear the environment. If it is meant so, say --no-api-key"
            )
        version = await self._watch.probe.version()
        self._heart.tell(state=LeaseState.READY, detail="", version=version, url=self._url())
        self._been_ready = True
        asked = "an image" if self._settings.vision else "a text"
        self._say(f"ready: {self._url()} answered {asked} request, {time.monotonic() - started:.0f} s after its start")
        await self._watch.look_after(self._say)

    async def _guarded(self, work: Coroutine[Any, Any, NoReturn]) -> None:
        """Do this until a stop is asked for or the engine ends. Raises: what happened, always."""
        assert self._child is not None
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(one) for one in (self._stopping.until_asked(), self._child.wait(), work)
        ]
        try:
            await asyncio.wait([*tasks, self._beat], return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.asked:
                raise _StopAsked
            if self._beat.done():
                await self._beat  # a bug, which must not leave a server without a heartbeat
            if self._child.status is not None:
                raise _EngineDied(self._child.status)
            await tasks[-1]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start_again(self, end: _EngineDied | EngineStuck) -> Ending | None:
        """Clean up after an engine and wait for the next start; an `Ending` when there is to be none."""
        ready_s = self._watch.ready_s if self._watch is not None else 0.0
        await self._end_child(term_s=0)
        printed = self._log.end()
        if isinstance(end, _EngineDied) and not ready_s:
            if self._settings.port is None and port_was_taken(printed) and self._port_tries < PORT_TRIES:
                self._port_tries += 1
                self._say(f"port {self._port} was taken by another process meanwhile: trying another one")
                self._port = 0
                return None
            if not self._been_ready:
                return await self._fail(f"the engine {end} before it was ready", end.status)
        delay = self._restarts.after(ready_s)
        status = end.status if isinstance(end, _EngineDied) else None
        if delay is None:
            return await self._fail(f"the engine {end}, after {self._restarts.count} restarts", status)
        cause = find_cause(printed, status)
        why = f"{end}{f': {cause.what}' if cause else ''}"
        detail = f"restart {self._restarts.count} of {self._restarts.most}: the engine {why}"
        self._heart.tell(state=LeaseState.STARTING, detail=detail)
        self._say(f"{detail}; starts again in {delay:g} s. It printed last:\n{tail(printed, 5)}")
        return await self._drain() if await self._stopping.asked_within(delay) else None

    async def _fail(self, what: str, status: int | None = None) -> Ending:
        """Give up: clients that wait are told, and the user is told why."""
        await self._end_child(term_s=self._pace.term_s)
        printed = self._log.end()
        cause = find_cause(printed, status)
        detail = f"{what}{f': {cause.what}' if cause else ''}"
        self._heart.tell(state=LeaseState.FAILED, detail=" ".join(detail.split())[:500], key_file=None)
        await self._heart.settle(SETTLE_S)
        if self._settings.key is not None:
            printed = printed.replace(self._settings.key, "…")
        lines = [f"server {self._settings.name}: {detail}."]
        if printed:
            lines += [f"The end of {self._log.path}:", tail(printed, TAIL_LINES)]
        if cause is not None:
            lines.append(cause.way_out)
        elif printed:
            lines.append("The log above is the engine's own; run the command printed above by hand to try things out.")
        return Ending(ExitCode.ERROR, "\n".join(lines), self._clients_served())

    async def _drain(self) -> Ending:
        """Let requests finish, end the engine."""
        stopping, settings = self._stopping, self._settings
        self._heart.tell(state=LeaseState.DRAINING, detail=f"stopped by {stopping.source}")
        # One that was not ready yet has nobody's requests.
        ready = self._watch is not None and self._watch.ready_s > 0
        if ready and self._watch is not None and self._child is not None and self._child.status is None:
            drain_s = settings.drain_s
            if settings.job is not None and stopping.source == "SIGTERM":
                drain_s = min(drain_s, SCANCEL_DRAIN_S)
            self._say(f"{stopping.source}: draining, at most {drain_s:g} s (again: at once)")
            ends = asyncio.create_task(self._child.wait())
            drained = asyncio.create_task(self._watch.until_drained(drain_s))
            again = asyncio.create_task(stopping.until_asked(times=2))
            await asyncio.wait([ends, drained, again], return_when=asyncio.FIRST_COMPLETED)
            for task in (ends, drained, again):
                task.cancel()
            await asyncio.gather(ends, drained, again, return_exceptions=True)
        await self._end_child(term_s=self._pace.term_s)
        served = self._clients_served()
        self._say(f"stopped ({stopping.source}); {served} requests of clients were finished")
        if stopping.reason is Reason.LOST_NAME:
            return Ending(
                ExitCode.ERROR, f"server {settings.name}: {stopping.source}. Give each its own --name.", served
            )
        return Ending(self._stopped_code(), served=served)

    async def _end_child(self, term_s: float) -> None:
        """The engine and all that it started."""
        if self._child is None:
            return
        left = await self._child.end(term_s, self._pace.kill_s, impatient=lambda: self._stopping.times > 2)
        if left:
            self._say(f"processes {', '.join(map(str, left))} of the engine survive SIGKILL: the node may be ill")

    async def _keep_or_change_port(self) -> None:
        """The port of the start before, if it is free again. Raises: _CannotStart, _StopAsked."""
        deadline = time.monotonic() + self._pace.port_wait_s
        while self._port and free_port(self._settings.host, self._port) is None:
            if self._settings.port is None:
                self._port = 0
            elif time.monotonic() > deadline:
                raise _CannotStart(f"port {self._port}: taken by another process since the engine ended")
            elif await self._stopping.asked_within(self._pace.poll_s):
                raise _StopAsked
        if not self._port:
            self._port = self._first_port()
        self._heart.tell(url=self._url())

    def _first_port(self) -> int:
        settings = self._settings
        port = free_port(settings.host, settings.port)
        if port is None:
            raise UsageError(
                f"--port {settings.port}: taken by another process on this node. Leave it out (a free one is found, "
                "and clients are told), or give another."
            )
        return port

    async def _until_time_limit(self) -> None:
        if self._settings.end_time is None:
            return
        remaining_s = self._settings.end_time - time.time()
        await asyncio.sleep(max(0.0, remaining_s - margin_s(remaining_s, self._settings.drain_s)))
        self._stopping.ask(Reason.COME_BACK, "the job's time limit")

    def _url(self) -> str:
        return base_url(published_host(self._settings.host, self._settings.address), self._port)

    def _lost_name(self) -> None:
        self._stopping.ask(Reason.LOST_NAME, "another server has taken over its name")

    def _stopped_code(self) -> ExitCode:
        return ExitCode.STOPPED if self._stopping.reason is Reason.COME_BACK else ExitCode.COMPLETE

    def _clients_served(self) -> int:
        return self._served + (self._watch.clients_served if self._watch is not None else 0)
