"""Requests: what is sent for an item, as bytes that are put together once.

In: the run's model, system prompt and sampling, and the item's content parts, already JSON. Out: request bodies. Every
sampling parameter is always said: a server's own defaults (Qwen3-VL's generation_config has temperature 0.7) must not
decide what a run's numbers mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

PieceT = TypeVar("PieceT")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters, as in the OpenAI API and vLLM's extensions of it."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    presence_penalty: float
    top_k: int | None
    """vLLM's extension; None leaves it out, for servers that refuse fields they do not know."""
    repetition_penalty: float | None
    """Likewise."""

    def fields(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


# Qwen3-VL's model cards recommend 0.7 / 0.8 / 20 / 1.5 for instruct models; greedy captions can repeat without end.
CAPTION_SAMPLING = Sampling(
    max_tokens=256,
    temperature=0.7,
    top_p=0.8,
    seed=0,
    presence_penalty=1.5,
    top_k=20,
    repetition_penalty=1.0,
)
# A conversation is sampled like captions, with room for an explanation, and less than the smallest context in use.
TALK_SAMPLING = replace(CAPTION_SAMPLING, max_tokens=1024)
# Questions are answered greedily, so that a number can be obtained again. -1 turns top_k off (vLLM's SamplingParams).
QUESTION_SAMPLING = Sampling(
    max_tokens=128,
    temperature=0.0,
    top_p=1.0,
    seed=0,
    presence_penalty=0.0,
    top_k=-1,
    repetition_penalty=1.0,
)


@dataclass(frozen=True, slots=True)
class RequestFormat:
    """Everything of a request body that is the same for all items of a run."""

    head: bytes
    fields: Mapping[str, Any]
    """What follows the messages."""
    tail: bytes
    """The same, written."""

    @classmethod
    def of(
        cls, model: str, system_prompt: str | None, sampling: Sampling, extras: Mapping[str, Any] | None = None
    ) -> RequestFormat:
        """``extras``: more fields of the body."""
        messages = b""
        if system_prompt:
            messages = json.dumps({"role": "system", "content": system_prompt}).encode() + b","
        head = b'{"model":' + json.dumps(model).encode() + b',"messages":[' + messages + b'{"role":"user","content":['
        fields = {**sampling.fields(), **(extras or {})}
        return cls(head, fields, _tail(fields))

    def body(
        self, parts: Sequence[tuple[bytes, ...]], choices: Sequence[str] = (), *, seed: int | None = None
    ) -> bytes:
        """The body for one item, from its content parts in order, each in one or more pieces. Copies once.

        Args:
            choices: when given, the server is to answer with one of these (vLLM's ``structured_outputs``).
            seed: of this request, where it is not the run's.
        """
        return b"".join(self.pieces(parts, choices, seed=seed))

    def pieces(
        self, parts: Sequence[tuple[PieceT, ...]], choices: Sequence[str] = (), *, seed: int | None = None
    ) -> list[bytes | PieceT]:
        """What `body` joins; a part may also be something that becomes bytes later."""
        pieces: list[bytes | PieceT] = [self.head]
        for number, part in enumerate(parts):
            if number:
                pieces.append(b",")
            pieces.extend(part)
        own = {
            **({} if seed is None else {"seed": seed}),
            **({"structured_outputs": {"choice": list(choices)}} if choices else {}),
        }
        pieces.append(_tail({**self.fields, **own}) if own else self.tail)
        return pieces


def _tail(fields: Mapping[str, Any]) -> bytes:
    return b"]}]," + json.dumps(fields).encode()[1:]
