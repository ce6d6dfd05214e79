"""Abilities: what a server can do beyond answering, found out by asking it when it is greeted.

One small function per ability: a connection, the model and what is known so far in; what is known now out. A run lists
those that it wants (`finding_out`). None believes a 200 alone, because servers answer 200 to fields that they ignore:
each also asks something that only a server without the ability would let pass. A server that answers otherwise simply
lacks the ability; it is never refused for that here.
"""

from __future__ import annotations

import io
import json
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pybase64
from PIL import Image

from captionqa.core.abilities import Abilities
from captionqa.core.replies import NoAnswer, Verdict
from captionqa.run.endpoints import Connection, FindOut

Probe = Callable[[Connection, str, Abilities], Awaitable[Abilities]]
"""Asks a server about one ability; given its connection, the model and what is known of it. Raises: NoAnswer when the
server has gone away meanwhile: it is greeted again later."""

ANSWER_TOKENS = 1
TRIES = 2
"""A server that has just started may fail a first request with an image."""
_GONE = ("connection", "timeout")


def finding_out(probes: Sequence[Probe]) -> FindOut:
    """`FindOut` by these probes, one after the other."""

    async def find_out(connection: Connection, model: str, max_model_len: int | None) -> Abilities:
        abilities = Abilities(max_model_len)
        for probe in probes:
            abilities = await probe(connection, model, abilities)
        return abilities

    return find_out


async def image_references(connection: Connection, model: str, abilities: Abilities) -> Abilities:
    """Whether an image that was sent with a ``uuid`` need not be sent again (vLLM's multimodal cache): an unknown uuid
    alone is refused, one that was just sent is answered, at the same length of prompt."""
    known = uuid.uuid4().hex
    payload = {"type": "image_url", "image_url": {"url": data_url(drawn_png(random.Random()))}, "uuid": known}
    if await prompt_tokens(connection, model, [_reference(uuid.uuid4().hex)]) is not None:
        return abilities  # it answers about an image that it cannot have: it looks at no uuid
    sent = await prompt_tokens(connection, model, [payload])
    if sent is None or await prompt_tokens(connection, model, [_reference(known)]) != sent:
        return abilities
    return replace(abilities, image_references=True)


def _reference(known: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": None, "uuid": known}


async def prompt_tokens(connection: Connection, model: str, images: Sequence[dict[str, Any]]) -> int | None:
    """How long the server says that a prompt with these image parts is; None when it does not answer them, also when
    it does not say.

    Raises: NoAnswer when it has gone away.
    """
    content = [*images, {"type": "text", "text": "What is shown?"}]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": ANSWER_TOKENS,
        "min_tokens": ANSWER_TOKENS,  # an answer that is empty would not come with its counts
        "temperature": 0,
    }
    for _ in range(TRIES):
        try:
            completion = await connection.complete(json.dumps(body).encode("ascii"))
        except NoAnswer as error:
            if error.reason in _GONE:
                raise
            if error.verdict in (Verdict.REJECTED, Verdict.REFUSED):
                return None
        else:
            return completion.usage.get("prompt_tokens")
    return None


def drawn_png(rng: random.Random) -> bytes:
    """A small picture of one colour; size and colour are drawn, so that two are hardly ever the same."""
    size = (32 * rng.randint(8, 16), 32 * rng.randint(8, 16))
    buffer = io.BytesIO()
    Image.new("RGB", size, (rng.randrange(256), rng.randrange(256), rng.randrange(256))).save(buffer, "PNG")
    return buffer.getvalue()


def data_url(png: bytes) -> str:
    return "data:image/png;base64," + pybase64.b64encode(png).decode("ascii")
