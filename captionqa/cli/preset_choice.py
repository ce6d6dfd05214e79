"""What a preset chooses for a server, and how it is told: for `captionqa serve` and for submitting its jobs."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captionqa.core.gpu_fit import Fit
    from captionqa.server.engines import EngineSettings
    from captionqa.server.models import Preset
    from captionqa.server.preset_options import Cards, Choice

USUAL_CARD_GB = 80
"""A job's GPUs are taken for such cards when nothing is said of them."""


def cards_for(gpu_memory: float | None, gpus: int | None, environment: Mapping[str, str]) -> Cards | None:
    """The GPUs that a server here may use: as given, or as found; None when neither says how large they are."""
    from captionqa.core.gpu_memory import PARALLEL_SIZES, card_bytes
    from captionqa.server.gpus import found_cards
    from captionqa.server.preset_options import Cards

    found = found_cards(environment)
    if gpu_memory is None:
        if found is None or gpus is None:
            return found
        return Cards(found.gpu_bytes, gpus, f"{found.source}, --gpus", found.name, found.capability)
    count = gpus or (found.count if found else PARALLEL_SIZES[-1])
    source = f"--gpu-memory {gpu_memory:g}" + ("" if gpus or found else "; how many there are is not known here")
    capability = found.capability if found else None
    return Cards(card_bytes(gpu_memory), count, source, capability=capability)


def with_preset(
    settings: EngineSettings, gpu_memory: float | None, gpus: int | None, say: Callable[[str], None]
) -> EngineSettings:
    """The settings with what the model's preset adds, which is said; unchanged for a model that has no preset."""
    from captionqa.server.models import find_preset, unknown_sentence
    from captionqa.server.preset_options import choose

    preset = find_preset(settings.model)
    if preset is None:
        if sentence := unknown_sentence(settings.model):
            say(sentence)
        if gpu_memory is not None or gpus is not None:
            say("--gpu-memory and --gpus say something to presets alone (captionqa models): not used")
        return settings
    cards = cards_for(gpu_memory, gpus, os.environ)
    choice = choose(settings, preset, cards, copies=gpus is not None)
    for line in explain(preset, cards, choice):
        say(line)
    return choice.settings


def explain(preset: Preset, cards: Cards | None, choice: Choice) -> list[str]:
    """What the preset chose and why, in lines for a log."""
    from captionqa.core.gpu_memory import weight_bytes
    from captionqa.server.preset_options import capability_sentence

    weights = weight_bytes(preset.architecture, preset.format.form) / 1e9
    title = f"{preset.repository}, {preset.format.title}, {weights:.1f} GB of weights"
    lines = [f"preset {preset.name}: {title}. Where its numbers are from: captionqa models {preset.name}"]
    if cards is None:
        lines.append(
            "the GPUs' memory is not known here (no nvidia-smi): lengths and sharing are left to vLLM. "
            "Give --gpu-memory GB (and --gpus N) to have them chosen."
        )
    elif choice.fit is None:
        lines.append(_no_fit(preset, cards))
    else:
        lines.append(f"{_cards(cards)}: {_room(choice.fit)}")
        used = choice.fit.tensor_parallel * (choice.settings.data_parallel_size or 1)
        if used < cards.count and cards.source.startswith("nvidia-smi"):
            lines.append(f"{cards.count - used} more GPUs are there: --gpus {cards.count} serves copies of it on them")
    if cards is not None and (sentence := capability_sentence(preset, cards)):
        lines.append(sentence)
    if choice.added:
        lines.append(f"from the preset: {shlex.join(choice.added)}")
    if choice.kept:
        lines.append(f"from you: {', '.join(choice.kept)}")
    return lines


def _cards(cards: Cards) -> str:
    from captionqa.core.gpu_memory import GIB

    name = f"{cards.name}, " if cards.name else ""
    return f"{cards.count} × {name}{cards.gpu_bytes / GIB:.1f} GiB ({cards.source})"


