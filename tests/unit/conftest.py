"""Fakes that several test files need."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from captionqa.core.replies import Completion, NoAnswer, Verdict


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


def gone() -> NoAnswer:
    return NoAnswer(Verdict.TRANSIENT, "connection", "connection refused")


@pytest.fixture
def fake_server() -> type[FakeServer]:
    return FakeServer
