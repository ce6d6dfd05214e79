"""Probes: what a server does with a field, not what it says to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from captionqa.core.abilities import Abilities
from captionqa.core.replies import Completion, NoAnswer, Tokens, Verdict
from captionqa.errors import ServerRefused
from captionqa.run.abilities import finding_out
from captionqa.run.answer_probes import constrains_choices, shows_open_thinking
from captionqa.run.endpoints import Connection

NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


class Server:
    """Answers as its function says; the requests are kept."""

    url = "http://a/v1"

    def __init__(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    async def models(self) -> dict[str, int | None]:
        return {"m": 4096}

    async def complete(self, body: bytes) -> Completion:
        return self._answer(body)

    async def tokenize(self, body: bytes) -> Tokens:
        return self._answer(body)

    def _answer(self, body: bytes) -> Any:
        self.asked.append(json.loads(body))
        found = self.answer(self.asked[-1])
        if isinstance(found, NoAnswer):
            raise found
        return found


def said(text: str, finish_reason: str = "stop", reasoning: str | None = None) -> Completion:
    return Completion(text, finish_reason, reasoning, {})


def find_out(server: Connection, *probes: Any) -> Abilities:
    return asyncio.run(finding_out(probes)(server, "m", 4096))


def test_a_server_that_keeps_to_the_choices_passes() -> None:
    server = Server(lambda asked: said(asked["structured_outputs"]["choice"][0]))
    assert find_out(server, constrains_choices(NO_THINKING)) == Abilities(4096)
    asked = server.asked[0]
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert asked["temperature"] == 0
    assert asked["structured_outputs"]["choice"][0] not in json.dumps(asked["messages"])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said("A"), "asked for 'captionqa 7391', it answered 'A'"),  # the field is ignored: 200 all the same
        (said("captionqa 739", "length"), "it answered 'captionqa 739'"),
        (NoAnswer(Verdict.TRANSIENT, "empty", "empty content"), "empty: empty content"),
        (NoAnswer(Verdict.REJECTED, "http_422", "Extra inputs"), "http_422: Extra inputs"),
        (said("", "length", reasoning="Let me see"), "m thinks before it answers"),
    ],
)
def test_a_server_that_does_not_is_refused_with_a_way_out(answer: Completion | NoAnswer, words: str) -> None:
    with pytest.raises(ServerRefused) as raised:
        find_out(Server(lambda _: answer), constrains_choices({}))
    assert words in str(raised.value)
    assert str(raised.value).startswith("http://a/v1: ")
    assert "--answer-mode text" in str(raised.value)


@pytest.mark.parametrize("verdict", [Verdict.TRANSIENT, Verdict.BUSY, Verdict.REFUSED])
def test_a_server_that_does_not_answer_the_probe_is_asked_again_later(verdict: Verdict) -> None:
    with pytest.raises(NoAnswer):
        find_out(Server(lambda _: NoAnswer(verdict, "http_500", "starting")), constrains_choices({}))


@pytest.mark.parametrize(
    ("strings", "opens"),
    [
        (("<|im_start|>", "assistant", "\n"), False),
        (("<|im_start|>", "assistant", "\n", "<think>", "\n"), True),
        (("assistant", "\n", "<th", "ink", ">\n"), True),
        (("assistant", "\n", "<think>", "\n\n", "</think>", "\n\n"), False),  # thinking turned off in the template
    ],
)
@pytest.mark.parametrize("assumed", [True, False])
def test_a_template_that_opens_thinking_is_seen_in_the_prompt(
    strings: tuple[str, ...], opens: bool, assumed: bool
) -> None:
    server = Server(lambda _: Tokens(len(strings), strings))
    assert find_out(server, shows_open_thinking(NO_THINKING, assumed)) == Abilities(4096, opens_thinking=opens)
    assert server.asked[0]["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    "answer",
    [
        NoAnswer(Verdict.REFUSED, "http_404", "Not Found"),
        NoAnswer(Verdict.TRANSIENT, "garbage", "/tokenize does not count"),
        NoAnswer(Verdict.REJECTED, "http_400", "no"),
        Tokens(3, None),
    ],
)
@pytest.mark.parametrize("assumed", [True, False])
def test_where_prompts_are_not_shown_the_users_word_counts(answer: NoAnswer | Tokens, assumed: bool) -> None:
    probe = shows_open_thinking({}, assumed)
    assert find_out(Server(lambda _: answer), probe) == Abilities(4096, opens_thinking=assumed)


@pytest.mark.parametrize("reason", ["connection", "timeout"])
def test_a_server_that_goes_away_meanwhile_is_greeted_again(reason: str) -> None:
    with pytest.raises(NoAnswer):
        find_out(Server(lambda _: NoAnswer(Verdict.TRANSIENT, reason, "gone")), shows_open_thinking({}, False))
