"""Every reply below was sent by a real vLLM 0.32.0, unless the test says otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.replies import (
    DETAIL_CHARACTERS,
    Completion,
    NoAnswer,
    Verdict,
    classify_error,
    error_message,
    read_completion,
)

ANSWER = (
    b'{"id":"chatcmpl-a9d663cdf08c3450","object":"chat.completion","created":1795174426,'
    b'"model":"Qwen/Qwen3-VL-4B-Instruct","choices":[{"index":0,"message":{"role":"assistant","content":"A",'
    b'"refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null},"logprobs":null,'
    b'"finish_reason":"stop","stop_reason":null,"token_ids":null,"routed_experts":null}],"service_tier":null,'
    b'"system_fingerprint":"vllm-0.32.0-82fcc391","usage":{"prompt_tokens":93,"total_tokens":95,'
    b'"completion_tokens":2,"prompt_tokens_details":null,"completion_tokens_details":null},"prompt_logprobs":null,'
    b'"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}'
)


def answer(**changes: Any) -> bytes:
    """The captured answer with another content, finish_reason, …"""
    reply = json.loads(ANSWER)
    choice = reply["choices"][0]
    for name, value in changes.items():
        (choice if name in choice else choice["message"])[name] = value
    return json.dumps(reply).encode()


def error(message: str, kind: str, code: int, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def test_an_answer_is_read() -> None:
    assert read_completion(ANSWER) == Completion("A", "stop", None, {"prompt_tokens": 93, "completion_tokens": 2})


def test_an_answer_cut_at_max_tokens_is_an_answer() -> None:
    assert read_completion(answer(finish_reason="length")).finish_reason == "length"


def test_an_empty_answer_cut_at_max_tokens_was_spent_on_reasoning() -> None:
    completion = read_completion(answer(content=None, finish_reason="length", reasoning="Let me see"))
    assert (completion.text, completion.reasoning) == ("", "Let me see")


def test_reasoning_is_kept_apart_under_its_new_and_its_old_name() -> None:
    assert read_completion(answer(reasoning="Hm.")).reasoning == "Hm."
    assert read_completion(answer(reasoning_content="Hm.")).reasoning == "Hm."


def test_the_text_is_untouched() -> None:
    assert read_completion(answer(content=" A\n")).text == " A\n"


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (answer(content=""), "empty", "empty content, finish_reason 'stop'"),  # as two-image prompts got it
        (answer(content=None), "empty", "empty content"),
        (answer(content=" \n"), "empty", "empty content"),
        (answer(content="", reasoning="Hm."), "empty", "empty content"),
        (answer(content="swsw", finish_reason="abort"), "aborted", "finish_reason 'abort'"),  # SIGTERM of the server
        (answer(content="", finish_reason="abort"), "aborted", "finish_reason 'abort'"),
        (answer(finish_reason=None), "aborted", "finish_reason None"),
        (ANSWER[: len(ANSWER) // 2], "garbage", 'a body that is no JSON: {"id"'),
        (b"", "garbage", "(empty body)"),
        (b"<html>proxy login</html>", "garbage", "<html>proxy login</html>"),
        (b"\xff\xfe", "garbage", "no JSON"),
        (b"null", "garbage", "200 without choices: null"),
        (b"[]", "garbage", "200 without choices"),
        (b"{}", "garbage", "200 without choices"),
        (b'{"choices":[]}', "garbage", "200 without choices"),
        (b'{"choices":[null]}', "garbage", "200 without choices"),
        (b'{"choices":[{"message":null}]}', "garbage", "200 without choices"),
        (answer(content=[{"type": "text", "text": "A"}]), "garbage", "content that is no text"),
        (error("EngineCore encountered an issue.", "InternalServerError", 500), "error_in_200", "EngineCore"),
    ],
)
def test_a_200_need_not_be_an_answer(body: bytes, reason: str, detail: str) -> None:
    with pytest.raises(NoAnswer) as raised:
        read_completion(body)
    assert (raised.value.verdict, raised.value.reason) == (Verdict.TRANSIENT, reason)
    assert detail in raised.value.detail


@given(st.integers(min_value=0, max_value=len(ANSWER) - 1))
def test_an_answer_cut_anywhere_is_no_answer(length: int) -> None:
    with pytest.raises(NoAnswer) as raised:
        read_completion(ANSWER[:length])
    assert raised.value.reason == "garbage"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["choices", "message", "content", "finish_reason", "usage"]), inner)
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_an_answer_or_a_typed_reason(value: object) -> None:
    try:
        completion = read_completion(json.dumps(value).encode())
    except NoAnswer:
        return
    assert isinstance(completion.text, str)


def test_usage_that_is_no_number_is_left_out() -> None:
    reply = {**json.loads(ANSWER), "usage": {"prompt_tokens": None, "completion_tokens": 2}}
    assert read_completion(json.dumps(reply).encode()).usage == {"completion_tokens": 2}
    assert read_completion(json.dumps({**reply, "usage": None}).encode()).usage == {}


BOMB = "Image size (200000000 pixels) exceeds limit of 178956970 pixels, could be decompression bomb DOS attack."
TOO_LONG = (
    "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens, "
    "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
    "(parameter=input_tokens, value=4097)"
)
NO_MESSAGES = (
    "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', "
    "'input': '<dict of 1 items>'}"
)
UNREACHABLE = "Cannot connect to host 127.0.0.1:9 ssl:default [Connect call failed ('127.0.0.1', 9)]"
BUSY = "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
NO_FILES = "Cannot load local files without `--allowed-local-media-path`."
NO_MODEL = "The model `nope/none` does not exist. Valid aliases: Qwen/Qwen3-VL-4B-Instruct."
FETCH = "Failed to fetch media from URL: HTTP 404 error (parameter=image_url, value=http://127.0.0.1:8106/nope.png)"
NOT_AN_IMAGE = "Failed to load image: cannot identify image file <_io.BytesIO object>"


@pytest.mark.parametrize(
    ("status", "body", "verdict", "detail"),
    [
        (401, b'{"error": "Unauthorized"}', Verdict.REFUSED, "Unauthorized"),
        (404, error(NO_MODEL, "NotFoundError", 404, "model"), Verdict.REFUSED, NO_MODEL),
        (404, b'{"detail":"Not Found"}', Verdict.REFUSED, "Not Found"),
        (405, b'{"detail":"Method Not Allowed"}', Verdict.REFUSED, "Method Not Allowed"),
        (400, error(NO_MESSAGES, "Bad Request", 400, "body.messages"), Verdict.REJECTED, NO_MESSAGES),
        (400, error(TOO_LONG, "BadRequestError", 400, "input_tokens"), Verdict.REJECTED, TOO_LONG),
        (400, error(NOT_AN_IMAGE, "BadRequestError", 400), Verdict.REJECTED, NOT_AN_IMAGE),
        (422, error(FETCH, "UnprocessableEntityError", 422, "image_url"), Verdict.REJECTED, FETCH),
        (500, error(BOMB, "InternalServerError", 500), Verdict.REJECTED, BOMB),
        (500, error(NO_FILES, "InternalServerError", 500), Verdict.REJECTED, NO_FILES),
        (
            500,
            error("[Errno 2] No such file or directory: '<path>'", "InternalServerError", 500),
            Verdict.REJECTED,
            "[Errno 2] No such file or directory: '<path>'",
        ),
        (500, error(UNREACHABLE, "InternalServerError", 500), Verdict.TRANSIENT, UNREACHABLE),
        (
            500,
            error("cannot schedule new futures after shutdown", "InternalServerError", 500),
            Verdict.TRANSIENT,
            "cannot schedule new futures after shutdown",
        ),
        (503, error(BUSY, "Service Unavailable", 503), Verdict.BUSY, BUSY),
        # Not vLLM's own: proxies and other servers.
        (403, b"", Verdict.REFUSED, "(empty body)"),
        (408, b"", Verdict.TRANSIENT, "(empty body)"),
        (413, b"too large", Verdict.REJECTED, "too large"),
        (429, b'{"message":"slow down"}', Verdict.BUSY, "slow down"),
        (500, b"Internal Server Error", Verdict.TRANSIENT, "Internal Server Error"),
        (502, b"<html>bad gateway</html>", Verdict.TRANSIENT, "<html>bad gateway</html>"),
        (504, b"", Verdict.TRANSIENT, "(empty body)"),
    ],
)
def test_every_error_has_its_verdict_and_the_servers_words(
    status: int, body: bytes, verdict: Verdict, detail: str
) -> None:
    found = classify_error(status, {}, body)
    assert (found.verdict, found.reason, found.detail) == (verdict, f"http_{status}", detail)
    assert str(found) == f"http_{status}: {detail}"


def test_a_redirect_is_refused_and_says_where_to() -> None:
    found = classify_error(302, {"location": "https://login.example"}, b"")
    assert found.verdict is Verdict.REFUSED
    assert "redirect to https://login.example" in found.detail


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:35:12 GMT"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 500])
def test_the_wait_that_a_server_asks_for(status: int, headers: dict[str, str], seconds: float | None) -> None:
    assert classify_error(status, headers, b"").retry_after_s == seconds


@given(st.integers(min_value=300, max_value=599), st.binary(max_size=40))
def test_every_status_and_body_has_a_verdict(status: int, body: bytes) -> None:
    assert classify_error(status, {}, body).reason == f"http_{status}"


def test_a_long_message_is_shortened() -> None:
    assert len(error_message(error("x" * 10_000, "BadRequestError", 400))) == DETAIL_CHARACTERS
    assert len(error_message(b"x" * 10_000)) == DETAIL_CHARACTERS
