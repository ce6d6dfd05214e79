"""The model's context: whether an item fits into it, decided before it is sent, and its images reduced where asked.

In: prepared items. Out: the same, with smaller images, or with the outcome ``too_long``. An item is only refused here
when it surely does not fit: a cheap upper bound lets nearly all pass without another request, the server's own count
(vLLM's ``/tokenize``) decides about the rest, and where there is none the item is sent and the server decides.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

from captionqa.core.items import ImageSource
from captionqa.core.outcomes import Outcome, OutcomeKind, with_cut_marked
from captionqa.core.reasons import Reason
from captionqa.core.replies import NoAnswer, Verdict
from captionqa.core.requests import RequestFormat
from captionqa.core.vision import FRAME_TOKENS, VISION_RULES, ImagePolicy, Size, VisionRule, reduced, reduced_to_tokens
from captionqa.data.images import PreparedImage, prepare_image
from captionqa.errors import ImageError, UsageError
from captionqa.run.bodies import Body
from captionqa.run.endpoints import EndpointPool
from captionqa.run.feed import Prepared, prepare
from captionqa.run.tasks import Asking

TEMPLATE_TOKENS = 64
"""What a chat template adds at most: roles, a default system message."""
MOST_REDUCTIONS = 8
"""Attempts to find a size for a model whose rule is not known."""


def settled(asking: Asking, known: int | None) -> Asking:
    """With --fit the context decides what the model is shown, so it is one number for the whole run.

    Args:
        known: what the servers say, in tokens.

    Raises: UsageError when it is not known, or more than a server has.
    """
    said = asking.context_tokens
    if not asking.fit:
        return asking
    if said is None and known is None:
        raise UsageError("--fit: the server does not say how long its context is. Say it with --context-tokens N.")
    if said is not None and known is not None and said > known:
        raise UsageError(f"--context-tokens {said}: more than the server's context of {known} tokens.")
    return replace(asking, context_tokens=said or known)


class Context:
    """Keeps a run's items within the context of its servers."""

    def __init__(self, pool: EndpointPool, asking: Asking, request_format: RequestFormat) -> None:
        self._pool = pool
        self._asking = asking
        self._format = request_format
        self._system_bytes = len((asking.system_prompt or "").encode())
        self._counts = True
        """Whether the servers are thought to have ``/tokenize``."""
        self._rules: tuple[VisionRule, ...] = VISION_RULES
        """Those that the model may count by: one, once its counts agreed with it."""

    @property
    def tokens(self) -> int | None:
        """Of prompt and answer together; None when nobody says."""
        if self._asking.fit:
            return self._asking.context_tokens
        known = [n for n in (self._asking.context_tokens, self._pool.context_tokens) if n is not None]
        return min(known, default=None)

    async def place(self, prepared: Prepared) -> Prepared:
        """The item as it is to be sent, or with its outcome when it cannot be. Raises: ServerGone, ServerRefused."""
        tokens = self.tokens
        if tokens is None:
            return prepared
        fit = self._asking.fit and bool(prepared.images)
        answer = self._asking.sampling.max_tokens if fit else 1
        most = self._most(prepared)
        if most + answer <= tokens:
            return prepared
        least = sum(len(part.split()) for part in prepared.item.content if isinstance(part, str))
        if least + answer > tokens:
            return _too_long(prepared, f"at least {least}", tokens, answer)
        count = await self._count(prepared.body)
        if count is None and not fit:
            return prepared
        if count is not None and count + answer <= tokens:
            return prepared
        fitted = await self._fit(prepared, most if count is None else count, tokens - answer) if fit else None
        return fitted or _too_long(prepared, str(most if count is None else count), tokens, answer)

    def noted(self, outcome: Outcome) -> Outcome:
        """The outcome, marked when the context cut its answer."""
        return with_cut_marked(outcome, self._asking.sampling.max_tokens)

    def _most(self, prepared: Prepared) -> int:
        """More tokens than the prompt has, if the model counts images by one of the known rules: every byte of text a
        token (as byte-level vocabularies may at worst)."""
        text = sum(len(part.encode()) for part in prepared.item.content if isinstance(part, str))
        images = (max(rule.tokens(i.width, i.height) for rule in self._rules) for i in prepared.images)
        return TEMPLATE_TOKENS + self._system_bytes + text + sum(images) + FRAME_TOKENS * len(prepared.images)

    async def _count(self, body: bytes | Body) -> int | None:
        """The prompt's tokens, as a server counts them; None when none does."""
        if not self._counts:
            return None
        if isinstance(body, Body):
            try:
                body = await asyncio.to_thread(body.whole)  # may read files
            except ImageError:
                return None  # sending it meets the same, and types it
        endpoint = await self._pool.borrow()
        try:
            return (await endpoint.connection.tokenize(body)).count
        except NoAnswer as error:
            if error.verdict is Verdict.REFUSED or error.reason == Reason.GARBAGE:
                self._counts = False
            return None
        finally:
            self._pool.give_back(endpoint, None)

    async def _fit(self, prepared: Prepared, count: int, most: int) -> Prepared | None:
        """The item with its images reduced, all in the same proportion, so that the prompt has at most ``most`` tokens,
        or with its outcome when an image is not there any more; None when it cannot be fitted."""
        sizes = [(image.width, image.height) for image in prepared.images]
        texts = [part for part in prepared.item.content if isinstance(part, str)]
        without = await self._count(self._format.body([_text_part(text) for text in texts], prepared.item.choices))
        rule = self._learn(sizes, None if without is None else count - without)
        if rule is None:
            return await self._shrink(prepared, sizes, count, without or 0, most)
        room = most - (count - sum(rule.tokens(*size) for size in sizes))
        for _ in range(MOST_REDUCTIONS):
            targets = reduced_to_tokens(sizes, rule, room)
            if targets is None:
                return None
            fitted = await self._reduce(prepared, targets)
            if fitted.outcome is not None:
                return fitted
            counted = await self._count(fitted.body)
            if counted is None or counted <= most:
                return fitted
            room -= counted - most  # what preparing and the server's own resizing made of the sizes
        return None

    async def _shrink(
        self, prepared: Prepared, sizes: Sequence[Size], count: int, texts: int, most: int
    ) -> Prepared | None:
        """The same for a model that counts by no known rule, or reduces images itself: smaller by what its counts ask
        for, until they fit. ``texts``: tokens of the prompt without its images."""
        share = 1.0
        for _ in range(MOST_REDUCTIONS):
            share *= min(0.9, max(0.01, (most - texts) / max(1, count - texts)))
            fitted = await self._reduce(prepared, reduced(sizes, share))
            if fitted.outcome is not None:
                return fitted
            counted = await self._count(fitted.body)
            if counted is None:
                return None
            if counted <= most:
                return fitted
            count = counted
        return None

    def _learn(self, sizes: Sequence[Size], vision: int | None) -> VisionRule | None:
        """The rule that the model counts by, from what it counts for these images; without a count, the one that finds
        the most tokens."""
        if vision is None:
            return max(self._rules, key=lambda rule: sum(rule.tokens(*size) for size in sizes))
        frames = FRAME_TOKENS * len(sizes)
        agreeing = [rule for rule in VISION_RULES if sum(rule.tokens(*size) for size in sizes) + frames == vision]
        if len(agreeing) == 1:
            self._rules = tuple(agreeing)
        return agreeing[0] if agreeing else None

    async def _reduce(self, prepared: Prepared, targets: Sequence[Size]) -> Prepared:
        images = _ReducedImages(self._asking.policy, prepared.images, targets)
        return await asyncio.to_thread(prepare, prepared.item, self._format, images)


