"""Reasoning kept apart from answers.

In: a model's text as a server without a reasoning parser passes it on. Out: the answer, and the reasoning before it.
Nothing is lost but the marks and the white space around them. Never looks into the answer.
"""

from __future__ import annotations

from typing import Any

OPEN, CLOSE = "<think>", "</think>"


def split_thinking(text: str) -> tuple[str, str | None]:
    """(answer, reasoning), the latter None when the text has no mark of it; without the marks and the white space
    around them.

    A lone ``</think>`` ends reasoning that the chat template opened (Qwen's thinking models). The last one counts. A
    text that begins with ``<think>`` and never closes it has no answer.
    """
    before, close, answer = text.rpartition(CLOSE)
    if close:
        return answer.lstrip(), before.strip().removeprefix(OPEN).strip()
    opened = text.lstrip()
    if opened.startswith(OPEN):
        return "", opened.removeprefix(OPEN).strip()
    return text, None


def thinking_fields(thinking: bool | None) -> dict[str, Any]:
    """The fields of a request that tell a model to reason before it answers, or not to; none for None."""
    return {} if thinking is None else {"chat_template_kwargs": {"enable_thinking": thinking}}
