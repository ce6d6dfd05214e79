"""From a request body to what is asked, refusing what vLLM 0.32 refuses in vLLM's words and order.

In: bytes, a content type and the server's limits. Out: a `ChatRequest`, or `wire.Refused`. Unknown fields are ignored,
as vLLM ignores them. Never decodes an image (see `vision`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from captionqa.server.standin.config import StandInConfig
from captionqa.server.standin.wire import Refusal, Refused, bad_request, bad_value, invalid


@dataclass(frozen=True, slots=True)
class Picture:
    """An image part; ``url`` as sent, usually a data URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    parts: tuple[str | Picture, ...]

    @property
    def text(self) -> str:
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What one chat completion asks."""

    messages: tuple[Message, ...]
    max_tokens: int | None
    """None: as many as fit."""
    choice: tuple[str, ...] | None
    """``structured_outputs.choice``: the answer must be one of these."""
    stream: bool
    include_usage: bool

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(part for message in self.messages for part in message.parts if isinstance(part, Picture))

    @property
    def question(self) -> str:
        """The last user message, which is what wants an answer."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")


def parse_json(body: bytes, content_type: str) -> dict[str, Any]:
    """The body as an object.

    Raises:
        Refused: the content type is not JSON's or the body is not a JSON object.
    """
    if content_type != "application/json":
        problem = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise Refused(Refusal(400, "Bad Request", problem))
    try:
        value = json.loads(body)
    except json.JSONDecodeError as error:
        fault = {"type": "json_invalid", "loc": f"body.{error.pos}", "msg": "JSON decode error"}
        fault |= {"input": "<dict of 0 items>", "ctx": {"error": error.msg}}  # type: ignore[dict-item]
        raise Refused(invalid(fault)) from error
    except UnicodeDecodeError as error:
        raise Refused(Refusal(400, "Bad Request", "There was an error parsing the body")) from error
    if not isinstance(value, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise Refused(_wrong_type("model_attributes_type", "", message, value))
    return value


def parse_chat(fields: Mapping[str, Any], config: StandInConfig) -> ChatRequest:
    """What is asked, within the server's limits.

    Raises:
        Refused: as vLLM would.
    """
    raw_messages = _raw_messages(fields)
    sampling = {name: _number(fields, name) for name in ("temperature", "top_p")}
    limits = {name: _integer(fields, name) for name in ("max_completion_tokens", "max_tokens", "n")}
    _check_model(fields.get("model"), config.model)
    max_tokens = (
        limits["max_completion_tokens"] if limits["max_completion_tokens"] is not None else limits["max_tokens"]
    )
    _check_sampling(sampling, max_tokens, config)
    if limits["n"] not in (None, 1):
        raise Refused(bad_value("n", limits["n"], f"The stand-in gives one answer per request, n={limits['n']}."))
    if not raw_messages:
        problem = "Cannot apply chat template to an empty conversation. Provide at least one message."
        raise Refused(bad_request(problem))
    messages = tuple(_message(raw) for raw in raw_messages)
    stream_options = fields.get("stream_options")
    request = ChatRequest(
        messages=messages,
        max_tokens=max_tokens,
        choice=_choice(fields),
        stream=bool(fields.get("stream")),
        include_usage=isinstance(stream_options, Mapping) and bool(stream_options.get("include_usage")),
    )
    if config.max_images is not None and len(request.pictures) > config.max_images:
        message = f"At most {config.max_images} image(s) may be provided in one prompt. (parameter=image)"
        raise Refused(bad_request(message, "image"))
    return request


def _wrong_type(kind: str, name: str, message: str, value: object) -> Refusal:
    return invalid({"type": kind, "loc": f"body.{name}" if name else "body", "msg": message, "input": value})


def _raw_messages(fields: Mapping[str, Any]) -> list[Any]:
    if "messages" not in fields:
        fault = {"type": "missing", "loc": "body.messages", "msg": "Field required"}
        raise Refused(invalid(fault | {"input": f"<dict of {len(fields)} items>"}))
    messages = fields["messages"]
    if not isinstance(messages, list):
        raise Refused(_wrong_type("list_type", "messages", "Input should be a valid list", messages))
    return messages


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        message = "Input should be a valid number, unable to parse string as a number"
        raise Refused(_wrong_type("float_parsing", name, message, value)) from error


def _integer(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        message = "Input should be a valid integer, unable to parse string as an integer"
        raise Refused(_wrong_type("int_parsing", name, message, value)) from error


def _check_model(asked: object, served: str) -> None:
    """A request without a model is answered, as vLLM does."""
    if asked is not None and asked != served:
        message = f"The model `{asked}` does not exist. Valid aliases: {served}."
        raise Refused(Refusal(404, "NotFoundError", message, "model"))


def _check_sampling(sampling: Mapping[str, float | None], max_tokens: int | None, config: StandInConfig) -> None:
    temperature, top_p = sampling["temperature"], sampling["top_p"]
    if max_tokens is not None and max_tokens > config.max_model_len:
        message = f"max_tokens={max_tokens} cannot be greater than max_model_len={config.max_model_len}."
        raise Refused(bad_value("max_tokens", max_tokens, f"{message} Please request fewer output tokens."))
    if max_tokens is not None and max_tokens < 1:
        raise Refused(bad_value("max_tokens", max_tokens, f"max_tokens must be at least 1, got {max_tokens}."))
    if temperature is not None and temperature < 0:
        message = f"temperature must be non-negative, got {temperature}."
        raise Refused(bad_value("temperature", temperature, message))
    if top_p is not None and not 0 < top_p <= 1:
        raise Refused(bad_value("top_p", top_p, f"top_p must be in (0, 1], got {top_p}."))


def _choice(fields: Mapping[str, Any]) -> tuple[str, ...] | None:
    structured = fields.get("structured_outputs")
    choice = structured.get("choice") if isinstance(structured, Mapping) else None
    if choice is None:
        return None
    if not isinstance(choice, list):
        raise Refused(_wrong_type("list_type", "structured_outputs.choice", "Input should be a valid list", choice))
    if not choice:
        raise Refused(bad_request(f"Choice '{choice}' cannot be an empty list"))
    return tuple(str(option) for option in choice)


def _message(raw: Any) -> Message:
    if not isinstance(raw, Mapping):
        raise Refused(_wrong_type("dict_type", "messages", "Input should be a valid dictionary", raw))
    return Message(str(raw.get("role", "user")), tuple(_parts(raw.get("content"))))


def _parts(content: Any) -> Iterator[str | Picture]:
    if content is None:
        return
    if isinstance(content, str):
        yield content
        return
    if not isinstance(content, list):
        raise Refused(_wrong_type("list_type", "messages", "Input should be a valid list", content))
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            yield str(part.get("text") or "")
        elif kind == "image_url":
            image_url = part.get("image_url")
            yield Picture(str(image_url.get("url") if isinstance(image_url, Mapping) else image_url))
        else:
            # vLLM lists every kind of part here, in eight paragraphs; the type and the first lines are kept.
            problem = f"Input should be 'text' [type=literal_error, input_value={kind!r}, input_type=str]"
            where = "1 validation error for ValidatorIterator\n0.ChatCompletionContentPartTextParam.type"
            raise Refused(bad_request(f"{where}\n  {problem}"))
