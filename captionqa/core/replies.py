"""What a server's reply means: status, headers and body in; a completion, or a typed reason why there is none, out.

One table for every error class, after real vLLM 0.32 replies. Two facts shape it: a 500 can be permanent (an image
over the pixel limit, file:// not allowed) or transient (engine died, shutting down), and a 200 need not be an answer
(aborted, empty, cut). Never retries, never waits, never decides about the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


class Verdict(Enum):
    """What to do about a reply that is no answer."""

    TRANSIENT = auto()
    """Try again; counts against the item."""
    BUSY = auto()
    """Try again later and more slowly; the item is not at fault."""
    REJECTED = auto()
    """This request is at fault: never retried unchanged."""
    REFUSED = auto()
    """No request can succeed: key, model or path. Stops the run."""


class NoAnswer(Exception):
    """A reply without an answer, or none at all. Travels as an exception between the client's layers."""

    def __init__(self, verdict: Verdict, reason: str, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.verdict = verdict
        self.reason = reason
        """Short and stable, for counting: ``http_500``, ``empty``, ``aborted``, ``timeout``, …"""
        self.detail = detail
        """The server's own words, shortened."""
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's complete answer."""

    text: str
    finish_reason: str
    reasoning: str | None
    usage: Mapping[str, int]


PERMANENT_500 = (
    "exceeds limit of",
    "decompression bomb",
    "cannot load local files",
    "no such file or directory",
    "cannot identify image file",
)
"""Phrases, lower case, of vLLM's InternalServerError bodies that the same request will meet again."""

DETAIL_CHARACTERS = 500


def classify_error(status: int, headers: Mapping[str, str], body: bytes) -> NoAnswer:
    """What a status of 300 or above means."""
    message = error_message(body)
    reason = f"http_{status}"
    if status in (401, 403):
        return NoAnswer(Verdict.REFUSED, reason, message)
    if status in (404, 405):
        return NoAnswer(Verdict.REFUSED, reason, message)
    if status in (429, 503):
        return NoAnswer(Verdict.BUSY, reason, message, _retry_after_s(headers))
    if status >= 500 and any(phrase in message.lower() for phrase in PERMANENT_500):
        return NoAnswer(Verdict.REJECTED, reason, message)
    if status >= 500 or status in (408, 409, 425):
        return NoAnswer(Verdict.TRANSIENT, reason, message, _retry_after_s(headers))
    if 300 <= status < 400:
        return NoAnswer(Verdict.REFUSED, reason, f"redirect to {headers.get('location', 'nowhere')}: {message}")
    return NoAnswer(Verdict.REJECTED, reason, message)


def read_completion(body: bytes) -> Completion:
    """The answer in a 200 reply.

    Raises: NoAnswer (transient) when the body is cut or no JSON, holds an error, was aborted, or is empty. An empty
    text with finish_reason ``length`` is an answer: the limit was spent on reasoning.
    """
    try:
        reply = json.loads(body)
    except ValueError as error:
        raise NoAnswer(Verdict.TRANSIENT, "garbage", f"200 with a body that is no JSON: {_shorten(body)}") from error
    if isinstance(reply, dict) and reply.get("error"):
        raise NoAnswer(Verdict.TRANSIENT, "error_in_200", error_message(body))
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        finish_reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoAnswer(Verdict.TRANSIENT, "garbage", f"200 without choices: {_shorten(body)}") from error
    if not isinstance(text, str):
        raise NoAnswer(Verdict.TRANSIENT, "garbage", f"200 with content that is no text: {_shorten(body)}")
    if finish_reason is None or finish_reason == "abort":
        raise NoAnswer(Verdict.TRANSIENT, "aborted", f"finish_reason {finish_reason!r}: the answer is not complete")
    if not text.strip() and finish_reason != "length":
        raise NoAnswer(Verdict.TRANSIENT, "empty", f"empty content, finish_reason {finish_reason!r}")
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    return Completion(text, str(finish_reason), reasoning, _usage(reply.get("usage")))


def read_models(body: bytes) -> dict[str, int | None]:
    """The served models in a 200 reply of ``/v1/models``, each with vLLM's ``max_model_len``: the tokens of prompt and
    answer together. None where the server does not say. Raises: NoAnswer (transient) for what is no list of models."""
    try:
        models = json.loads(body)["data"] or ()
        lengths = ((str(model["id"]), model.get("max_model_len")) for model in models)
        return {name: length if isinstance(length, int) else None for name, length in lengths}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoAnswer(Verdict.TRANSIENT, "garbage", f"/models is no list of models: {_shorten(body)}") from error


def error_message(body: bytes) -> str:
    """The message of an error body: vLLM's ``{"error": {"message"}}``, ``{"error": "Unauthorized"}``,
    ``{"detail": …}``, or the beginning of whatever it is."""
    try:
        reply = json.loads(body)
    except ValueError:
        return _shorten(body)
    if isinstance(reply, dict):
        error = reply.get("error", reply.get("detail", reply.get("message")))
        if isinstance(error, dict):
            error = error.get("message", error)
        if error is not None:
            return str(error)[:DETAIL_CHARACTERS]
    return _shorten(body)


def _usage(usage: Any) -> dict[str, int]:
    if not isinstance(usage, dict):
        return {}
    names = ("prompt_tokens", "completion_tokens")
    return {name: usage[name] for name in names if isinstance(usage.get(name), int)}


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header. The date form is not read: it needs a clock that agrees with the server's."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _shorten(body: bytes) -> str:
    return " ".join(body[:DETAIL_CHARACTERS].decode("utf-8", "replace").split()) or "(empty body)"
