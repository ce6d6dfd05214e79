"""Whole commands as subprocesses against stand-in servers in this process: real sockets, real signals, real files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from captionqa.cli.main import commands
from captionqa.data.drawn import DrawnDataset, draw_dataset
from captionqa.server.standin import StandInConfig, StandInServer
from tests.commands import Ended, run_here
from tests.forks import RESOURCES, ROOT, Fork, Nursery

PATIENCE_S = 90.0
_OWN = ("CAPTIONQA_", "SLURM_", "OPENAI_", "VLLM_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# Nothing here speaks TLS; every process would read the machine's certificates when it imports aiohttp, for 0.15 s.
_QUICKLY = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull, "CAPTIONQA_REPORT": "0"}
WITH_REPORT = {"CAPTIONQA_REPORT": None}
"""As nobody has said anything about it."""
_NEVER_PRINTED = ("Traceback", "never retrieved", "was never awaited", "ResourceWarning", "Unclosed")


def clean_environment() -> dict[str, str]:
    """The environment of a user who has set nothing, but for what would only cost time: a report at the end of each of
    the many runs (a test that wants one says ``env=WITH_REPORT``), and certificates."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_OWN) and name.lower() not in _PROXIES
    }
    return {**kept, **_QUICKLY, "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Started:
    """A command that may still run."""

    process: subprocess.Popen[bytes] | Fork
    out_path: Path
    err_path: Path

    @property
    def err(self) -> str:
        return self.err_path.read_text(encoding="utf-8")

    @property
    def out(self) -> str:
        return self.out_path.read_text(encoding="utf-8")

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def ended(self, timeout_s: float = PATIENCE_S) -> Ended:
        """Waits. A user's error, a signal and a fault never show a traceback or a leak."""
        code = self.process.wait(timeout_s)
        ended = Ended(code, self.out, self.err)
        for words in _NEVER_PRINTED:
            assert words not in ended.err, ended.err
        return ended

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits until ``holds``, which must come true while the command runs."""
        until(lambda: holds() or not self.runs)
        assert holds(), f"ended with {self.process.returncode} before that:\n{self.err}"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@dataclass
class Cli:
    """Starts `python -m captionqa …` in a folder of its own."""

    folder: Path
    nursery: Nursery | None = None
    """Where commands are forked, which saves each a second of imports; None starts an interpreter for each."""
    started: list[Started] = field(default_factory=list)

    def start(
        self, *arguments: object, env: Mapping[str, str | None] | None = None, wrapper: Sequence[str] = ()
    ) -> Started:
        """
        Args:
            env: variables to set; None leaves one out.
            wrapper: a command line before the command, such as prlimit's.
        """
        wanted = {**clean_environment(), **(env or {})}
        environment = {name: value for name, value in wanted.items() if value is not None}
        number = len(self.started)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        out.touch()
        err.touch()
        words = tuple(map(str, arguments))
        process: subprocess.Popen[bytes] | Fork
        if self.nursery is not None and not wrapper and not any(name.startswith("PYTHON") for name in env or {}):
            process = self.nursery.start(words, self.folder, environment, out, err)
        else:
            with open(out, "wb") as out_file, open(err, "wb") as err_file:
                process = subprocess.Popen(
                    [*wrapper, sys.executable, *RESOURCES, "-m", "captionqa", *words],
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out_file,
                    stderr=err_file,
                )
        self.started.append(Started(process, out, err))
        return self.started[-1]

    def run(
        self,
        *arguments: object,
        code: int = 0,
        env: Mapping[str, str | None] | None = None,
        wrapper: Sequence[str] = (),
        timeout_s: float = PATIENCE_S,
    ) -> Ended:
        """Runs a command that must end with ``code``: in a process of its own where it is given an environment or a
        wrapper, else here, which saves a second of imports."""
        if env is None and not wrapper:
            ended = self._here(*arguments)
        else:
            ended = self.start(*arguments, env=env, wrapper=wrapper).ended(timeout_s)
        assert ended.code == code, f"exit {ended.code}, expected {code}\n{ended.out}\n{ended.err}"
        return ended

    def _here(self, *arguments: object) -> Ended:
        ended = run_here(self.folder, *arguments)
        for words in _NEVER_PRINTED:
            assert words not in ended.err, ended.err
        return ended

    def call(self, *arguments: object, code: int = 0) -> Any:
        """The same command in this process, where a test needs hundreds of them. Returns what it prints as JSON."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            result = commands.main(
                [str(argument) for argument in (*arguments, "--json")], "captionqa", standalone_mode=False
            )
        assert result == code, out.getvalue()
        return json.loads(out.getvalue())


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery(clean_environment())
    yield nursery
    nursery.close()


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: Nursery) -> Iterator[Cli]:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    for name, value in _QUICKLY.items():
        monkeypatch.setenv(name, value)
    runner = Cli(folder, nursery)
    yield runner
    for started in runner.started:
        if started.runs:
            started.kill()


