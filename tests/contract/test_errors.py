"""Errors by class: status, the body's shape, and what our client makes of them."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from PIL import Image

from captionqa.core.replies import Verdict, classify_error

from .endpoint import CHAT, QUESTION, Endpoint, Reply, image, picture

Asked = Callable[[Endpoint], Any]


def verdict(reply: Reply) -> Verdict:
    return classify_error(reply.status, reply.headers, reply.body).verdict


def asking(*parts: Any, **fields: Any) -> Asked:
    return lambda endpoint: endpoint.asking(*parts, **fields)


SCHEMA: dict[str, tuple[Asked, str, str]] = {
    "bad JSON": (lambda _: b'{"model": ', "body.10", "JSON decode error"),
    "a list": (lambda _: [], "body", "Input should be a valid dictionary"),
    "no messages": (lambda _: {"max_tokens": 1}, "body.messages", "Field required"),
    "messages of another type": (lambda _: {"messages": "hello"}, "body.messages", "Input should be a valid list"),
    "temperature as text": (asking("?", temperature="hot"), "body.temperature", "Input should be a valid number"),
    "max_tokens as text": (asking("?", max_tokens="many"), "body.max_tokens", "Input should be a valid integer"),
    "half a token": (asking("?", max_tokens=1.5), "body.max_tokens", "a number with a fractional part"),
    "seed as text": (asking("?", seed="x"), "body.seed", "Input should be a valid integer"),
    "model of another type": (asking("?", model=5), "body.model", "Input should be a valid string"),
    "choice of another type": (
        asking("?", structured_outputs={"choice": 5}),
        "body.structured_outputs.choice",
        "Input should be a valid list",
    ),
    "numbers to choose from": (
        asking("?", structured_outputs={"choice": [1]}),
        "body.structured_outputs.choice.0",
        "Input should be a valid string",
    ),
    "template arguments of another type": (
        asking("?", chat_template_kwargs=5),
        "body.chat_template_kwargs",
        "Input should be a valid dictionary",
    ),
}


@pytest.mark.parametrize("case", SCHEMA)
def test_what_the_schema_refuses_is_a_bad_request_with_a_space(endpoint: Endpoint, case: str) -> None:
    body, param, words = SCHEMA[case]
    reply = endpoint.chat(body(endpoint))
    assert (reply.status, reply.json["error"]["type"], reply.json["error"]["param"]) == (400, "Bad Request", param)
    assert reply.message.startswith("1 validation error:\n")
    assert words in reply.message
    assert verdict(reply) is Verdict.REJECTED


ENGINE: dict[str, tuple[Asked, str | None, str]] = {
    "no message": (
        lambda _: {"messages": []},
        None,
        "Cannot apply chat template to an empty conversation. Provide at least one message.",
    ),
    "too long a prompt": (
        asking("A red circle. " * 2000),
        "input_tokens",
        "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
        "(parameter=input_tokens, value=4097)",
    ),
    "max_tokens beyond the context": (
        asking("?", max_tokens=100000),
        "max_tokens",
        "max_tokens=100000 cannot be greater than max_model_len=4096. Please request fewer output tokens. "
        "(parameter=max_tokens, value=100000)",
    ),
    "no tokens": (
        asking("?", max_tokens=0),
        "max_tokens",
        "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
    ),
    "negative temperature": (
        asking("?", temperature=-1),
        "temperature",
        "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)",
    ),
    "high temperature": (
        asking("?", temperature=3),
        "temperature",
        "temperature must be in [0, 2], got 3.0. (parameter=temperature, value=3.0)",
    ),
    "top_p": (asking("?", top_p=2), "top_p", "top_p must be in (0, 1], got 2.0. (parameter=top_p, value=2.0)"),
    "top_k": (asking("?", top_k=-2), None, "top_k must be 0 (disable), or at least 1, got -2."),
    "min_p": (asking("?", min_p=2), None, "min_p must be in [0, 1], got 2.0."),
    "presence penalty": (asking("?", presence_penalty=3), None, "presence_penalty must be in [-2, 2], got 3.0."),
    "repetition penalty": (
        asking("?", repetition_penalty=0),
        None,
        "repetition_penalty must be greater than zero, got 0.0.",
    ),
    "several greedy answers": (asking("?", n=2), None, "n must be 1 when using greedy sampling, got 2."),
    "more tokens at least than at most": (
        asking("?", min_tokens=50),
        None,
        "min_tokens must be less than or equal to max_tokens=16, got 50.",
    ),
    "usage without a stream": (
        asking("?", stream_options={"include_usage": True}),
        "stream_options",
        "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
    ),
    "nothing to choose from": (
        asking("?", structured_outputs={"choice": []}),
        None,
        "Choice '[]' cannot be an empty list",
    ),
    "two constraints": (
        asking("?", structured_outputs={"choice": ["A"], "regex": "A"}),
        None,
        "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice').",
    ),
    "too many images": (
        asking(*[image(picture())] * 5, "?"),
        "image",
        "At most 4 image(s) may be provided in one prompt. (parameter=image)",
    ),
    "an image of garbage": (
        asking(image(b"garbage"), "?"),
        None,
        "Failed to load image: cannot identify image file <_io.BytesIO object>",
    ),
    "an empty image": (
        asking(image(b""), "?"),
        None,
        "Failed to load image: cannot identify image file <_io.BytesIO object>",
    ),
    "no base64": (asking(image("data:image/png;base64,!!!"), "?"), None, "Non-base64 digit found"),
    "a bare path": (asking(image("/a/b.png"), "?"), None, "The URL must be either a HTTP, data or file URL."),
    "a garbage image in a stream": (
        asking(image(b"garbage"), "?", stream=True),
        None,
        "Failed to load image: cannot identify image file <_io.BytesIO object>",
    ),
}


EVERY_ITEM = {"max_tokens beyond the context"}
"""Refused for what all requests of a run have in common: no item's own fault, so the run stops."""


