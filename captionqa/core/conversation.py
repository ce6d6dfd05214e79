"""A conversation: what was asked and answered so far, as the messages of the next request.

In: questions, pictures that were made fit to send, answers. Out: messages of the OpenAI protocol. Only complete turns
are in it: a question whose answer failed leaves no trace, and its pictures wait for the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from captionqa.core.prompts import interleave

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a question."""

    name: str
    part: Mapping[str, Any] = field(repr=False)
    """The content part: ``{"type": "image_url", "image_url": {"url": "data:…"}}``."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known of it: size, type, whether it was changed. Never its bytes."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its answer."""

    question: str
    pictures: tuple[Picture, ...]
    answer: str
    complete: bool = True
    """False when the user stopped the answer."""

    def to_dict(self) -> dict[str, Any]:
        """For a file: without image bytes."""
        shown = {"question": self.question, "images": [dict(p.facts) for p in self.pictures], "answer": self.answer}
        return shown if self.complete else {**shown, "stopped": True}


@dataclass(slots=True)
class Conversation:
    turns: list[Turn] = field(default_factory=list)
    waiting: list[Picture] = field(default_factory=list)
    """Pictures that the next question is about."""

    def messages(self, question: str, system_prompt: str | None) -> list[Message]:
        """The request for the next answer. Pictures come before their question, or where its ``<image>`` stands."""
        messages: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
        for turn in self.turns:
            messages.append({"role": "user", "content": _content(turn.question, turn.pictures)})
            messages.append({"role": "assistant", "content": turn.answer})
        messages.append({"role": "user", "content": _content(question, self.waiting)})
        return messages

    def record(self, question: str, answer: str, *, complete: bool = True) -> None:
        self.turns.append(Turn(question, tuple(self.waiting), answer, complete))
        self.waiting.clear()

    def reset(self) -> None:
        self.turns.clear()
        self.waiting.clear()


def _content(question: str, pictures: Sequence[Picture]) -> str | list[Mapping[str, Any]]:
    """Plain text where there is no picture: some chat templates know nothing else."""
    if not pictures:
        return question
    content, _ = interleave(question, pictures)
    return [{"type": "text", "text": part} if isinstance(part, str) else part.part for part in content]
