"""What a run asks: items. An item is one question to the model with the images it is about.

In: nothing but values. Out: frozen values. Never touches a file; an image is named here and read in `data.images`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from captionqa.core.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where one image comes from. Exactly one of ``path`` and ``data`` is set, unless ``problem`` already says
    why it cannot be read (a path that leaves the data set's folder, a cell that is no image)."""

    name: str
    """As exported: the path relative to the data set's folder, or ``<qid>#<position>`` for bytes without a path."""
    path: str | None = None
    """Absolute path of the file to read."""
    data: bytes | None = None
    """The file's bytes, when the parquet file carries them."""
    version: int | str | None = None
    """The file's size in bytes, or a digest of ``data``; None when there is no such file. Part of the item's key."""
    problem: str | None = None
    """An `errors.ImageProblem` value known before reading."""
    detail: str = ""
    """What to tell the user about ``problem``."""


@dataclass(frozen=True, slots=True)
class Item:
    """One keyed request."""

    id: str
    """qid of a question, or an image's path relative to the data set's folder. Unique within a run."""
    ordinal: int
    """Position in the data set, from 0. Orders exports, identifies nothing."""
    key: str
    """Digest of what is asked (see `core.keys`): another question under the same id has another key."""
    content: tuple[str | ImageSource, ...]
    """The user message, in the order the model reads it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the journal must remember so that exports need no data set: question, choices, gold, category, …"""
    recorded: Mapping[str, Any] | None = None
    """The journal's record when it holds the answer to this very request and only the facts about it have changed (a
    corrected gold answer): it is saved again with the new facts, without asking."""
    choices: tuple[str, ...] = ()
    """What the server is to choose the answer from; empty when it answers freely."""
    seed: int | None = None
    """The sampling seed of this request, where it is not the run's."""
    outcome: Outcome | None = None
    """How it ended before anything could be sent; None for an item that is to be asked."""
    shared: bool = False
    """Whether other items of the run are known to be about the same image (see `run.order`)."""

    @property
    def images(self) -> tuple[ImageSource, ...]:
        return tuple(part for part in self.content if isinstance(part, ImageSource))
