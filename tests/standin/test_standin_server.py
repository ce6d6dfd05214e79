"""The stand-in over real sockets, held to what a real vLLM 0.32.0 was seen to answer.

The literal expectations were copied from recorded exchanges with vLLM; only the model's name differs.
"""

from __future__ import annotations

import contextlib
import gc
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pybase64
import pytest
from PIL import Image, ImageDraw

from captionqa.errors import UsageError
from captionqa.server.standin import Faults, StandInConfig, StandInServer

MODEL = "standin/pixel-reader"
CHAT = "/v1/chat/completions"
QUESTION = "What color is the shape?\nA. red\nB. blue\nC. green\nD. yellow\nAnswer with the option's letter."


@pytest.fixture(scope="module")
def server() -> Iterator[StandInServer]:
    config = StandInConfig(api_key="sekret", max_model_len=4096, max_images=4, enable_request_id_headers=True)
    with StandInServer(config) as running:
        yield running


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.json["choices"][0]["message"]["content"]


def call(
    server: StandInServer,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    timeout_s: float = 20,
) -> Answer:
    """One exchange on a connection of its own."""
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    all_headers = {"Content-Type": "application/json", "Authorization": "Bearer sekret"} | (headers or {})
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)) as connection:
        connection.request(method, path, data, {name: value for name, value in all_headers.items() if value})
        with connection.getresponse() as response:
            return Answer(response.status, dict(response.getheaders()), response.read())


def image_url(color: str = "red", size: tuple[int, int] = (224, 224)) -> str:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((size[0] / 4, size[1] / 4, size[0] * 3 / 4, size[1] * 3 / 4), fill=color)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + pybase64.b64encode(buffer.getvalue()).decode()


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def asking(text: str = QUESTION, *urls: str, **fields: Any) -> dict[str, Any]:
    content = [*(image_part(url) for url in urls), {"type": "text", "text": text}]
    messages = [{"role": "user", "content": content}]
    return {"model": MODEL, "messages": messages, "max_tokens": 16, "temperature": 0} | fields


def error(message: str, kind: str, param: str | None, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


# What it answers


def test_a_completion_has_every_field_of_vllms(server: StandInServer) -> None:
    answer = call(server, "POST", CHAT, asking(QUESTION, image_url()))
    assert answer.status == 200
    body = answer.json
    assert body.pop("id").startswith("chatcmpl-")
    assert abs(body.pop("created") - time.time()) < 60
    assert body.pop("system_fingerprint").startswith("standin-")
    usage = body.pop("usage")
    assert body == {
        "object": "chat.completion",
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "A",
                    "refusal": None,
                    "annotations": None,
                    "audio": None,
                    "function_call": None,
                    "reasoning": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
                "token_ids": None,
                "routed_experts": None,
            }
        ],
        "service_tier": None,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }
    assert usage["completion_tokens"] == 2
    assert usage["total_tokens"] == usage["prompt_tokens"] + 2
    assert usage["prompt_tokens"] > 66


def test_plain_strings_system_messages_and_several_images_are_understood(server: StandInServer) -> None:
    messages = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": [image_part(image_url("red")), image_part(image_url("blue"))]},
        {"role": "user", "content": "What color is the shape in the second image?"},
    ]
    assert call(server, "POST", CHAT, {"messages": messages}).text == "blue"


def test_image_tokens_are_counted_by_size(server: StandInServer) -> None:
    sizes = ((256, 256), (512, 512), (1024, 512))
    used = [call(server, "POST", CHAT, asking("?", image_url(size=size))).json["usage"] for size in sizes]
    prompt = [usage["prompt_tokens"] for usage in used]
    assert [tokens - prompt[0] for tokens in prompt] == [0, 256 - 64, 512 - 64]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_long_answer_is_cut_with_finish_reason_length(server: StandInServer, name: str) -> None:
    asked = asking("Write a very long and detailed caption.", image_url())
    del asked["max_tokens"]
    whole = call(server, "POST", CHAT, asked)
    cut = call(server, "POST", CHAT, asked | {name: 3})
    assert whole.json["choices"][0]["finish_reason"] == "stop"
    assert cut.json["choices"][0]["finish_reason"] == "length"
    assert cut.json["usage"]["completion_tokens"] == 3
    assert whole.text.startswith(cut.text)
    assert cut.text == "One red circle"