@pytest.fixture
def standin() -> Iterator[Callable[..., StandInServer]]:
    """Starts stand-in servers on free ports: ``standin(api_key="…", faults=Faults(…))``."""
    servers: list[StandInServer] = []

    def start(**config: Any) -> StandInServer:
        server = StandInServer(StandInConfig(**{"grace_s": 0.5, **config}))
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(abort=True)


@pytest.fixture
def server(standin: Callable[..., StandInServer]) -> StandInServer:
    return standin()


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, as the contract names them."""

    folder: Path
    stem: str

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.stem}{suffix}"

    def read(self, suffix: str) -> Any:
        return json.loads(self.path(suffix).read_bytes())

    @property
    def journal(self) -> Path:
        return self.path(".journal.jsonl")

    def records(self) -> list[dict[str, Any]]:
        """The outcomes in the journal, without the sessions."""
        return [record for line in self.journal.read_text().splitlines() if "id" in (record := json.loads(line))]

    def snapshot(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir()) if path.is_file()}


@dataclass(frozen=True)
class Work:
    """One job to do with the drawn data set: its command line and where its files go."""

    arguments: tuple[str, ...]
    folder: str
    stem: str
    main: str
    """Suffix of the export with the answers."""
    counts: str
    """Suffix of the export with the counts."""
    size: int

    def files(self, base: Path, *, output: str = "output", run_name: str = "") -> RunFiles:
        return RunFiles(base / output / self.folder / run_name, self.stem)

    def exports(self, base: Path, *, output: str = "output", run_name: str = "") -> dict[str, Any]:
        """Everything that must be equal however a run went: bytes of the answers; counts but for the servers' URLs."""
        files = self.files(base, output=output, run_name=run_name)
        counts = files.read(self.counts)
        del counts["server_url"], counts["server_urls"]
        return {
            "answers": files.path(self.main).read_bytes(),
            "failed": files.path("_failed.json").read_bytes(),
            "counts": counts,
        }


@dataclass(frozen=True)
class Drawn:
    """The drawn data set and what an undisturbed run makes of it."""

    dataset: DrawnDataset
    folder: Path
    caption: Work
    qa: Work
    expected: dict[str, dict[str, Any]]
    """By the folder of the work: the exports of an uninterrupted run."""

    def expect(self, work: Work) -> dict[str, Any]:
        return self.expected[work.folder]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    base = tmp_path_factory.mktemp("drawn")
    dataset = draw_dataset(base / "data", images=30, questions_per_image=2)
    images, questions, folder = str(dataset.images), str(dataset.questions), str(base / "data")
    caption = Work(
        ("caption", "--dataset-path", images),
        "captions/pixel-reader",
        "pixel-reader_simple",
        ".json",
        "_summary.json",
        dataset.image_count,
    )
    qa = Work(
        ("qa", "--question-path", questions, "--dataset-path", folder),
        "qa/pixel-reader",
        "pixel-reader_qa",
        "_results.json",
        "_metrics.json",
        dataset.question_count,
    )
    runner = Cli(base)
    with StandInServer(StandInConfig(grace_s=0.5)) as server:
        for work in (caption, qa):
            runner.run(*work.arguments, "--server-url", server.url, env={})
        assert server.stats()["repeated"] == 0
    return Drawn(dataset, base / "data", caption, qa, {work.folder: work.exports(base) for work in (caption, qa)})
