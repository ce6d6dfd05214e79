"""Lets a torchvision that is linked to CUDA be imported beside a torch for CPUs. `repair_venv` copies it to its place.

Torchvision survives that its compiled operators cannot be loaded, but then declares how two of them behave on «meta»
tensors, and that fails: «operator torchvision::nms does not exist». This declares their signatures, and only when
torchvision is about to do so. Image transforms, all that Qwen-VL's processors use, are plain torch; nms and the like
stay unavailable.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[Any] = []
"""What is declared is forgotten with the object that declared it."""


class _Declarer:
    """Finds no module: an import of torchvision's declarations is the sign to go first."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "torchvision._meta_registrations" and not _libraries:
            import torch
            from torchvision.extension import _has_ops

            if not _has_ops():
                library = torch.library.Library("torchvision", "FRAGMENT")
                for operator in ("nms", "qnms"):
                    library.define(operator + _SIGNATURE)
                _libraries.append(library)
        return None


sys.meta_path.insert(0, _Declarer)
