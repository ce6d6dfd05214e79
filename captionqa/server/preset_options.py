"""What a preset adds to an engine's settings: the options that its model always needs, and those that follow from the
cards. What the user said is never changed. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from captionqa.core.gpu_fit import Fit, fit
from captionqa.core.gpu_memory import CARDS_GB, card_bytes, needs_expert_parallel
from captionqa.server.engines import EngineSettings, render_command
from captionqa.server.models import Preset, catalogue

SHORT_NAMES = {
    "-tp": "--tensor-parallel-size",
    "-dp": "--data-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-q": "--quantization",
}
"""vLLM's own short names of what is looked for among a user's options."""
OTHER_LAYOUTS = frozenset(
    {"--pipeline-parallel-size", "--kv-cache-memory-bytes", "--config", "--hf-overrides", "--cpu-offload-gb"}
)
"""Options with which the rule says nothing: the model, or its cache, lies otherwise in memory."""


@dataclass(frozen=True, slots=True)
class Cards:
    """The GPUs that a server may use."""

    gpu_bytes: int
    """Of one of them, as nvidia-smi reports it; the smallest if they differ."""
    count: int
    source: str
    """Where that is known from, for people."""
    name: str | None = None
    capability: float | None = None
    """Compute capability."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine's settings with what a preset added."""

    settings: EngineSettings
    fit: Fit | None
    """None when nothing is known about the cards, when the model does not fit on them, or when the user's options put
    it into memory in a way that the rule does not know."""
    added: tuple[str, ...]
    """The words of the command line that came from the preset."""
    kept: tuple[str, ...]
    """Options that the user gave and that the preset has something to say about."""


def said_options(extra: Sequence[str]) -> dict[str, str | None]:
    """Options among words for the engine, by their long name with dashes, and their values; ``--no-x`` counts as x."""
    said: dict[str, str | None] = {}
    for word, behind in pairwise((*extra, "")):
        if not re.match(r"--?[A-Za-z]", word):
            continue
        name, equals, value = word.partition("=")
        name = SHORT_NAMES.get(name, name.replace("_", "-"))
        name = "--" + name.removeprefix("--no-") if name.startswith("--no-") else name
        said[name] = value if equals else None if behind.startswith("-") or not behind else behind
    return said


def choose(settings: EngineSettings, preset: Preset, cards: Cards | None, *, copies: bool = False) -> Choice:
    """The settings with what the preset adds to them.

    Args:
        cards: None when nothing is known about them.
        copies: let further copies of the model use the GPUs that one does not need.
    """
    said = said_options(settings.extra)
    found = _fit(settings, preset, cards, said) if cards is not None else None
    wanted = dict(_fields(preset, found, cards.count if cards is not None and copies else 1))
    given = {name for name in wanted if getattr(settings, name) not in (None, {}) or _option(name) in said}
    fields = {name: value for name, value in wanted.items() if name not in given}
    shared = _parallel(settings, said, fields)
    words = [words for words in _words(preset, found, shared) if words[0] not in said]
    extra = tuple(word for group in words for word in group)
    chosen = replace(settings, **fields, extra=(*extra, *settings.extra))
    return Choice(chosen, found, _added(settings, chosen), tuple(sorted(_option(name) for name in given)))