def test_room_for_the_answer_but_not_for_its_end_is_a_cut(server: StandInServer) -> None:
    choice = call(server, "POST", CHAT, asking(QUESTION, image_url(), max_tokens=1)).json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("A", "length")


def test_max_tokens_is_clamped_to_what_the_prompt_leaves(server: StandInServer) -> None:
    answer = call(server, "POST", CHAT, asking("x y " * 1500, image_url(), max_tokens=3000))
    assert answer.status == 200


@pytest.mark.parametrize(
    ("text", "choice", "said"), [(QUESTION, ["A", "B"], "A"), ("What color?", ["red", "light green"], "red")]
)
def test_structured_choice_is_obeyed(server: StandInServer, text: str, choice: list[str], said: str) -> None:
    assert call(server, "POST", CHAT, asking(text, image_url(), structured_outputs={"choice": choice})).text == said


@pytest.mark.parametrize("extra", [{"guided_choice": ["Z"]}, {"unknown": 1}, {"seed": 3}, {"model": None}])
def test_unknown_fields_and_a_missing_model_are_accepted(server: StandInServer, extra: dict[str, Any]) -> None:
    assert call(server, "POST", CHAT, asking(QUESTION, image_url()) | extra).text == "A"


def test_the_request_id_is_echoed_and_names_the_completion(server: StandInServer) -> None:
    answer = call(server, "POST", CHAT, asking(), headers={"X-Request-Id": "my-id-42"})
    assert answer.headers["X-Request-Id"] == "my-id-42"
    assert answer.json["id"] == "chatcmpl-my-id-42"


def named(uuid: str, url: str | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url} if url else None, "uuid": uuid}


def asking_about(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}]}


def test_an_image_that_was_pushed_out_of_the_cache_must_be_sent_again() -> None:
    with StandInServer(StandInConfig(mm_cache_items=2)) as server:
        for uuid in ("a", "b", "c"):
            call(server, "POST", CHAT, asking_about(named(uuid, image_url())))
        statuses = [call(server, "POST", CHAT, asking_about(named(uuid))).status for uuid in ("a", "b", "c")]
        assert statuses == [400, 200, 200]
        assert call(server, "POST", CHAT, asking_about(named("a", image_url()))).status == 200
        assert call(server, "POST", CHAT, asking_about(named("a"))).text == "A"
        counts = metrics_of(server)
    assert (counts["vllm:mm_cache_queries_total"], counts["vllm:mm_cache_hits_total"]) == (8, 3)


def test_without_a_cache_every_image_must_be_sent() -> None:
    with StandInServer(StandInConfig(mm_cache_items=0)) as server:
        assert call(server, "POST", CHAT, asking_about(named("a", image_url()))).text == "A"
        assert call(server, "POST", CHAT, asking_about(named("a"))).status == 400


def test_a_broken_image_is_not_remembered(server: StandInServer) -> None:
    assert call(server, "POST", CHAT, asking_about(named("broken", "data:image/png;base64,"))).status == 400
    assert call(server, "POST", CHAT, asking_about(named("broken", image_url()))).text == "A"


def test_constraints_that_the_stand_in_does_not_know_are_refused_not_ignored(server: StandInServer) -> None:
    answer = call(server, "POST", CHAT, asking(structured_outputs={"regex": "[AB]"}))
    assert (answer.status, "knows no structured outputs but choice" in answer.json["error"]["message"]) == (400, True)


