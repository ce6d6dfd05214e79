"""What vLLM 0.32 takes as sampling parameters, and how it words a refusal.

In: a request's fields. Out: numbers, or `wire.Refused`. Types are the schema's business, ranges the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from captionqa.server.standin.wire import Refusal, Refused, bad_request, bad_value, invalid


@dataclass(frozen=True, slots=True)
class Range:
    """What a parameter may be; ``said`` is vLLM's wording."""

    holds: Callable[[float], bool]
    said: str
    named: bool = False
    """Whether vLLM adds the parameter and its value to the message and to the body."""


FLOATS = {
    "temperature": Range(lambda value: 0 <= value <= 2, "in [0, 2]", named=True),
    "top_p": Range(lambda value: 0 < value <= 1, "in (0, 1]", named=True),
    "min_p": Range(lambda value: 0 <= value <= 1, "in [0, 1]"),
    "presence_penalty": Range(lambda value: -2 <= value <= 2, "in [-2, 2]"),
    "frequency_penalty": Range(lambda value: -2 <= value <= 2, "in [-2, 2]"),
    "repetition_penalty": Range(lambda value: value > 0, "greater than zero"),
}
INTEGERS = {
    "n": Range(lambda value: value >= 1, "at least 1"),
    "top_k": Range(lambda value: value >= -1, "0 (disable), or at least 1"),
    "min_tokens": Range(lambda value: value >= 0, "greater than or equal to 0"),
}
PLAIN_INTEGERS = ("max_completion_tokens", "max_tokens", "seed")


def read_numbers(fields: Mapping[str, Any]) -> dict[str, float | int]:
    """The sampling parameters that were given, by name. Raises: Refused for a value of the wrong type."""
    found: dict[str, float | int] = {}
    for name in (*FLOATS, *INTEGERS, *PLAIN_INTEGERS):
        if (value := fields.get(name)) is not None:
            found[name] = _number(name, value) if name in FLOATS else _integer(name, value)
    return found


def check_numbers(numbers: Mapping[str, float | int], max_tokens: int | None, max_model_len: int) -> None:
    """Raises: Refused for a value out of range."""
    if max_tokens is not None and max_tokens > max_model_len:
        message = f"max_tokens={max_tokens} cannot be greater than max_model_len={max_model_len}."
        raise Refused(bad_value("max_tokens", max_tokens, f"{message} Please request fewer output tokens."))
    if max_tokens is not None and max_tokens < 1:
        raise Refused(bad_value("max_tokens", max_tokens, f"max_tokens must be at least 1, got {max_tokens}."))
    for name, allowed in (FLOATS | INTEGERS).items():
        value = numbers.get(name)
        if value is None or allowed.holds(value):
            continue
        said = "non-negative" if name == "temperature" and value < 0 else allowed.said
        message = f"{name} must be {said}, got {value}."
        raise Refused(bad_value(name, value, message) if allowed.named else bad_request(message))
    least = numbers.get("min_tokens", 0)
    if max_tokens is not None and least > max_tokens:
        message = f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {least}."
        raise Refused(bad_request(message))
    if numbers.get("n", 1) > 1:
        greedy = numbers.get("temperature") == 0
        message = f"n must be 1 when using greedy sampling, got {numbers['n']}."
        raise Refused(bad_request(message if greedy else "The stand-in gives one answer per request, n must be 1."))


def wrong_type(kind: str, name: str, message: str, value: object) -> Refusal:
    return invalid({"type": kind, "loc": f"body.{name}" if name else "body", "msg": message, "input": str(value)})


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        message = "Input should be a valid number, unable to parse string as a number"
        raise Refused(wrong_type("float_parsing", name, message, value)) from error


def _integer(name: str, value: object) -> int:
    if isinstance(value, float) and not value.is_integer():
        message = "Input should be a valid integer, got a number with a fractional part"
        raise Refused(wrong_type("int_from_float", name, message, value))
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError, OverflowError) as error:
        message = "Input should be a valid integer, unable to parse string as an integer"
        raise Refused(wrong_type("int_parsing", name, message, value)) from error
