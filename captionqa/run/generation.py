"""How a user wants to be answered: one typed object, filled in by the command line's options or by a Python program.

In: what was said; None means that nothing was. Out: how every item is asked, with the task's own defaults where nothing
was said. A field's name is the option's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from captionqa.core.requests import Sampling
from captionqa.core.vision import ImagePolicy
from captionqa.data.prompt_files import PromptStyle
from captionqa.errors import UsageError
from captionqa.run.tasks import Asking

_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "presence_penalty", "repetition_penalty", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Sampling, system prompt and image size. None takes the task's default: captions and conversations are sampled as
    Qwen3-VL's model cards recommend, questions are answered at temperature 0.

    Raises: UsageError for a value that no server takes.
    """

    max_tokens: int | None = None
    """Longest answer, in tokens."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    """-1 is off."""
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    """1 is off."""
    seed: int | None = None
    system_prompt: str | None = None
    max_pixels: int = 4_194_304
    """Width × height above which an image is reduced before it is sent."""
    strict_openai: bool = False
    """Leave out top_k and repetition_penalty, for servers that refuse vLLM's extensions."""
    thinking: bool | None = None
    """Whether a model that can think before it answers is to; None leaves that to the server."""
    fit: bool = False
    """Reduce images until prompt and answer fit into the model's context."""
    context_tokens: int | None = None
    """The context to fit into; None takes what the servers say."""

    def __post_init__(self) -> None:
        wrong = {
            "max_tokens": self.max_tokens is not None and self.max_tokens < 1,
            "temperature": self.temperature is not None and self.temperature < 0,
            "top_p": self.top_p is not None and not 0 < self.top_p <= 1,
            "repetition_penalty": self.repetition_penalty is not None and self.repetition_penalty <= 0,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise UsageError(f"{name} {getattr(self, name)}: out of range. {_RANGES[name]}")
        if self.strict_openai and self.thinking is not None:
            raise UsageError(
                "--strict-openai leaves out vLLM's fields, and --thinking is one of them. Drop one of the two."
            )
        try:
            self.policy()
        except ValueError as error:
            raise UsageError(f"{error}. Give a larger max_pixels.") from error

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Generation:
        """From options by their names: those of one command need not have all of them."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})

    def sampling(self, defaults: Sampling) -> Sampling:
        said = {name: value for name, value in asdict(self).items() if name in _SAMPLING and value is not None}
        sampling = replace(defaults, **said)
        return replace(sampling, top_k=None, repetition_penalty=None) if self.strict_openai else sampling

    def policy(self) -> ImagePolicy:
        return ImagePolicy(max_pixels=self.max_pixels)

    def asking(self, style: PromptStyle, defaults: Sampling) -> Asking:
        """How every item of a run is asked."""
        return Asking(
            style,
            self.system_prompt,
            self.sampling(defaults),
            self.policy(),
            self.thinking,
            self.fit,
            self.context_tokens,
        )


def needs_choice(answer_mode: str, generation: Generation) -> bool:
    """Whether answers are constrained to the questions' letters. Raises: UsageError for what does not go with that."""
    if answer_mode not in ("text", "choice"):
        raise UsageError(f"answer mode {answer_mode!r}: give text or choice.")
    if answer_mode == "text":
        return False
    if generation.thinking:
        raise UsageError(
            "--answer-mode choice --thinking: a constrained answer is a letter and nothing else, so reasoning has no "
            "place. Use --answer-mode text with --thinking, or choice with --no-thinking."
        )
    if generation.strict_openai:
        raise UsageError(
            "--answer-mode choice --strict-openai: the constraint is one of the fields that are left out. Drop one."
        )
    return True


_RANGES = {
    "max_tokens": "Give 1 or more.",
    "temperature": "Give 0 or more.",
    "top_p": "Give more than 0 and at most 1.",
    "repetition_penalty": "Give more than 0; 1 is off.",
}
