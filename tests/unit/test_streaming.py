"""A streamed answer over real sockets: it is complete, or a typed error that says what came."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from captionqa.errors import ServerError, ServerRefused, Unanswered
from captionqa.run import streaming
from captionqa.run.streaming import MAX_ATTEMPTS, AnswerStream, FoundServer, Piece, StreamClient

if TYPE_CHECKING:
    from tests.unit.conftest import Reply, ScriptedHttp

EVENTS = (("Content-Type", "text/event-stream; charset=utf-8"),)
MakeReply = Callable[..., "Reply"]


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr(streaming, "BACKOFF_MOST_S", 0.002)


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    """One event in the shape of vLLM 0.32."""
    choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish, "token_ids": None}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk | fields).encode() + b"\n\n"


FIRST = event({"role": "assistant", "content": ""})
RED = event({"content": "re"}) + event({"content": "d"})
STOP = event({"content": ""}, "stop")
USAGE = event(choices=[], usage={"prompt_tokens": 7, "total_tokens": 10, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"
WHOLE = FIRST + RED + STOP + USAGE + DONE


def in_stream_error(code: int, message: str = "no") -> bytes:
    error = {"message": message, "type": "SomeError", "param": None, "code": code}
    return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"


class Asked:
    """One question to a scripted server."""

    def __init__(self, server: ScriptedHttp, *replies: Reply, key: str | None = None, timeout_s: float = 10) -> None:
        server.replies = list(replies)
        self.said: list[str] = []
        self.pieces: list[Piece] = []
        self.error: ServerError | None = None
        with StreamClient(FoundServer(f"{server.url}/v1", key, "m"), request_timeout_s=timeout_s) as client:
            messages = [{"role": "user", "content": "What color?"}]
            self.stream: AnswerStream = client.stream(messages, {"temperature": 0.0, "top_k": -1}, self.said.append)
            try:
                self.pieces.extend(self.stream)
            except ServerError as error:
                self.error = error

    @property
    def shown(self) -> str:
        return "".join(piece.text for piece in self.pieces)


def test_a_whole_stream_is_an_answer_with_all_that_was_said_about_it(
    scripted_http: ScriptedHttp, reply: MakeReply
) -> None:
    asked = Asked(scripted_http, reply(WHOLE, headers=EVENTS))
    answer = asked.stream.answer
    assert answer is not None
    assert (answer.text, answer.finish_reason, answer.truncated, answer.reasoning) == ("red", "stop", False, None)
    assert answer.usage == {"prompt_tokens": 7, "completion_tokens": 3}
    assert 0 < answer.first_piece_s <= answer.seconds
    assert asked.pieces == [Piece("re"), Piece("d")]
    ((path, _, body),) = scripted_http.requests
    sent = json.loads(body)
    assert path == "/v1/chat/completions"
    assert (sent["model"], sent["temperature"], sent["top_k"], sent["stream"]) == ("m", 0.0, -1, True)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_kept_apart_from_the_answer(scripted_http: ScriptedHttp, reply: MakeReply, name: str) -> None:
    body = FIRST + event({name: "Let me"}) + event({name: " see."}) + RED + STOP + DONE
    asked = Asked(scripted_http, reply(body, headers=EVENTS))
    assert asked.stream.answer is not None
    assert (asked.stream.answer.text, asked.stream.answer.reasoning) == ("red", "Let me see.")
    assert [piece.reasoning for piece in asked.pieces] == [True, True, False, False]


def test_an_answer_that_was_cut_at_max_tokens_is_one_and_says_so(scripted_http: ScriptedHttp, reply: MakeReply) -> None:
    asked = Asked(scripted_http, reply(FIRST + RED + event(finish="length") + DONE, headers=EVENTS))
    assert asked.stream.answer is not None
    assert asked.stream.answer.truncated
    empty = Asked(scripted_http, reply(FIRST + event(finish="length") + DONE, headers=EVENTS))
    assert empty.stream.answer is not None, "all of it went into reasoning that the server does not show"


@pytest.mark.parametrize(
    ("body", "longer", "words"),
    [
        (FIRST + RED, 0, "without a finish_reason"),
        (FIRST + RED + DONE, 0, "without a finish_reason"),
        (FIRST + RED, 100, "connection"),
        (FIRST + RED + b'data: {"id": "chatcm', 0, "without a finish_reason"),
        (FIRST + RED + b'data: {"id": "chatcm\n\n', 0, "garbage"),
        (FIRST + RED + b"data: null\n\n", 0, "garbage"),
        (FIRST + RED + event(finish="abort") + DONE, 0, "aborted"),
        (FIRST + RED + in_stream_error(500, "EngineCore encountered an issue") + DONE, 0, "EngineCore"),
        (FIRST + RED + b'data: {"error": {"message": "half way"}}\n\n', 0, "half way"),
    ],
)
def test_a_beginning_is_no_answer_and_is_not_asked_for_again(
    scripted_http: ScriptedHttp, reply: MakeReply, body: bytes, longer: int, words: str
) -> None:
    asked = Asked(scripted_http, reply(body, headers=EVENTS, length=len(body) + longer))
    assert asked.stream.answer is None
    assert isinstance(asked.error, Unanswered)
    assert "the answer is not complete" in str(asked.error)
    assert words in str(asked.error)
    assert (asked.shown, asked.error.partial) == ("red", "red")
    assert len(scripted_http.requests) == 1


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (FIRST, EVENTS, 200, "without a finish_reason"),
        (FIRST + STOP + DONE, EVENTS, 200, "empty text"),
        (FIRST + event(finish="abort") + DONE, EVENTS, 200, "aborted"),
        (b"", EVENTS, 200, "without a finish_reason"),
        (b"<html>", (("Content-Type", "text/html"),), 200, "text/html in place of a stream"),
        (b'{"choices":[]}', (("Content-Type", "application/json"),), 200, "in place of a stream"),
        (b"data: {]\n\n", EVENTS, 200, "garbage"),
        (in_stream_error(500, "engine died"), EVENTS, 200, "engine died"),
        (b'{"error": {"message": "engine died"}}', (), 500, "http_500: engine died"),
        (b"", (), 502, "http_502"),
        (b"", (), 503, "the server is busy"),
    ],
)
def test_what_fails_before_anything_was_shown_is_tried_again_as_often_as_allowed(
    scripted_http: ScriptedHttp, reply: MakeReply, body: bytes, headers: Any, status: int, words: str
) -> None:
    failing = reply(body, status=status, headers=headers)
    asked = Asked(scripted_http, failing)
    assert isinstance(asked.error, Unanswered)
    assert words in str(asked.error)
    assert (len(scripted_http.requests), len(asked.said)) == (MAX_ATTEMPTS, MAX_ATTEMPTS - 1)
    scripted_http.requests.clear()
    again = Asked(scripted_http, failing, failing, reply(WHOLE, headers=EVENTS))
    assert again.error is None
    assert again.stream.answer is not None
    assert (again.stream.answer.text, again.shown) == ("red", "red")


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b'{"error": {"message": "Failed to load image", "type": "BadRequestError"}}', ()),
        (500, b'{"error": {"message": "Image size exceeds limit of 178956970 pixels"}}', ()),
        (200, in_stream_error(400, "Failed to load image"), EVENTS),
    ],
)
def test_a_question_that_is_at_fault_is_sent_once(
    scripted_http: ScriptedHttp, reply: MakeReply, status: int, body: bytes, headers: Any
) -> None:
    asked = Asked(scripted_http, reply(body, status=status, headers=headers))
    assert isinstance(asked.error, Unanswered)
    assert "rejected this question" in str(asked.error)
    assert len(scripted_http.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b'{"error": "Unauthorized"}', "--api-key-file"),
        (404, b'{"error": {"message": "The model `m` does not exist."}}', "--model"),
        (404, b'{"detail": "Not Found"}', "base URL"),
        (307, b"", "redirect"),
    ],
)
def test_where_no_question_can_succeed_the_way_out_is_said(
    scripted_http: ScriptedHttp, reply: MakeReply, status: int, body: bytes, words: str
) -> None:
    asked = Asked(scripted_http, reply(body, status=status, headers=(("Location", "http://127.0.0.1:9/"),)))
    assert isinstance(asked.error, ServerRefused)
    assert words in str(asked.error)
    assert len(scripted_http.requests) == 1


def test_a_server_that_says_nothing_more_is_a_timeout(scripted_http: ScriptedHttp, reply: MakeReply) -> None:
    forever = threading.Event()
    silent = reply(FIRST + RED, headers=EVENTS, length=1 << 20, holds=forever)
    try:
        asked = Asked(scripted_http, silent, timeout_s=0.3)
    finally:
        forever.set()
    assert isinstance(asked.error, Unanswered)
    assert "timeout" in str(asked.error)
    assert asked.error.partial == "red"
    assert asked.stream.unreachable


def test_nothing_from_the_environment_reaches_the_server(
    scripted_http: ScriptedHttp, reply: MakeReply, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "s3cret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: s3cret\nAuthorization: Bearer s3cret")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for key in (None, "mine"):
        assert Asked(scripted_http, reply(WHOLE, headers=EVENTS), key=key).error is None
    without, with_key = (headers for _, headers, _ in scripted_http.requests)
    assert "s3cret" not in str(scripted_http.requests)
    assert "authorization" not in without
    assert with_key["authorization"] == "Bearer mine"
    assert "mine" not in repr(FoundServer("http://a/v1", "mine", "m"))