def test_without_vision_the_answer_is_fixed_and_says_so() -> None:
    with StandInServer(StandInConfig(no_vision=True)) as server:
        answer = call(server, "POST", CHAT, asking(QUESTION, "data:image/png;base64,not an image"))
        assert (answer.status, answer.text) == (200, "stand-in answer")


# The other addresses


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_health_is_200_with_an_empty_body_and_needs_no_key(server: StandInServer, path: str) -> None:
    answer = call(server, "GET", path, headers={"Authorization": ""})
    assert (answer.status, answer.body) == (200, b"")


def test_version_is_that_of_the_imitated_vllm(server: StandInServer) -> None:
    assert call(server, "GET", "/version").json == {"version": "0.32.0"}


def test_models_lists_one_that_is_owned_by_the_stand_in(server: StandInServer) -> None:
    body = call(server, "GET", "/v1/models").json
    (entry,) = body["data"]
    assert body["object"] == "list"
    assert (entry["id"], entry["object"], entry["owned_by"]) == (MODEL, "model", "captionqa-standin")
    assert entry["max_model_len"] == 4096
    assert set(entry) == {"id", "object", "created", "owned_by", "root", "parent", "max_model_len", "permission"}


def test_tokenize_counts_without_a_key(server: StandInServer) -> None:
    answer = call(server, "POST", "/tokenize", {"prompt": "A red circle."}, headers={"Authorization": ""}).json
    assert (answer["count"], answer["max_model_len"], answer["token_strs"]) == (4, 4096, None)
    assert len(answer["tokens"]) == 4
    assert call(server, "POST", "/tokenize", {"messages": [{"role": "user", "content": "A b"}]}).json["count"] == 6


