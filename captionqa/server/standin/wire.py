"""What the stand-in says on the wire, in the shapes of vLLM 0.32: errors, completions, streams, models, metrics.

In: texts and counts. Out: dictionaries and bytes. Never reads a request (see `request`), never waits.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionqa import __version__

FINGERPRINT = f"standin-{__version__}"
OWNER = "captionqa-standin"
VLLM_VERSION = "0.32.0"
"""The version whose answers these are; the fingerprint and the owner say what really answers."""

_TOKEN = re.compile(r"\s*(?:\w{1,8}|[^\w\s])|\s+")


def split_tokens(text: str) -> list[str]:
    """Wordish pieces that join to ``text`` again; a rough stand-in for a tokenizer."""
    return _TOKEN.findall(text)


def dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as vLLM words it."""

    status: int
    kind: str
    message: str
    param: str | None = None

    def body(self) -> bytes:
        fields = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return dump({"error": fields})


class Refused(Exception):
    """Carries a refusal out of parsing."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def bad_request(message: str, param: str | None = None) -> Refusal:
    """What the engine refuses; with a parameter and its value, vLLM appends both to the message itself."""
    return Refusal(400, "BadRequestError", message, param)


def bad_value(param: str, value: object, message: str) -> Refusal:
    return bad_request(f"{message} (parameter={param}, value={value})", param)


def invalid(detail: Mapping[str, object]) -> Refusal:
    """What the schema refuses; the type has a space, unlike the engine's."""
    return Refusal(400, "Bad Request", f"1 validation error:\n  {dict(detail)}", str(detail["loc"]))


ENGINE_FAILED = Refusal(
    500,
    "InternalServerError",
    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
)
BUSY = Refusal(
    503,
    "Service Unavailable",
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.",
)
RATE_LIMITED = Refusal(429, "Too Many Requests", "Rate limit reached. Please try again later.")
REJECTED = bad_request("The stand-in rejected this request on demand.")
UNAUTHORIZED = dump({"error": "Unauthorized"})


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer, cut to the tokens that were asked for."""

    id: str
    created: int
    model: str
    tokens: tuple[str, ...]
    finish_reason: str
    prompt_tokens: int
    stop_reason: str | None = None
    """The stop string that ended it."""

    @property
    def completion_tokens(self) -> int:
        """The end of the text is a token too, unless the text was cut before it."""
        return len(self.tokens) + (self.finish_reason == "stop")

    def usage(self) -> dict[str, int]:
        prompt, completion = self.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}

    def body(self) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.tokens)}
        message |= dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
        choice: dict[str, Any] = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        choice |= {"stop_reason": self.stop_reason} | dict.fromkeys(("token_ids", "routed_experts"))
        answer = self._head("chat.completion") | {
            "choices": [choice],
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": self.usage() | {"prompt_tokens_details": None, "completion_tokens_details": None},
        }
        answer |= dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params"))
        return dump(answer | {"ec_transfer_params": None, "metrics": None})

    def events(self, include_usage: bool) -> Iterator[bytes]:
        """The stream's server-sent events: the role, one per token, the end, the usage if wanted, ``[DONE]``."""
        head = self._head("chat.completion.chunk")
        first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        yield _event(head | {"choices": [first], "prompt_token_ids": None, "prompt_text": None})
        for token in self.tokens:
            choice = {"index": 0, "delta": {"content": token}, "logprobs": None, "finish_reason": None}
            yield _event(head | {"choices": [choice | {"token_ids": None}]})
        last: dict[str, Any] = {"index": 0, "delta": {"content": ""}, "logprobs": None}
        last |= {"finish_reason": self.finish_reason, "stop_reason": self.stop_reason, "token_ids": None}
        fingerprint = {"system_fingerprint": FINGERPRINT}
        if include_usage:
            yield _event(head | {"choices": [last]})
            yield _event(head | {"choices": [], "usage": self.usage()} | fingerprint)
        else:
            yield _event(head | {"choices": [last]} | fingerprint)
        yield b"data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def _event(value: object) -> bytes:
    return b"data: " + dump(value) + b"\n\n"


def completion_id(request_id: str | None) -> str:
    return f"chatcmpl-{request_id or uuid.uuid4().hex[:16]}"


def model_list(model: str, max_model_len: int, created: int) -> bytes:
    permission = {"id": f"modelperm-{uuid.uuid4().hex[:16]}", "object": "model_permission", "created": created}
    permission |= {"allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True}
    permission |= {"allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False}
    permission |= {"organization": "*", "group": None, "is_blocking": False}
    entry = {"id": model, "object": "model", "created": created, "owned_by": OWNER, "root": model, "parent": None}
    entry |= {"max_model_len": max_model_len, "permission": [permission]}
    return dump({"object": "list", "data": [entry]})


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of ``/metrics`` with its help."""

    name: str
    kind: str
    help: str
    value: float
    labels: Mapping[str, str]


def render_metrics(metrics: Sequence[Metric], model: str) -> str:
    """Prometheus text; every value carries vLLM's labels ``engine`` and ``model_name``."""
    lines: list[str] = []
    described: set[str] = set()
    for metric in metrics:
        if metric.name not in described:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            described.add(metric.name)
        labels = {"engine": "0", **metric.labels, "model_name": model}
        inside = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
        lines.append(f"{metric.name}{{{inside}}} {float(metric.value)}")
    return "\n".join(lines) + "\n"
