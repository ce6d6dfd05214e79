"""What a server's reply means: status, headers and body in; a completion, or a typed reason why there is none, out.

One table for every error class, after real vLLM 0.32 replies. Two facts shape it: a 500 can be permanent (an image
over the pixel limit, file:// not allowed) or transient (engine died, shutting down), and a 200 need not be an answer
(aborted, empty, cut). Never retries, never waits, never decides about the run.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from email.utils import mktime_tz, parsedate_tz
from enum import Enum, auto
from typing import Any

from captionqa.core.reasons import Reason, http_reason
from captionqa.core.thinking import split_thinking


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
    thought_in_text: bool = False
    """Whether (part of) the reasoning was taken out of the text: the server has no parser for it."""


DETAIL_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table below."""

    statuses: Container[int]
    verdict: Verdict
    phrases: tuple[str, ...] = ()
    """One of them, lower case, must stand in the message; none: any message will do."""
    reason: Reason | None = None
    """None: ``http_<status>``."""

    def fits(self, status: int, message: str) -> bool:
        return status in self.statuses and (not self.phrases or any(phrase in message for phrase in self.phrases))


_CLIENT_ERROR, _SERVER_ERROR = range(400, 500), range(500, 600)
_AT_FAULT = (400, 413, 422)
"""A request that cannot be served as it is. Any 5xx may say the same: vLLM has no status for it in every place."""

RULES = (
    Rule((401, 403, 404, 405, 407), Verdict.REFUSED),
    Rule(range(300, 400), Verdict.REFUSED),
    Rule(_AT_FAULT, Verdict.REFUSED, ("cannot be greater than max_model_len",), Reason.MAX_TOKENS),
    Rule(
        _AT_FAULT,
        Verdict.REJECTED,
        # vLLM before and after tokenizing and in its engine; OpenAI; SGLang; llama.cpp.
        (
            "maximum context length",
            "maximum model length",
            "max_tokens must be at least 1",  # no room for one: the prompt fills the context to its last token
            "context_length_exceeded",
            "longer than the model's context length",
            "exceeds the available context size",
        ),
        Reason.TOO_LONG,
    ),
    Rule(_AT_FAULT, Verdict.REJECTED, ("encoder cache size",), Reason.IMAGE_TOO_LARGE),
    Rule(_AT_FAULT, Verdict.REJECTED, ("image(s) may be provided",), Reason.TOO_MANY_IMAGES),
    Rule((429, 503), Verdict.BUSY),
    Rule((408, 409, 425), Verdict.TRANSIENT),
    Rule(_CLIENT_ERROR, Verdict.REJECTED),
    Rule(_SERVER_ERROR, Verdict.REJECTED, ("exceeds limit of", "decompression bomb"), Reason.IMAGE_TOO_LARGE),
    Rule(
        _SERVER_ERROR,
        Verdict.REJECTED,
        ("cannot load local files", "no such file or directory", "cannot identify image file"),
    ),
    Rule((501,), Verdict.REJECTED),
    Rule(_SERVER_ERROR, Verdict.TRANSIENT),
)
"""The first that fits decides. What no rule fits is no HTTP status in use, and rejected."""


def classify_error(status: int, headers: Mapping[str, str], body: bytes) -> NoAnswer:
    """What a status of 300 or above means."""
    message = error_message(body)
    words = message.lower()
    rule = next((rule for rule in RULES if rule.fits(status, words)), Rule((), Verdict.REJECTED))
    if 300 <= status < 400:
        message = f"redirect to {headers.get('location', 'nowhere')}: {message}"
    again = rule.verdict in (Verdict.BUSY, Verdict.TRANSIENT)
    return NoAnswer(
        rule.verdict, rule.reason or http_reason(status), message, _retry_after_s(headers) if again else None
    )


INCOMPLETE = (None, "abort", "error")
"""Values of finish_reason of an answer that the server gave up. Any other value ends an answer, and is recorded."""


