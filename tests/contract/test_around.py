"""Around the chat: models, keys, ids, metrics, tokens."""

from __future__ import annotations

import uuid

import pytest

from captionqa.core.replies import Verdict, classify_error, read_models
from captionqa.server.probe import parse_counts

from .endpoint import CHAT, MAX_MODEL_LEN, QUESTION, Endpoint, image, picture


def test_one_model_is_listed_with_its_context_length(endpoint: Endpoint) -> None:
    reply = endpoint.get("/v1/models")
    (entry,) = reply.json["data"]
    assert (reply.json["object"], entry["object"]) == ("list", "model")
    assert (entry["id"], entry["max_model_len"]) == (endpoint.model, MAX_MODEL_LEN)
    assert set(entry) == {"id", "object", "created", "owned_by", "root", "parent", "max_model_len", "permission"}
    assert read_models(reply.body) == {endpoint.model: MAX_MODEL_LEN}


@pytest.mark.parametrize("key", [None, "Bearer wrong", "Bearer", "Basic {key}", "{key}"])
@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/nothing")])
def test_everything_below_v1_needs_the_key(endpoint: Endpoint, method: str, path: str, key: str | None) -> None:
    reply = endpoint.call(method, path, key=key.format(key=endpoint.key) if key else key)
    assert (reply.status, reply.json) == (401, {"error": "Unauthorized"})
    refusal = classify_error(reply.status, reply.headers, reply.body)
    assert (refusal.verdict, refusal.detail) == (Verdict.REFUSED, "Unauthorized")


def test_the_scheme_may_be_in_small_letters(endpoint: Endpoint) -> None:
    assert endpoint.get("/v1/models", key=f"bearer {endpoint.key}").status == 200


@pytest.mark.parametrize("path", ["/health", "/ping", "/metrics", "/version"])
def test_these_are_open(endpoint: Endpoint, path: str) -> None:
    assert endpoint.get(path, key=None).status == 200


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_health_has_no_body(endpoint: Endpoint, path: str) -> None:
    assert endpoint.get(path).body == b""


def test_the_version_is_a_text(endpoint: Endpoint) -> None:
    reply = endpoint.get("/version")
    assert set(reply.json) == {"version"}
    assert reply.json["version"].partition(".")[0] == "0"


# Ids


def test_a_request_id_names_the_completion_and_comes_back(endpoint: Endpoint) -> None:
    given = uuid.uuid4().hex
    reply = endpoint.chat(endpoint.asking(QUESTION), headers={"X-Request-Id": given})
    assert (reply.json["id"], reply.headers["X-Request-Id"]) == (f"chatcmpl-{given}", given)
    assert endpoint.get("/health", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


def test_a_request_without_an_id_gets_one(endpoint: Endpoint) -> None:
    first, second = (endpoint.ask(QUESTION) for _ in range(2))
    assert first.json["id"].startswith("chatcmpl-")
    assert first.json["id"] != second.json["id"]
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


def test_by_default_no_header_tells_the_id(plain: Endpoint) -> None:
    reply = plain.chat(plain.asking(QUESTION), headers={"X-Request-Id": "mine"})
    assert reply.json["id"] == "chatcmpl-mine"
    assert "X-Request-Id" not in reply.headers


# Metrics

GAUGES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
COUNTERS = (
    *("prefix_cache_queries_total", "prefix_cache_hits_total", "mm_cache_queries_total", "mm_cache_hits_total"),
    *("prompt_tokens_total", "generation_tokens_total", "request_success_total", "num_preemptions_total"),
)


def test_metrics_have_these_names_types_and_labels(endpoint: Endpoint) -> None:
    endpoint.ask(image(picture()), QUESTION)
    reply = endpoint.get("/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=1.0.0; charset=utf-8"
    lines = reply.body.decode().splitlines()
    for names, kind in ((GAUGES, "gauge"), (COUNTERS, "counter")):
        for name in names:
            assert f"# TYPE vllm:{name} {kind}" in lines
            values = [line for line in lines if line.startswith(f"vllm:{name}{{")]
            assert values, name
            for line in values:
                assert 'engine="0"' in line
                assert f'model_name="{endpoint.model}"' in line
    reasons = [line for line in lines if line.startswith("vllm:request_success_total{")]
    for reason in ("stop", "length", "abort", "error", "repetition"):
        assert any(f'finished_reason="{reason}"' in line for line in reasons)


def test_an_idle_server_runs_and_queues_nothing_and_counts_what_it_did(endpoint: Endpoint) -> None:
    before = endpoint.metrics()
    usage = endpoint.ask(image(picture()), QUESTION).usage
    after = endpoint.metrics()
    assert [after[f"vllm:{name}"] for name in GAUGES] == [0, 0, 0]
    grown = {name: after[f"vllm:{name}"] - before[f"vllm:{name}"] for name in COUNTERS}
    assert grown["request_success_total"] == 1
    assert grown["prompt_tokens_total"] == usage["prompt_tokens"]
    assert grown["generation_tokens_total"] == usage["completion_tokens"]
    assert grown["prefix_cache_queries_total"] == usage["prompt_tokens"]
    assert grown["mm_cache_queries_total"] == 1


def test_our_reader_of_metrics_sees_finished_requests(endpoint: Endpoint) -> None:
    before = parse_counts(endpoint.get("/metrics").body.decode())
    endpoint.ask(QUESTION)
    after = parse_counts(endpoint.get("/metrics").body.decode())
    assert before is not None
    assert after is not None
    assert (after.open, after.finished - before.finished) == (0, 1)
    assert after.progress > before.progress


def test_a_repeated_long_prompt_is_found_in_the_prefix_cache(endpoint: Endpoint) -> None:
    asked = endpoint.asking(image(picture(size=(512, 512))), "A red circle. " * 100 + uuid.uuid4().hex)
    usage = endpoint.chat(asked).usage
    before = endpoint.metrics()
    endpoint.chat(asked)
    after = endpoint.metrics()
    hits = after["vllm:prefix_cache_hits_total"] - before["vllm:prefix_cache_hits_total"]
    assert usage["prompt_tokens"] * 0.7 < hits <= usage["prompt_tokens"]


# Tokens


def test_tokenize_counts_a_text_without_a_key(endpoint: Endpoint) -> None:
    reply = endpoint.call("POST", "/tokenize", {"prompt": "A red circle."}, key=None)
    assert set(reply.json) == {"count", "max_model_len", "tokens", "token_strs"}
    assert (reply.json["count"], reply.json["max_model_len"]) == (4, MAX_MODEL_LEN)
    assert len(reply.json["tokens"]) == 4


def test_tokenize_counts_a_conversation_as_a_request_is_charged(endpoint: Endpoint) -> None:
    messages = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "What color is the shape?"},
    ]
    charged = endpoint.chat({"messages": messages, "max_tokens": 1, "temperature": 0}).usage["prompt_tokens"]
    assert endpoint.call("POST", "/tokenize", {"messages": messages}).json["count"] == charged
