"""Fakes that several test files need."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from captionqa.core.replies import Completion, NoAnswer, Tokens, Verdict
from captionqa.data.drawn import draw_dataset
from captionqa.server.standin import StandInConfig, StandInServer


class FakeServer:
    """A server as `endpoints.Connection` sees it: it does what its attributes say."""

    def __init__(self, url: str = "http://a/v1") -> None:
        self.url = url
        self.served: dict[str, int | None] = {"org/model": 4096}
        self.down: NoAnswer | None = None
        """What everything is answered with while this is set."""
        self.looks_until_up = 0
        """How often it is looked for until it is up again; 0: not by itself."""
        self.no_list: NoAnswer | None = None
        self.script: deque[NoAnswer | str] = deque()
        """Answers to the next requests; then each is answered «yes»."""
        self.canary_script: deque[NoAnswer] = deque()
        self.dies_at: tuple[bytes, ...] = ()
        """Requests that it does not survive: it is down after each, until it is looked for."""
        self.hold: asyncio.Event | None = None
        """While set, answers wait for it."""
        self.requests: list[bytes] = []
        self.canaries = 0
        self.lists = 0
        self.tokens: Callable[[bytes], Tokens | NoAnswer] | None = None
        """How it counts the prompt of a request."""
        self.counted: list[bytes] = []

    async def models(self) -> dict[str, int | None]:
        self.lists += 1
        await asyncio.sleep(0)
        if self.looks_until_up:
            self.looks_until_up -= 1
            if self.looks_until_up == 0:
                self.down = None
        if self.down or self.no_list:
            raise self.down or self.no_list
        return self.served

    async def complete(self, body: bytes) -> Completion:
        canary = b'"max_tokens":1,' in body
        self.canaries += canary
        if not canary:
            self.requests.append(body)
        await asyncio.sleep(0)
        if self.hold is not None:
            await self.hold.wait()
        if body in self.dies_at:
            self.down, self.looks_until_up = gone(), 2
        if self.down:
            raise self.down
        script = self.canary_script if canary else self.script
        answer = script.popleft() if script else "yes"
        if isinstance(answer, NoAnswer):
            raise answer
        return Completion(answer, "stop", None, {"prompt_tokens": 3})

    async def tokenize(self, body: bytes) -> Tokens:
        """By default as a server without ``/tokenize``."""
        self.counted.append(body)
        await asyncio.sleep(0)
        if self.tokens is None:
            raise NoAnswer(Verdict.REFUSED, "http_404", "Not Found")
        found = self.tokens(body)
        if isinstance(found, NoAnswer):
            raise found
        return found


def gone() -> NoAnswer:
    return NoAnswer(Verdict.TRANSIENT, "connection", "connection refused")


@pytest.fixture
def fake_server() -> type[FakeServer]:
    return FakeServer


@dataclass(frozen=True)
class Reply:
    """What a scripted server does with one request."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = None
    """Content-Length that is claimed; None: the body's own. -1: none, so that the body ends with the connection."""
    holds: threading.Event | None = None
    """After the body the connection stays open until this is set."""


class ScriptedHttp:
    """A real HTTP server that answers request after request with the next reply; the last one again and again."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """Of each: the request line's path, its headers (lower case), its body."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply()

            def do_POST(self) -> None:
                self._reply()

            def _reply(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.path, headers, body))
                reply = outer.replies[min(len(outer.requests), len(outer.replies)) - 1]
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                if reply.length != -1:
                    self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
                self.end_headers()
                self.wfile.write(reply.body)
                self.wfile.flush()
                if reply.holds is not None:
                    reply.holds.wait(30)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def scripted_http() -> Iterator[ScriptedHttp]:
    server = ScriptedHttp()
    yield server
    server.stop()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, without the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("CAPTIONQA_", "SLURM_", "OPENAI_", "VLLM_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def standin_url() -> Iterator[str]:
    """A stand-in server that does everything right, for all tests of this process."""
    with StandInServer(StandInConfig(grace_s=0.5)) as server:
        yield server.url


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``images/`` with 6 drawn images, and ``questions.parquet`` with 2 questions about each."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_dataset(folder, images=6, questions_per_image=2)
    return folder