def metrics_of(server: StandInServer) -> dict[str, float]:
    answer = call(server, "GET", "/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    for line in lines:
        assert 'engine="0"' in line
        assert f'model_name="{MODEL}"' in line
    return {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines if "finished_reason" not in line}


def test_metrics_carry_vllms_names_and_real_values() -> None:
    config = StandInConfig(max_num_seqs=2, faults=Faults(latency_s=1.0))
    with StandInServer(config) as server, ThreadPoolExecutor(5) as pool:
        asked = asking(QUESTION, image_url("blue"))
        waiting = [pool.submit(call, server, "POST", CHAT, asked) for _ in range(5)]
        wait_until(lambda: metrics_of(server)["vllm:num_requests_waiting"] == 3)
        busy = metrics_of(server)
        assert busy["vllm:num_requests_running"] == 2
        assert 0 < busy["vllm:kv_cache_usage_perc"] < 0.01
        assert all(answer.result().status == 200 for answer in waiting)
        idle = metrics_of(server)
    assert (idle["vllm:num_requests_running"], idle["vllm:num_requests_waiting"]) == (0, 0)
    assert idle["vllm:kv_cache_usage_perc"] == 0
    queries, hits = idle["vllm:prefix_cache_queries_total"], idle["vllm:prefix_cache_hits_total"]
    assert 0.7 < hits / queries < 0.85  # four of five asked what had been asked, less a part of a block


def test_the_image_is_found_in_the_prefix_cache_when_it_comes_first() -> None:
    with StandInServer() as server:
        for text in ("What color?", "How many?"):
            call(server, "POST", CHAT, asking(text, image_url()))
        assert metrics_of(server)["vllm:prefix_cache_hits_total"] == 64  # 66 + 4 tokens in blocks of 16


def wait_until(true: Any, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


# Errors, word for word


@pytest.mark.parametrize("key", ["", "Bearer wrong", "sekret", "Bearer "])
@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/nothing")])
def test_no_or_wrong_key_is_401_with_a_string_for_an_error(
    server: StandInServer, key: str, method: str, path: str
) -> None:
    answer = call(server, method, path, asking() if method == "POST" else None, headers={"Authorization": key})
    assert (answer.status, answer.body) == (401, b'{"error":"Unauthorized"}')


@pytest.mark.parametrize("path", ["/v1/nothing", "/nothing"])
def test_an_unknown_path_is_404_with_a_detail(server: StandInServer, path: str) -> None:
    answer = call(server, "GET", path)
    assert (answer.status, answer.json) == (404, {"detail": "Not Found"})


def test_a_wrong_method_is_405_with_a_detail(server: StandInServer) -> None:
    answer = call(server, "GET", CHAT)
    assert (answer.status, answer.json) == (405, {"detail": "Method Not Allowed"})
    assert answer.headers["Allow"] == "POST"


IMAGE_FAULT = "Failed to load image: cannot identify image file <_io.BytesIO object>"
REFUSED: list[tuple[str, Any, dict[str, Any]]] = [
    (
        "bad JSON",
        b'{"model": ',
        error(
            "1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.10', 'msg': 'JSON decode error', "
            "'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}",
            "Bad Request",
            "body.10",
            400,
        ),
    ),
    (
        "no messages",
        {"model": MODEL},
        error(
            "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', "
            "'input': '<dict of 1 items>'}",
            "Bad Request",
            "body.messages",
            400,
        ),
    ),
    (
        "empty messages",
        {"messages": []},
        error(
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
            "BadRequestError",
            None,
            400,
        ),
    ),
    (
        "unknown model",
        asking(model="nope/none"),
        error(f"The model `nope/none` does not exist. Valid aliases: {MODEL}.", "NotFoundError", "model", 404),
    ),
    (
        "garbage image",
        asking("?", "data:image/png;base64,Z2FyYmFnZQ=="),
        error(IMAGE_FAULT, "BadRequestError", None, 400),
    ),
    ("empty image", asking("?", "data:image/png;base64,"), error(IMAGE_FAULT, "BadRequestError", None, 400)),
    (
        "not base64",
        asking("?", "data:image/png;base64,!!!not base64!!!"),
        error("Non-base64 digit found", "BadRequestError", None, 400),
    ),
    (
        "no scheme",
        asking("?", "/DIR/media/a.png"),
        error("The URL must be either a HTTP, data or file URL.", "BadRequestError", None, 400),
    ),
    (
        "file URL",
        asking("?", "file:///DIR/media/a.png"),
        error("Cannot load local files without `--allowed-local-media-path`.", "InternalServerError", None, 500),
    ),
    (
        "too many images",
        asking("?", *[image_url()] * 5),
        error("At most 4 image(s) may be provided in one prompt. (parameter=image)", "BadRequestError", "image", 400),
    ),
    (
        "prompt too long",
        asking("word " * 6000),
        error(
            "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input "
            "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
            "prompt. (parameter=input_tokens, value=4097)",
            "BadRequestError",
            "input_tokens",
            400,
        ),
    ),
    (
        "temperature",
        asking(temperature=-1),
        error(
            "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)",
            "BadRequestError",
            "temperature",
            400,
        ),
    ),
    (
        "temperature's type",
        asking(temperature="hot"),
        error(
            "1 validation error:\n  {'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a "
            "valid number, unable to parse string as a number', 'input': 'hot'}",
            "Bad Request",
            "body.temperature",
            400,
        ),
    ),
    (
        "top_p",
        asking(top_p=2),
        error("top_p must be in (0, 1], got 2.0. (parameter=top_p, value=2.0)", "BadRequestError", "top_p", 400),
    ),
    (
        "max_tokens 0",
        asking(max_tokens=0),
        error(
            "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
            "BadRequestError",
            "max_tokens",
            400,
        ),
    ),
    (
        "max_tokens too big",
        asking(max_tokens=100000),
        error(
            "max_tokens=100000 cannot be greater than max_model_len=4096. Please request fewer output tokens. "
            "(parameter=max_tokens, value=100000)",
            "BadRequestError",
            "max_tokens",
            400,
        ),
    ),
    (
        "empty choice",
        asking(structured_outputs={"choice": []}),
        error("Choice '[]' cannot be an empty list", "BadRequestError", None, 400),
    ),
]


@pytest.mark.parametrize(("body", "expected"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_bad_request_is_refused_as_vllm_refuses_it(server: StandInServer, body: Any, expected: Any) -> None:
    answer = call(server, "POST", CHAT, body)
    assert (answer.status, answer.json) == (expected["error"]["code"], expected)
    assert answer.headers["Content-Type"].startswith("application/json")


def test_another_content_type_is_400(server: StandInServer) -> None:
    answer = call(server, "POST", CHAT, asking(), headers={"Content-Type": "text/plain"})
    message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
    assert (answer.status, answer.json) == (400, error(message, "Bad Request", None, 400))


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"messages": "hello"},
        {"messages": ["hello"]},
        {"messages": [{"role": "user", "content": [{"type": "imagee", "x": 1}]}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": None}]}]},
        asking(max_tokens="many"),
        asking(max_tokens=[1]),
        asking(n=2),
        asking(structured_outputs={"choice": 5}),
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_nothing_malformed_gets_past_a_400(server: StandInServer, body: Any) -> None:
    answer = call(server, "POST", CHAT, body)
    assert answer.status == 400
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}


def test_a_bad_image_in_a_stream_is_a_plain_400(server: StandInServer) -> None:
    answer = call(server, "POST", CHAT, asking("?", "data:image/png;base64,", stream=True))
    assert (answer.status, answer.json) == (400, error(IMAGE_FAULT, "BadRequestError", None, 400))


def test_a_full_queue_is_503_without_retry_after() -> None:
    config = StandInConfig(max_num_seqs=1, max_num_queued_reqs=3, faults=Faults(latency_s=1))
    with StandInServer(config) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: call(server, "POST", CHAT, asking()), range(8)))
    assert Counter(answer.status for answer in answers) == {200: 3, 503: 5}
    refused = next(answer for answer in answers if answer.status == 503)
    said = "The engine is currently busy and cannot accept new requests."
    advice = "Please try again later or on a different instance."
    assert refused.json == error(f"{said} {advice}", "Service Unavailable", None, 503)
    assert "Retry-After" not in refused.headers


# Streaming


def client_of(server: StandInServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key="sekret", max_retries=0)


def test_the_openai_client_gets_the_same_text_streamed_and_whole(server: StandInServer) -> None:
    asked = asking("Describe this image in detail.", image_url())
    with client_of(server) as client:
        whole = client.chat.completions.create(**asked)
        with client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}) as stream:
            chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content == "One red circle on a light background."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_stream_looks_like_vllms(server: StandInServer) -> None:
    answer = call(server, "POST", CHAT, asking(QUESTION, image_url(), stream=True))
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    events = answer.body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    first, token, last = (json.loads(event.removeprefix("data: ")) for event in events[:-2])
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert token["object"] == "chat.completion.chunk"
    assert token["choices"] == [
        {"index": 0, "delta": {"content": "A"}, "logprobs": None, "finish_reason": None, "token_ids": None}
    ]
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["system_fingerprint"].startswith("standin-")


