"""What a server can do, as far as it was found out when it was greeted. Values only; `run.abilities` finds them out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of one endpoint, for as long as it is up: the one that comes back may be another server."""

    max_model_len: int | None = None
    """Tokens of prompt and answer together; None when it does not say."""
    image_references: bool = False
    """An image that was sent with a ``uuid`` is known by it afterwards (vLLM's multimodal cache)."""
    local_files: bool = False
    """It reads the data set's files itself, from the same file system (``--allowed-local-media-path``)."""
    opens_thinking: bool = False
    """Whether its chat template begins every answer inside ``<think>``: a text that was cut before ``</think>`` is
    reasoning without any mark."""