def _room(fit: Fit) -> str:
    from captionqa.core.gpu_memory import GIB

    memory = fit.memory
    shared = f"{fit.tensor_parallel} of them share the model; on each " if fit.tensor_parallel > 1 else "on one "
    return (
        f"{shared}{memory.weights / GIB:.1f} GiB of weights, at most {memory.overhead / GIB:.1f} GiB of overhead, and "
        f"{memory.cache / GIB:.1f} GiB left for the cache of {fit.cache_tokens:,} tokens"
    )


def _no_fit(preset: Preset, cards: Cards) -> str:
    """Why nothing was chosen."""
    places = ", ".join(where_it_fits(preset)) or "no number of GPUs of one node"
    return (
        f"{_cards(cards)}: by the rule of captionqa models there is no room on them for this model with these options. "
        f"vLLM decides. It fits on {places}."
    )


def where_it_fits(preset: Preset) -> list[str]:
    """«2 × 24 GB», from small cards to large ones, up to the first on which one GPU is enough."""
    from captionqa.core.gpu_fit import fit
    from captionqa.core.gpu_memory import CARDS_GB, card_bytes

    places = []
    for gigabytes in CARDS_GB:
        found = fit(preset.architecture, preset.format.form, card_bytes(gigabytes), preset.wish())
        if found is not None:
            places.append(f"{found.tensor_parallel} × {gigabytes} GB")
            if found.tensor_parallel == 1:
                break
    return places


def gpus_of_job(gres: str | None, gpus: str | None) -> int | None:
    """How many a job asks for (``gpu:h100:2``, ``h100:2``, ``2``); None when that cannot be told."""
    if gpus is not None:
        return int(gpus.rpartition(":")[2])
    counts = [re.fullmatch(r"gpu(?::[^:(]+)??(?::(\d+))?", part) for part in (gres or "").split(",")]
    numbers = [int(match[1] or 1) for match in counts if match]
    return sum(numbers) if numbers else None


def job_hint(serve: Mapping[str, Any], extra: Sequence[str], job_gpus: int | None) -> str | None:
    """What is to be said when a server job asks for fewer GPUs than its server needs, or for a model that may not
    exist; None when there is nothing.

    Args:
        serve: the parameters of `captionqa serve` in that job; ``model`` as vLLM is given it.
        extra: words for the engine itself.
        job_gpus: how many GPUs the job asks for.
    """
    from captionqa.core.gpu_fit import fit
    from captionqa.core.gpu_memory import card_bytes
    from captionqa.server.models import find_preset, unknown_sentence
    from captionqa.server.preset_options import said_options

    if serve["engine"] != "vllm":
        return None
    preset = find_preset(serve["model"])
    if preset is None and (sentence := unknown_sentence(serve["model"])):
        return sentence
    if job_gpus is None:
        return None
    said = said_options(extra)
    given = (serve[name] or said.get("--" + name.replace("_", "-")) for name in _SHARING)
    tensor, data = (int(value) if value and str(value).isdecimal() else None for value in given)
    if tensor or data:
        needed = (tensor or 1) * (data or 1)
        if needed > job_gpus:
            return f"the server wants {needed} GPUs, its job asks for {job_gpus}: --gres gpu:{needed}"
        return None
    if preset is None:
        return None
    size = serve["gpu_memory"] or USUAL_CARD_GB
    wish = preset.wish(exact_length=serve["max_model_len"])
    best = fit(preset.architecture, preset.format.form, card_bytes(size), wish)
    if best is not None and best.tensor_parallel <= job_gpus:
        return None
    places = ", ".join(where_it_fits(preset)) or "no number of GPUs of one node"
    return f"{preset.name} fits on {places}; its job asks for {job_gpus} GPU{'s' if job_gpus > 1 else ''} (--gres)"


_SHARING = ("tensor_parallel_size", "data_parallel_size")