# Latency and batching


def test_only_so_many_run_at_once_and_latency_is_kept() -> None:
    config = StandInConfig(max_num_seqs=4, faults=Faults(latency_s=0.1, per_token_s=0.05))
    with StandInServer(config) as server, ThreadPoolExecutor(12) as pool:
        begin = time.monotonic()
        answers = list(pool.map(lambda _: call(server, "POST", CHAT, asking(QUESTION, image_url())), range(12)))
        took_s = time.monotonic() - begin
        assert server.stats()["peak_in_flight"] == 12
    assert all(answer.status == 200 for answer in answers)
    assert took_s >= 3 * (0.1 + 2 * 0.05)  # three batches of four; two tokens, «A» and the end


def test_a_client_that_goes_gives_its_place_back() -> None:
    with StandInServer(StandInConfig(max_num_seqs=1, faults=Faults(latency_s=60))) as server:
        with pytest.raises(TimeoutError):
            call(server, "POST", CHAT, asking(), timeout_s=0.3)
        server.set_faults(Faults())
        assert call(server, "POST", CHAT, asking(), timeout_s=5).status == 200


# Faults

GONE = (http.client.RemoteDisconnected, ConnectionResetError)


def faulty(**faults: Any) -> StandInServer:
    return StandInServer(StandInConfig(faults=Faults(**faults)))