class _ReducedImages:
    """The images of one item, each within a size of its own, in their order."""

    def __init__(self, policy: ImagePolicy, images: Sequence[PreparedImage], targets: Sequence[Size]) -> None:
        self._next = iter(zip(images, targets, strict=True))
        self._policy = policy

    def in_place(self, _: ImageSource) -> None:
        """A file is as large as it is."""

    def get(self, source: ImageSource) -> PreparedImage:
        """Raises: as `prepare_image`."""
        image, (width, height) = next(self._next)
        if (width, height) == (image.width, image.height):
            return prepare_image(source, self._policy)  # not ``image``, which may be a path that not every server reads
        smaller = prepare_image(source, replace(self._policy, max_pixels=width * height))
        return replace(smaller, fitted_from=(image.width, image.height))


def _text_part(text: str) -> tuple[bytes, ...]:
    return (json.dumps({"type": "text", "text": text}).encode(),)


def _too_long(prepared: Prepared, counted: str, tokens: int, answer: int) -> Prepared:
    count = len(prepared.images)
    images = f" with {count} image{'' if count == 1 else 's'}" if count else ""
    wanted = f" and {answer} for the answer" if answer > 1 else ""
    # With an answer's room demanded, --fit was given, and could not do it.
    smaller = ", a smaller --max-tokens" if answer > 1 else ", smaller images (--fit, --max-pixels)" if count else ""
    detail = (
        f"not sent: {counted} tokens of prompt{images}{wanted}; the context holds {tokens}. What helps: a shorter "
        f"prompt{smaller}, a server with a larger --max-model-len"
    )
    return replace(prepared, outcome=Outcome(OutcomeKind.REJECTED, reason=Reason.TOO_LONG, detail=detail))
