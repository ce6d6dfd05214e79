"""`captionqa serve` as a process, for tests: the real supervisor with the stand-in or with real vLLM behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from captionqa.server.lease import Lease, LeaseState, log_path, read_key, read_leases, servers_folder
from tests.forks import RESOURCES, ROOT

TINY_MODEL = ROOT / "tests/vllm/model"
SERVED_AS = "Qwen/Qwen3-VL-4B-Instruct"
"""The tiny model goes by the name of the smallest model that people serve."""
START_S = 900.0
"""Patience, not a bound: a start of vLLM takes 20 s on two idle cores, and minutes on busy ones."""
_OWN = ("CAPTIONQA_", "SLURM_", "OPENAI_", "VLLM_")
_ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1"}

ResultT = TypeVar("ResultT")


def until(holds: Callable[[], ResultT], what: str, within_s: float = START_S) -> ResultT:
    """Asks until it is true."""
    deadline = time.monotonic() + within_s
    while not (result := holds()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)
    return result


@dataclass(frozen=True)
class Engine:
    """What a server runs."""

    name: str
    """``standin`` or ``vllm``; as it stands in the tests' names."""
    arguments: tuple[str, ...] = ()
    """Of `captionqa serve`."""
    extra: tuple[str, ...] = ()
    """Of the engine, behind «--»."""
    environment: dict[str, str] = field(default_factory=dict)


def stand_in(*extra: str) -> Engine:
    return Engine("standin", ("--engine", "standin", "--served-model-name", SERVED_AS), extra)


def vllm(machine: str, command: str, *extra: str) -> Engine:
    """Real vLLM with the tiny model. ``machine``: cpu or gpu."""
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    # Without it the first request for logprobs compiles for 12 s on a CPU.
    on_cpu = {"TORCH_COMPILE_DISABLE": "1", **_ON_CPU} if machine == "cpu" else {}
    # Without instructions for bfloat16 (AVX2 alone) a CPU takes three times as long for it.
    flags = ("--enforce-eager", "--dtype", "float32") if machine == "cpu" else ()
    named = ("--served-model-name", SERVED_AS, "--vllm-command", command)
    return Engine("vllm", (str(TINY_MODEL), *named), (*flags, *extra), quiet | on_cpu)


@dataclass
class Serve:
    """One `captionqa serve` and all the processes that came of it."""

    process: subprocess.Popen[bytes]
    output: Path
    name: str
    log: Path
    """What `captionqa serve` itself printed."""

    @property
    def lease(self) -> Lease | None:
        return read_leases(self.output).found.get(self.name)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def until_ready(self, *, after: Lease | None = None) -> Lease:
        """``after``: a lease whose start is over; the next one's is meant."""

        def ready() -> Lease | None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}\n{self.said}"
            lease = self.lease
            return lease if lease is not None and lease.state is LeaseState.READY else None

        lease = until(ready, f"{self.name} is ready:\n{self.said}")
        assert after is None or lease.url == after.url
        return lease

    def until_said(self, words: str, within_s: float = START_S) -> None:
        until(lambda: words in self.said, f"it says «{words}»", within_s)

    @property
    def key(self) -> str:
        lease = self.lease
        assert lease is not None
        key = read_key(lease)
        assert key is not None
        return key

    @property
    def pids(self) -> list[int]:
        """Every living process of its engines, orphans included: those that print to the engines' log. (vLLM's write
        their titles over their environment, so a mark in there would not do.)"""
        printed = str(log_path(servers_folder(self.output), self.name))
        return [pid for pid in _processes() if printed in (_printing_to(pid, 1), _printing_to(pid, 2))]

    def processes(self, title: str) -> list[int]:
        """Those of them whose command line holds the words."""
        return [pid for pid in self.pids if title.encode() in _read(pid, "cmdline")]

    def stop(self, *signals: signal.Signals) -> int:
        """The exit status."""
        for number in signals or (signal.SIGTERM,):
            if self.process.poll() is None:
                self.process.send_signal(number)
        status = self.process.wait(START_S)
        if self.process.stdin is not None:
            self.process.stdin.close()
        return status


def serve(engine: Engine, output: Path, name: str, *arguments: object, pace: dict[str, float] | None = None) -> Serve:
    """Starts one; ``arguments`` are `captionqa serve`'s."""
    output.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    command = [sys.executable, *RESOURCES, "-m", "captionqa", "serve", *engine.arguments]
    # On a lifeline: a server goes when the tests go, however they end.
    command += ["--host", "127.0.0.1", "--output-dir", str(output), "--name", name, "--lifeline"]
    command += ["--pace", json.dumps({"poll_s": 0.1, **(pace or {})}), *map(str, arguments), "--", *engine.extra]
    log = output / f"{name}-{uuid.uuid4().hex}.out"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=kept | engine.environment,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return Serve(process, output, name, log)


def end_all(servers: Sequence[Serve]) -> None:
    """For the end of a fixture: whatever a test left behind."""
    for server in servers:
        server.stop(signal.SIGTERM, signal.SIGTERM)
    for server in servers:
        for pid in server.pids:
            os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    """All that live; zombies are none."""
    return [
        int(entry) for entry in os.listdir("/proc") if entry.isdecimal() and b") Z" not in _read(int(entry), "stat")
    ]


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:  # gone, or not ours
        return b""


def _printing_to(pid: int, descriptor: int) -> str:
    """What a process' standard output or error is."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return ""