@pytest.mark.parametrize(
    ("fault", "status", "kind", "retry_after"),
    [
        ("error_rate", 500, "InternalServerError", None),
        ("busy_rate", 503, "Service Unavailable", None),
        ("rate_limit_rate", 429, "Too Many Requests", "1"),
        ("reject_rate", 400, "BadRequestError", None),
    ],
)
def test_a_refusal_on_demand(fault: str, status: int, kind: str, retry_after: str | None) -> None:
    with faulty(**{fault: 1}) as server:
        answer = call(server, "POST", CHAT, asking())
        assert (answer.status, answer.json["error"]["type"]) == (status, kind)
        assert answer.headers.get("Retry-After") == retry_after
        assert call(server, "GET", "/health").status == 200
        assert server.stats()["answered"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_dropped_connections_carry_no_answer(stream: bool) -> None:
    with faulty(drop_rate=1) as server, pytest.raises(GONE):
        call(server, "POST", CHAT, asking(stream=stream))


def test_a_cut_body_ends_in_the_middle() -> None:
    with faulty(cut_rate=1) as server:
        with pytest.raises(http.client.IncompleteRead) as whole:
            call(server, "POST", CHAT, asking())
        assert whole.value.partial.startswith(b'{"id":"chatcmpl-')
        with pytest.raises(http.client.IncompleteRead) as stream:
            call(server, "POST", CHAT, asking("Describe this image.", image_url(), stream=True))
        assert b'"delta"' in stream.value.partial
        assert b"[DONE]" not in stream.value.partial
        assert server.stats()["answered"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_garbage_is_200_and_no_json(stream: bool) -> None:
    with faulty(garbage_rate=1) as server:
        answer = call(server, "POST", CHAT, asking(stream=stream))
        assert answer.status == 200
        with pytest.raises(json.JSONDecodeError):
            _ = answer.json


def test_an_empty_answer_is_200_with_no_text() -> None:
    with faulty(empty_rate=1) as server:
        choice = call(server, "POST", CHAT, asking()).json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")


def test_an_aborted_answer_is_200_with_part_of_the_text() -> None:
    with faulty(abort_rate=1) as server:
        choice = call(server, "POST", CHAT, asking("Describe this image.", image_url())).json["choices"][0]
    assert choice["finish_reason"] == "abort"
    assert choice["message"]["content"] == "One red circle on"


def test_a_hanging_request_is_never_answered_and_others_are() -> None:
    with faulty(hang_rate=1) as server:
        with pytest.raises(TimeoutError):
            call(server, "POST", CHAT, asking(), timeout_s=0.3)
        assert call(server, "GET", "/health").status == 200
        server.set_faults(Faults())
        assert call(server, "POST", CHAT, asking()).status == 200


def answers_health(server: StandInServer) -> bool:
    try:
        return call(server, "GET", "/health").status == 200
    except GONE:
        return False


def test_the_server_goes_down_once_with_everything_and_comes_back() -> None:
    with faulty(down_after=2, down_s=1.0) as server:
        assert [call(server, "POST", CHAT, asking()).status for _ in range(2)] == [200, 200]
        for method, path in (("POST", CHAT), ("GET", "/health"), ("GET", "/v1/models")):
            with pytest.raises(GONE):
                call(server, method, path, asking() if method == "POST" else None)
        assert call(server, "GET", "/standin/stats").json["answered"] == 2
        wait_until(lambda: answers_health(server))
        assert [call(server, "POST", CHAT, asking()).status for _ in range(4)] == [200] * 4


def test_health_can_fail_alone() -> None:
    with faulty(fail_health=True) as server:
        assert call(server, "GET", "/health").status == 503
        assert call(server, "POST", CHAT, asking()).status == 200


def test_faults_follow_the_seed_and_a_retry_can_succeed() -> None:
    def statuses(seed: int) -> list[int]:
        with StandInServer(StandInConfig(seed=seed, faults=Faults(error_rate=0.3, busy_rate=0.2))) as server:
            return [call(server, "POST", CHAT, asking()).status for _ in range(60)]

    once = statuses(1)
    assert once == statuses(1)
    assert once != statuses(2)
    assert set(once) == {200, 500, 503}
    assert 15 < once.count(200) < 45


def test_whoever_retries_gets_everything_answered_once() -> None:
    rates = ("error", "busy", "rate_limit", "drop", "cut", "garbage", "empty", "abort")
    with StandInServer(StandInConfig(faults=Faults(**{f"{name}_rate": 0.08 for name in rates}))) as server:

        def persist(number: int) -> str:
            while True:
                with contextlib.suppress(*GONE, http.client.IncompleteRead, json.JSONDecodeError):
                    answer = call(server, "POST", CHAT, asking(f"Problem {number}. {QUESTION}", image_url()))
                    if answer.status == 200 and answer.json["choices"][0]["finish_reason"] == "stop" and answer.text:
                        return answer.text

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(persist, range(40))) == {"A"}
        stats = server.stats()
    assert (stats["answered"], stats["distinct"], stats["repeated"]) == (40, 40, 0)
    assert stats["requests"] > 60


def test_faults_can_be_replaced_over_http(server: StandInServer) -> None:
    try:
        assert call(server, "POST", "/standin/faults", {"error_rate": 1}).status == 200
        assert call(server, "POST", CHAT, asking()).status == 500
    finally:
        assert call(server, "POST", "/standin/faults", {}).status == 200
    assert call(server, "POST", CHAT, asking()).status == 200


@pytest.mark.parametrize(
    ("faults", "named"),
    [
        ({"typo_rate": 1}, "Known: latency_s, per_token_s, error_rate"),
        ({"error_rate": "all"}, "error_rate is 'all'"),
        ({"error_rate": 1.5}, "error_rate is 1.5"),
        ({"error_rate": 0.7, "drop_rate": 0.7}, "add up to more than 1 (error_rate 0.7, drop_rate 0.7)"),
        ({"latency_s": -1}, "latency_s is -1"),
        ({"fail_health": 1}, "Give true or false"),
    ],
)
def test_impossible_faults_are_refused_by_name(server: StandInServer, faults: dict[str, Any], named: str) -> None:
    answer = call(server, "POST", "/standin/faults", faults)
    assert answer.status == 400
    assert named in answer.json["error"]["message"]
    with pytest.raises(UsageError):
        Faults.parse(faults)


# Statistics, stopping, restarting


def test_stats_tell_how_often_the_same_request_was_answered_again() -> None:
    with StandInServer() as server:
        bodies = [json.dumps(asking(text, image_url())).encode() for text in ("one", "two", "one", "one")]
        for body in bodies:
            call(server, "POST", CHAT, body)
        call(server, "POST", CHAT, b"{}")
        expected = {
            "requests": 5,
            "answered": 4,
            "distinct": 2,
            "repeated": 2,
            "images": 4,
            "peak_in_flight": 1,
            "body_bytes": sum(map(len, bodies)) + 2,
        }
        assert server.stats() == expected
        assert call(server, "GET", "/standin/stats").json == expected


def test_a_restart_keeps_port_faults_and_stats_and_refuses_in_between() -> None:
    with StandInServer() as server:
        port = server.port
        server.set_faults(Faults(empty_rate=1))
        call(server, "POST", CHAT, asking())
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            call(server, "GET", "/health")
        server.start()
        assert server.port == port
        assert server.url == f"http://127.0.0.1:{port}/v1"
        assert call(server, "POST", CHAT, asking()).text == ""
        assert server.stats()["requests"] == 2


def test_stopping_lets_requests_in_flight_finish_and_aborting_does_not() -> None:
    with StandInServer(StandInConfig(faults=Faults(latency_s=1))) as server, ThreadPoolExecutor(1) as pool:
        for abort in (False, True):
            running = pool.submit(call, server, "POST", CHAT, asking())
            wait_until(lambda: metrics_of(server)["vllm:num_requests_running"] == 1)
            server.restart(abort=abort)
            if abort:
                with pytest.raises(GONE):
                    running.result()
            else:
                assert running.result().status == 200


def test_a_stop_leaves_no_connection_open() -> None:
    """Neither answered ones nor those that came in that moment."""
    ended = threading.Event()
    request = f"POST {CHAT} HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{{}}".encode()

    def keep_asking() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1) as asking:
                asking.sendall(request)
                asking.recv(1)

    warned = []
    with pytest.MonkeyPatch.context() as patched, StandInServer(StandInConfig(grace_s=0.2)) as server:
        patched.setattr(sys, "unraisablehook", lambda unraisable: warned.append(str(unraisable.exc_value)))
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(keep_asking) for _ in range(4)]
            try:
                for number in range(10):
                    served = server.stats()["requests"]
                    wait_until(lambda served=served: server.stats()["requests"] > served)
                    server.restart(abort=number % 2 == 0)
            finally:
                ended.set()
        for future in asking:
            future.result()
        server.stop()
        gc.collect()
    assert warned == []