@pytest.mark.parametrize("case", ENGINE)
def test_what_the_engine_refuses_is_refused_in_these_words(endpoint: Endpoint, case: str) -> None:
    body, param, message = ENGINE[case]
    reply = endpoint.chat(body(endpoint))
    assert (reply.status, reply.message) == (400, message)
    assert (reply.json["error"]["type"], reply.json["error"]["param"]) == ("BadRequestError", param)
    assert verdict(reply) is (Verdict.REFUSED if case in EVERY_ITEM else Verdict.REJECTED)


BROKEN = {
    "a PNG cut in half": picture(size=(300, 300))[:300],
    "a JPEG cut in half": picture(file_format="JPEG")[:-200],
    "a line 400 times as long as wide": picture(size=(4000, 10)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_images_that_cannot_be_read_are_refused(endpoint: Endpoint, case: str) -> None:
    reply = endpoint.ask(image(BROKEN[case]), "?")
    assert (reply.status, reply.json["error"]["type"]) == (400, "BadRequestError")
    assert reply.message.startswith(("Failed to load image: ", "Failed to apply Qwen3VLProcessor on data="))
    assert verdict(reply) is Verdict.REJECTED


@pytest.mark.parametrize("part", [{"type": "imagee", "x": 1}, {"type": "text"}, {"type": "text", "text": None}])
def test_parts_that_are_none_are_refused(endpoint: Endpoint, part: dict[str, Any]) -> None:
    reply = endpoint.ask(part)
    assert (reply.status, reply.json["error"]["type"]) == (400, "BadRequestError")
    assert "for ValidatorIterator\n" in reply.message
    assert verdict(reply) is Verdict.REJECTED


def test_a_message_without_a_role_is_refused(endpoint: Endpoint) -> None:
    reply = endpoint.chat({"messages": [{"content": "x"}]})
    assert (reply.status, reply.json["error"]["type"]) == (400, "Bad Request")
    assert "Field required" in reply.message


def test_too_many_pixels_are_a_permanent_500(endpoint: Endpoint) -> None:
    file = io.BytesIO()
    Image.new("1", (16000, 12000)).save(file, "PNG")  # 192 million pixels in a few kilobytes
    reply = endpoint.ask(image(file.getvalue()), "?")
    assert (reply.status, reply.json["error"]["type"]) == (500, "InternalServerError")
    assert "exceeds limit of 178956970 pixels" in reply.message
    assert verdict(reply) is Verdict.REJECTED


def test_a_data_url_without_base64_is_501(endpoint: Endpoint) -> None:
    reply = endpoint.ask(image("data:image/png,abc"), "?")
    assert (reply.status, reply.json["error"]["type"]) == (501, "NotImplementedError")
    assert reply.message == "Only base64 data URLs are supported for now."


def test_an_address_that_nobody_listens_at_is_a_500(endpoint: Endpoint) -> None:
    """The server would fetch it; ours never does, and vLLM tries for some seconds. Our client sends no such URLs."""
    reply = endpoint.ask(image("http://127.0.0.1:9/a.png"), "?")
    assert (reply.status, reply.json["error"]["type"]) == (500, "InternalServerError")
    assert reply.message.startswith("Cannot connect to host 127.0.0.1:9 ssl:default [")


def test_an_unknown_model_is_404_and_stops_a_run(endpoint: Endpoint) -> None:
    reply = endpoint.ask("?", model="nope/none")
    assert (reply.status, reply.json["error"]["type"]) == (404, "NotFoundError")
    assert reply.message == f"The model `nope/none` does not exist. Valid aliases: {endpoint.model}."
    assert verdict(reply) is Verdict.REFUSED


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/v1/nothing", 404, "Not Found"),
        ("GET", "/nothing", 404, "Not Found"),
        ("GET", CHAT, 405, "Method Not Allowed"),
        ("POST", "/health", 405, "Method Not Allowed"),
    ],
)
def test_unknown_paths_and_methods_have_a_detail(
    endpoint: Endpoint, method: str, path: str, status: int, detail: str
) -> None:
    reply = endpoint.call(method, path)
    assert (reply.status, reply.json) == (status, {"detail": detail})
    assert verdict(reply) is Verdict.REFUSED


