"""Settings of vLLM with which a model fits on a card: a search over `core.gpu_memory`'s rule.

In: a model, the format of its weights, a card's bytes, a `Wish`. Out: a `Fit`, or None. More memory or more GPUs never
make a model fit less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from captionqa.core.gpu_memory import (
    BATCHED_TOKENS,
    DRIVER,
    PARALLEL_SIZES,
    Architecture,
    Format,
    Memory,
    cache_bytes_per_token,
    memory_needed,
    overhead_bytes,
    parallel_sizes,
    weight_bytes_per_gpu,
)

UTILIZATIONS = (0.9, 0.95)
"""vLLM's own default up to 0.31, and as far as one may go for a model that fits no other way."""
SEQUENCES = (256, 128, 64, 32, 16, 8)
SHORTEST = 4096
"""Tokens: one image of 1.5 megapixels, a prompt and an answer of a thousand tokens."""
COMFORTABLE = 16384
"""Tokens: three images of four megapixels each, prompt and answer."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a server is wanted for; what is None is found."""

    length: int
    """Tokens of prompt and answer together that it should take."""
    request_tokens: int
    """Of an ordinary request: so many for each of those that run at once should fit into the cache."""
    gpus: int = PARALLEL_SIZES[-1]
    """There are no more."""
    exact_length: int | None = None
    tensor_parallel: int | None = None
    sequences: int | None = None
    utilization: float | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings of vLLM with which a model fits on a card."""

    tensor_parallel: int
    max_model_len: int
    sequences: int
    utilization: float
    batched_tokens: int
    cache_tokens: int
    """What the cache holds."""
    memory: Memory
    """With the cache filled."""


def fit(model: Architecture, form: Format, gpu_bytes: int, wish: Wish) -> Fit | None:
    """The settings for GPUs of this memory (as nvidia-smi reports it): the fewest GPUs on which there is room enough,
    or else, of those on which it fits at all, the most; on them the longest context up to the wish, then the most
    requests at once. None when the model does not fit on ``wish.gpus`` of them."""
    found = fits(model, form, gpu_bytes, wish)
    roomy = next((one for one in found if has_room(one, wish)), None)
    return roomy or (found[-1] if found else None)


def has_room(found: Fit, wish: Wish) -> bool:
    """Whether ordinary work does not press against its limits: several images, and all requests in the cache."""
    enough = min(wish.length, COMFORTABLE) if wish.exact_length is None else wish.exact_length
    return found.max_model_len >= enough and found.cache_tokens >= SEQUENCES[-1] * wish.request_tokens


def fits(model: Architecture, form: Format, gpu_bytes: int, wish: Wish) -> list[Fit]:
    """The best settings for each number of GPUs on which the model fits, the fewest first."""
    sizes = [size for size in parallel_sizes(model, form) if size <= wish.gpus]
    wanted = [size for size in sizes if wish.tensor_parallel in (None, size)]
    found = (_fit_on(model, form, gpu_bytes - DRIVER, size, wish) for size in wanted)
    return [one for one in found if one is not None]


def _fit_on(model: Architecture, form: Format, available: int, size: int, wish: Wish) -> Fit | None:
    for length in _lengths(model, wish):
        for utilization in (wish.utilization,) if wish.utilization else UTILIZATIONS:
            usable = int(available * utilization)
            for sequences in (wish.sequences,) if wish.sequences else SEQUENCES:
                # One request of full length must fit, or vLLM does not start. That all of them fit is comfort.
                least = wish.sequences is not None or sequences == SEQUENCES[-1]
                needed = length if least else max(length, sequences * wish.request_tokens)
                for batched in BATCHED_TOKENS:
                    tokens = _cache_tokens(model, form, usable, size, sequences, batched)
                    if tokens >= needed:
                        memory = memory_needed(
                            model,
                            form,
                            tokens=tokens,
                            tensor_parallel=size,
                            sequences=sequences,
                            batched_tokens=batched,
                        )
                        return Fit(size, length, sequences, utilization, batched, tokens, memory)
    return None


def _cache_tokens(
    model: Architecture, form: Format, usable: int, size: int, sequences: int, batched_tokens: int
) -> int:
    left = usable - weight_bytes_per_gpu(model, form, size) - overhead_bytes(model, size, sequences, batched_tokens)
    return left // cache_bytes_per_token(model, size)


def _lengths(model: Architecture, wish: Wish) -> Iterator[int]:
    if wish.exact_length is not None:
        yield wish.exact_length
        return
    length = min(wish.length, model.context)
    while length >= min(SHORTEST, model.context):
        yield length
        length //= 2
