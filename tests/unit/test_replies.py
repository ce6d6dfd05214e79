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
    Tokens,
    Verdict,
    classify_error,
    error_message,
    read_completion,
    read_tokens,
    without_open_thinking,
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
        (b'{"error":"overloaded"}', "error_in_200", "overloaded"),
        (answer(content="sw", finish_reason="error"), "aborted", "finish_reason 'error'"),
        (answer(content="<think>Hm.</think>\n"), "empty", "empty content, finish_reason 'stop'"),
        (answer(content="<think>Hm."), "empty", "empty content, finish_reason 'stop'"),
    ],
)
def test_a_200_need_not_be_an_answer(body: bytes, reason: str, detail: str) -> None:
    with pytest.raises(NoAnswer) as raised:
        read_completion(body)
    assert (raised.value.verdict, raised.value.reason) == (Verdict.TRANSIENT, reason)
    assert detail in raised.value.detail


@pytest.mark.parametrize(
    ("body", "verdict", "reason"),
    [
        # Not vLLM's own: gateways that answer 200 and put the error of the server behind them into the body.
        (error("slow down", "rate_limit", 429), Verdict.BUSY, "error_in_200"),
        (error("bad image", "BadRequestError", 400), Verdict.REJECTED, "error_in_200"),
        (error("no such key", "auth", 401), Verdict.REFUSED, "error_in_200"),
        (error("The maximum context length is 4096 tokens.", "BadRequestError", 400), Verdict.REJECTED, "too_long"),
        (answer(content="Sorry", finish_reason="content_filter"), Verdict.REJECTED, "content_filter"),
    ],
)
def test_an_error_inside_a_200_means_what_it_says(body: bytes, verdict: Verdict, reason: str) -> None:
    with pytest.raises(NoAnswer) as raised:
        read_completion(body)
    assert (raised.value.verdict, raised.value.reason) == (verdict, reason)


@pytest.mark.parametrize("finish_reason", ["stop", "length", "repetition", "eos_token"])
def test_an_answer_that_ended_by_itself_says_how(finish_reason: str) -> None:
    assert read_completion(answer(finish_reason=finish_reason)).finish_reason == finish_reason


@pytest.mark.parametrize(
    ("content", "reasoning", "text", "thought"),
    [
        ("<think>\nHm.\n</think>\n\nA", None, "A", "Hm."),
        ("Hm.\n</think>\n\nA", None, "A", "Hm."),  # Qwen's thinking models: their template opens it
        ("Well.</think> Or so", "Hm.", "Or so", "Hm.\nWell."),
        ("A", "Hm.", "A", "Hm."),
    ],
)
def test_no_answer_shows_its_reasoning(content: str, reasoning: str | None, text: str, thought: str) -> None:
    found = read_completion(answer(content=content, reasoning=reasoning))
    assert (found.text, found.reasoning) == (text, thought)
    assert found.thought_in_text == ("</think>" in content)


@pytest.mark.parametrize(
    ("changes", "text", "reasoning"),
    [
        ({"content": "I look at the", "finish_reason": "length"}, "", "I look at the"),
        ({"content": None, "reasoning": "I look at", "finish_reason": "length"}, "", "I look at"),
        ({"content": "Hm.</think>A cat on", "finish_reason": "length"}, "A cat on", "Hm."),
        ({"content": "A", "finish_reason": "stop"}, "A", None),
        ({"content": None, "finish_reason": "length"}, "", None),
    ],
)
def test_a_text_that_was_cut_inside_thinking_that_the_template_opened_is_reasoning(
    changes: dict[str, Any], text: str, reasoning: str | None
) -> None:
    found = without_open_thinking(read_completion(answer(**changes)))
    assert (found.text, found.reasoning, found.finish_reason) == (text, reasoning, changes["finish_reason"])


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
    reason = {TOO_LONG: "too_long", BOMB: "image_too_large"}.get(detail, f"http_{status}")
    assert (found.verdict, found.reason, found.detail) == (verdict, reason, detail)
    assert str(found) == f"{reason}: {detail}"


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
        ({"retry-after": "Fri, 20 Nov 2026 10:35:12 GMT"}, None),  # by a clock that need not be ours
        ({"retry-after": "Fri, 20 Nov 2026 10:35:12 GMT", "date": "Fri, 20 Nov 2026 10:35:02 GMT"}, 10.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:35:12 GMT", "date": "Fri, 20 Nov 2026 10:36:02 GMT"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 10:35:12 GMT", "date": "yesterday"}, None),
        ({"retry-after": "soon", "date": "Fri, 20 Nov 2026 10:35:02 GMT"}, None),
        ({"retry-after": "Fri, 99 Nov 99999 10:35:12 GMT", "date": "Fri, 20 Nov 2026 10:35:02 GMT"}, None),
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


def test_a_prompt_is_counted_by_the_server() -> None:
    assert read_tokens(b'{"count":4,"max_model_len":4096,"tokens":[32,370,314,13],"token_strs":null}') == Tokens(
        4, None
    )
    assert read_tokens(b'{"count":1,"tokens":[1],"token_strs":["Hi"]}').strings == ("Hi",)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"count":null}', b'{"tokens":[1,2]}', b'{"count":1,"token_strs":3}']
)
def test_what_does_not_count_is_no_count(body: bytes) -> None:
    with pytest.raises(NoAnswer) as raised:
        read_tokens(body)
    assert raised.value.reason == "garbage"


@pytest.mark.parametrize(
    ("status", "message", "verdict", "reason"),
    [
        # In vLLM's source, not among the captured ones.
        (400, "The decoder prompt (length 9) is longer than the maximum model length of 8.", "REJECTED", "too_long"),
        (
            400,
            "The decoder prompt contains a(n) image item with 9000 embedding tokens, which exceeds the pre-allocated "
            "encoder cache size 8192.",
            "REJECTED",
            "image_too_large",
        ),
        (400, "max_tokens=9 cannot be greater than max_model_len=8.", "REFUSED", "max_tokens"),
        # Other servers.
        (400, "the request exceeds the available context size, try increasing it", "REJECTED", "too_long"),
        (413, "The input (9 tokens) is longer than the model's context length (8 tokens).", "REJECTED", "too_long"),
        (407, "", "REFUSED", "http_407"),
    ],
)
def test_what_does_not_fit_says_so(status: int, message: str, verdict: str, reason: str) -> None:
    found = classify_error(status, {}, error(message, "BadRequestError", status))
    assert (found.verdict, found.reason) == (Verdict[verdict], reason)