def read_completion(body: bytes) -> Completion:
    """The answer in a 200 reply, its reasoning kept apart.

    Raises: NoAnswer: transient when the body is cut or no JSON, was aborted, or is empty; for an error in the body what
    that error means by itself; rejected when the server withheld text. An empty text with finish_reason ``length`` is
    an answer: the limit was spent on reasoning.
    """
    try:
        reply = json.loads(body)
    except ValueError as error:
        detail = f"200 with a body that is no JSON: {_shorten(body)}"
        raise NoAnswer(Verdict.TRANSIENT, Reason.GARBAGE, detail) from error
    if isinstance(reply, dict) and reply.get("error"):
        raise _error_in_200(reply["error"], body)
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        finish_reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoAnswer(Verdict.TRANSIENT, Reason.GARBAGE, f"200 without choices: {_shorten(body)}") from error
    if not isinstance(text, str):
        raise NoAnswer(Verdict.TRANSIENT, Reason.GARBAGE, f"200 with content that is no text: {_shorten(body)}")
    if finish_reason in INCOMPLETE:
        detail = f"finish_reason {finish_reason!r}: the answer is not complete"
        raise NoAnswer(Verdict.TRANSIENT, Reason.ABORTED, detail)
    if finish_reason == "content_filter":
        raise NoAnswer(Verdict.REJECTED, Reason.CONTENT_FILTER, "the server withheld the answer or a part of it")
    said = message.get("reasoning") or message.get("reasoning_content")
    text, thought = split_thinking(text)
    if not text.strip() and finish_reason != "length":
        raise NoAnswer(Verdict.TRANSIENT, Reason.EMPTY, f"empty content, finish_reason {finish_reason!r}")
    reasoning = "\n".join(str(part) for part in (said, thought) if part) or None
    return Completion(text, str(finish_reason), reasoning, _usage(reply.get("usage")), thought is not None)


def without_open_thinking(completion: Completion) -> Completion:
    """The completion of a model whose chat template opens its thinking: a text that was cut before the end of thinking
    has no mark, and is reasoning all the same. With a parser in the server it would not be in the text."""
    if completion.finish_reason != "length" or completion.reasoning is not None:
        return completion
    return replace(completion, text="", reasoning=completion.text or None, thought_in_text=bool(completion.text))


def _error_in_200(error: Any, body: bytes) -> NoAnswer:
    """Some gateways answer 200 and say in the body what went wrong. Where that has a status, the table holds for it."""
    status = error.get("code") if isinstance(error, dict) else None
    if not isinstance(status, int) or status not in range(400, 600):
        return NoAnswer(Verdict.TRANSIENT, Reason.ERROR_IN_200, error_message(body))
    found = classify_error(status, {}, body)
    reason = Reason.ERROR_IN_200 if found.reason == http_reason(status) else found.reason
    return NoAnswer(found.verdict, reason, found.detail)


def read_models(body: bytes) -> dict[str, int | None]:
    """The served models in a 200 reply of ``/v1/models``, each with vLLM's ``max_model_len``: the tokens of prompt and
    answer together. None where the server does not say. Raises: NoAnswer (transient) for what is no list of models."""
    try:
        models = json.loads(body)["data"] or ()
        lengths = ((str(model["id"]), model.get("max_model_len")) for model in models)
        return {name: length if isinstance(length, int) else None for name, length in lengths}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoAnswer(Verdict.TRANSIENT, Reason.GARBAGE, f"/models is no list of models: {_shorten(body)}") from error


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt, tokenized."""

    count: int
    """Of the whole prompt: chat template, texts and images."""
    strings: tuple[str, ...] | None
    """The tokens as texts, when they were asked for."""


def read_tokens(body: bytes) -> Tokens:
    """What vLLM's ``/tokenize`` answers. Raises: NoAnswer (transient) for anything else."""
    try:
        reply = json.loads(body)
        strings = reply.get("token_strs")
        return Tokens(int(reply["count"]), None if strings is None else tuple(map(str, strings)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"/tokenize does not count: {_shorten(body)}"
        raise NoAnswer(Verdict.TRANSIENT, Reason.GARBAGE, detail) from error


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
    """Seconds of a Retry-After header. Its date form counts from the reply's own Date, so that no clocks need agree."""
    asked = headers.get("retry-after", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        until, now = _date(asked), _date(headers.get("date", ""))
    return None if until is None or now is None else max(0.0, until - now)


def _date(text: str) -> float | None:
    """Seconds since 1970; None for what is no HTTP date."""
    parts = parsedate_tz(text)
    try:
        return None if parts is None else mktime_tz(parts)
    except (ValueError, OverflowError):
        return None


def _shorten(body: bytes) -> str:
    return " ".join(body[:DETAIL_CHARACTERS].decode("utf-8", "replace").split()) or "(empty body)"