def _fit(settings: EngineSettings, preset: Preset, cards: Cards, said: Mapping[str, str | None]) -> Fit | None:
    if OTHER_LAYOUTS & said.keys():
        return None
    gpus = max(1, cards.count // (_whole(settings.data_parallel_size, said.get("--data-parallel-size")) or 1))
    wish = preset.wish(
        gpus=gpus,
        exact_length=_whole(settings.max_model_len, said.get("--max-model-len")),
        tensor_parallel=_whole(settings.tensor_parallel_size, said.get("--tensor-parallel-size")),
        sequences=_whole(settings.max_num_seqs, said.get("--max-num-seqs")),
        utilization=settings.gpu_memory_utilization,
    )
    return fit(preset.architecture, preset.format.form, cards.gpu_bytes, wish)


def _whole(given: int | None, text: str | None) -> int | None:
    """An option's value, whichever way it was given; what is no plain number is left to vLLM."""
    return given if given is not None else int(text) if text and text.isdecimal() else None


def _fields(preset: Preset, found: Fit | None, gpus: int) -> Iterator[tuple[str, Any]]:
    """Fields of the settings."""
    if preset.family.limits:
        yield "limit_mm_per_prompt", dict(preset.family.limits)
    if preset.chat_template:
        yield "chat_template", str(preset.chat_template)
    if found is None:
        return
    yield "tensor_parallel_size", found.tensor_parallel
    yield "max_model_len", found.max_model_len
    yield "max_num_seqs", found.sequences
    yield "gpu_memory_utilization", found.utilization
    if (copies := _copies(preset, found, gpus)) > 1:
        yield "data_parallel_size", copies


def _copies(preset: Preset, found: Fit, gpus: int) -> int:
    """How many fit side by side; vLLM spreads the experts of copies over all of their GPUs, whole ones."""
    copies = gpus // found.tensor_parallel
    experts = preset.architecture.experts
    while experts and copies > 1 and experts % (copies * found.tensor_parallel):
        copies -= 1
    return copies


def _parallel(settings: EngineSettings, said: Mapping[str, str | None], fields: Mapping[str, Any]) -> tuple[int, int]:
    """GPUs that share the model, and copies of it."""
    tensor = _whole(settings.tensor_parallel_size, said.get("--tensor-parallel-size"))
    data = _whole(settings.data_parallel_size, said.get("--data-parallel-size"))
    return tensor or fields.get("tensor_parallel_size", 1), data or fields.get("data_parallel_size", 1)


def _words(preset: Preset, found: Fit | None, parallel: tuple[int, int]) -> Iterator[tuple[str, ...]]:
    """Options that have no field of their own, each with its value."""
    tensor, copies = parallel
    if found is not None:
        yield ("--max-num-batched-tokens", str(found.batched_tokens))
    if tensor > 1 and preset.family.shared_options:
        yield preset.family.shared_options
    if needs_expert_parallel(preset.architecture, preset.format.form, tensor * copies):
        yield ("--enable-expert-parallel",)
    if preset.thinking and preset.family.thinking_options:
        yield preset.family.thinking_options


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _added(before: EngineSettings, after: EngineSettings) -> tuple[str, ...]:
    """Words of the new command line that the old one has not, in its order."""
    old, new = (list(render_command(one, "host", 0).argv) for one in (before, after))
    start = old.index("serve") + 2 if "serve" in old else 0
    known = old[start:]
    added = new[start:]
    for word in known:
        added.remove(word)
    return tuple(added)


def capability_sentence(preset: Preset, cards: Cards) -> str | None:
    """What is to be said about this GPU and the preset's format; None when it computes in it."""
    form = preset.format.form
    if cards.capability is None or cards.capability >= form.fast_capability:
        return None
    if cards.capability < form.capability and form.block > 1:
        return f"{preset.format.title} needs compute capability {form.capability}; this GPU has {cards.capability}."
    return f"this GPU has compute capability {cards.capability}. {preset.format.note}"


def every_vllm_line() -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each preset without known cards, and on each size of card that it fits on, alone and with copies of it on
    eight GPUs: what is served where, and the words behind `vllm` (beginning with ``serve``)."""
    for preset in catalogue().presets:
        settings = EngineSettings(preset.repository)
        yield preset.name, _line(choose(settings, preset, None).settings)
        for gigabytes in CARDS_GB:
            cards = Cards(card_bytes(gigabytes), 8, f"{gigabytes} GB")
            for copies in (False, True):
                chosen = choose(settings, preset, cards, copies=copies)
                if chosen.fit is not None:
                    where = f"8 GPUs of {gigabytes} GB" if copies else f"GPUs of {gigabytes} GB"
                    yield f"{preset.name} on {where}", _line(chosen.settings)


def _line(settings: EngineSettings) -> tuple[str, ...]:
    return render_command(settings, "0.0.0.0", 8000).argv[len(settings.vllm_command) :]