def test_stopping_is_bounded_by_the_grace_period() -> None:
    config = StandInConfig(grace_s=0.2, faults=Faults(latency_s=60))
    with StandInServer(config) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(call, server, "POST", CHAT, asking())
        wait_until(lambda: metrics_of(server)["vllm:num_requests_running"] == 1)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 5
        with pytest.raises(GONE):
            running.result()


def test_a_taken_port_is_a_usage_error_that_names_it(server: StandInServer) -> None:
    second = StandInServer(port=server.port)
    with pytest.raises(UsageError, match=f"Cannot listen on 127.0.0.1:{server.port}"):
        second.start()


def test_no_thread_stays_behind() -> None:
    before = set(threading.enumerate())
    with StandInServer() as server:
        call(server, "POST", CHAT, asking(QUESTION, image_url()))
        assert set(threading.enumerate()) > before
    wait_until(lambda: set(threading.enumerate()) <= before)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


# The command


def metrics_at(url: str) -> bytes:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/metrics", timeout=10) as response:
        return response.read()


@contextlib.contextmanager
def command(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``captionqa standin`` in a process of its own, and the line it prints when ready."""
    run = [sys.executable, "-c", "from captionqa.cli.standin import standin; standin()", "--port", "0", *options]
    with subprocess.Popen(
        run, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_and_what_it_is_and_ends_on_a_signal(number: int, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("sekret\n")
    with command("--model", "some/name", "--latency", "1", "--api-key-file", str(key_file)) as (process, line):
        assert "stand-in for vLLM, no model" in line
        url = line.split()[0]
        with openai.OpenAI(base_url=url, api_key="sekret", max_retries=0) as client, ThreadPoolExecutor(1) as pool:
            assert [model.owned_by for model in client.models.list()] == ["captionqa-standin"]
            with pytest.raises(openai.AuthenticationError):
                client.with_options(api_key="wrong").models.list()
            running = pool.submit(client.chat.completions.create, **asking(model="some/name"))
            wait_until(lambda: b'vllm:num_requests_running{engine="0",model_name="some/name"} 1.0' in metrics_at(url))
            process.send_signal(number)
            assert running.result().choices[0].finish_reason == "stop"
        assert process.wait(10) == 0


def test_the_command_line_is_light_to_import() -> None:
    heavy = "{'aiohttp', 'numpy', 'PIL', 'openai', 'pandas', 'pyarrow'}"
    code = f"import sys, captionqa.cli.standin; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
