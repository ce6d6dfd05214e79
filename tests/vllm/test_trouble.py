"""What goes wrong with real vLLM while two runs are on their way.

Nothing is lost, nothing partial is kept as an answer, no process stays behind. Each test leaves a server that is ready.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Serve, until
from tests.standin.conftest import Started

from .conftest import Shaken, Work

ON_THE_WAY = 25
"""Answers in each journal when the trouble comes."""
RUN_S = 900.0
"""Patience for a run with a restart of the server in it."""


def on_their_way(work: Work, run_name: str, *options: object) -> list[Started]:
    """Both runs, with some answers each."""
    started = [work.cli.start(*command) for command in work.commands(run_name, *options)]
    for one, files in zip(started, (work.captions(run_name), work.answers(run_name)), strict=True):
        one.until(lambda files=files: files.journal.exists() and len(files.records()) >= ON_THE_WAY)
    return started


def finish(work: Work, run_name: str, started: list[Started]) -> dict[str, Any]:
    """Waits for both to end by themselves, with everything answered. Returns what they made."""
    for one in started:
        ended = one.ended(RUN_S)
        assert ended.code == 0, f"exit {ended.code}\n{ended.out}\n{ended.err}"
    for files in (work.captions(run_name), work.answers(run_name)):
        kept = [record for record in files.records() if record.get("finish_reason") not in ("stop", "length", None)]
        assert kept == []
    return work.exports(run_name)


def worker(server: Serve) -> int:
    """A process that computes: vLLM's worker, or its engine where that computes by itself (one GPU)."""
    (pid,) = (server.processes("VLLM::Worker") or server.processes("VLLM::EngineCore"))[:1]
    return pid


def main_process(server: Serve) -> int:
    (pid,) = (
        int(word) for word in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    )
    return pid


def until_gone(server: Serve, pids: list[int]) -> None:
    until(lambda: not set(pids) & set(server.pids), "the processes of the engine before are gone")


TROUBLES: dict[str, tuple[Callable[[Serve], int], signal.Signals]] = {
    "the engine core is killed": (lambda server: server.processes("VLLM::EngineCore")[0], signal.SIGKILL),
    "the main process is killed": (main_process, signal.SIGKILL),
    "the main process is told to end by somebody else": (main_process, signal.SIGTERM),
    "a worker hangs": (worker, signal.SIGSTOP),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_engine_in_trouble_is_started_again_and_the_runs_go_on(
    work: Work, shaken: Shaken, undisturbed: dict[str, Any], trouble: str
) -> None:
    victim, number = TROUBLES[trouble]
    server, run_name = shaken.server, trouble.replace(" ", "-")
    before = server.pids
    restarts = server.said.count("; starts again in ")
    started = on_their_way(work, run_name)
    os.kill(victim(server), number)
    assert finish(work, run_name, started) == undisturbed
    until(lambda: server.said.count("; starts again in ") > restarts, "the supervisor has noticed")
    server.until_ready()
    until_gone(server, before)


def test_a_server_that_is_stopped_and_started_on_the_same_port_loses_nothing(
    work: Work, shaken: Shaken, undisturbed: dict[str, Any]
) -> None:
    """The second signal skips the drain: vLLM cuts what is in flight, with 200, finish_reason «abort», half a text."""
    started = on_their_way(work, "same-port", *shaken.address)
    stopped = shaken.server
    assert stopped.stop(signal.SIGTERM, signal.SIGTERM) == 0
    assert stopped.pids == []
    assert stopped.lease is None
    shaken.start()
    assert finish(work, "same-port", started) == undisturbed


def test_a_server_that_drains_lets_what_runs_finish(work: Work, shaken: Shaken, undisturbed: dict[str, Any]) -> None:
    """Found by its lease, the runs end with what they have when no server is left, and go on with the next one."""
    started = on_their_way(work, "drained")
    assert shaken.server.stop() == 0
    assert shaken.server.pids == []
    for one in started:
        assert one.ended(RUN_S).code in (0, 1)
    shaken.start()
    shaken.server.until_ready()
    assert finish(work, "drained", [work.cli.start(*command) for command in work.commands("drained")]) == undisturbed