def test_another_content_type_is_refused(endpoint: Endpoint) -> None:
    reply = endpoint.chat(b"{}", headers={"Content-Type": "text/plain"})
    assert (reply.status, reply.json["error"]["type"]) == (400, "Bad Request")
    assert "Unsupported Media Type: Only 'application/json' is allowed" in reply.message


def test_a_full_server_is_503_and_those_who_were_let_in_are_answered(plain: Endpoint) -> None:
    """Of eight that are let in four run and four wait; others are turned away at once, without a Retry-After."""
    body = plain.asking(QUESTION, max_tokens=300, ignore_eos=True)

    async def ask_all() -> list[tuple[int, dict[str, str], bytes]]:
        headers = {"Authorization": f"Bearer {plain.key}"}
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask() -> tuple[int, dict[str, str], bytes]:
                async with session.post(f"{plain.url}/chat/completions", json=body) as reply:
                    return reply.status, dict(reply.headers), await reply.read()

            return await asyncio.gather(*(ask() for _ in range(32)))

    replies = asyncio.run(ask_all())
    counts = Counter(status for status, _, _ in replies)
    assert set(counts) == {200, 503}
    assert counts[200] >= 8
    _, headers, refused = next(reply for reply in replies if reply[0] == 503)
    assert b"The engine is currently busy and cannot accept new requests." in refused
    assert "Retry-After" not in headers
    assert classify_error(503, headers, refused).verdict is Verdict.BUSY
