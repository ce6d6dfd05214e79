"""Batch captioning and VQA evaluation on GPU clusters.

The names below are the Python API (`captionqa.api`, docs/python.md). They are imported when they are first used, so
that ``import captionqa`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captionqa.api import (
        Answer,
        Chat,
        Generation,
        Piece,
        Progressed,
        RunOptions,
        RunResult,
        Server,
        ask,
        caption,
        extract_letter,
        grade,
        qa,
        read_run,
    )

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Chat",
    "Generation",
    "Piece",
    "Progressed",
    "RunOptions",
    "RunResult",
    "Server",
    "__version__",
    "ask",
    "caption",
    "extract_letter",
    "grade",
    "qa",
    "read_run",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("captionqa.api"), name)
    raise AttributeError(f"module 'captionqa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
