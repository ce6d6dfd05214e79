"""The task of captioning images that a program names one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captionqa.core.items import ImageSource, Item
from captionqa.errors import InputError
from captionqa.run.store import RunPaths
from captionqa.run.tasks import Asking, Mine, caption_paths, content_key, render_style


@dataclass(slots=True)
class ImageListTask:
    """Caption images that are named one by one. An image's id is its path below ``root``, or, without a root, its
    absolute path. As with a folder, what is not in the list any more leaves the exports, and is not asked again when it
    is back."""

    images: Sequence[Path]
    root: Path | None
    asking: Asking
    shares_images: bool = field(default=False, init=False)
    image_cache_bytes: int = field(default=0, init=False)
    takes_empty: bool = field(default=False, init=False)
    needs_choice: bool = field(default=False, init=False)
    _sources: dict[str, str] = field(default_factory=dict, init=False)
    """Path by id."""

    @property
    def dataset(self) -> Path:
        """The folder that all of them lie below."""
        return self.root or Path(os.path.commonpath([os.path.dirname(os.path.abspath(image)) for image in self.images]))

    def check(self, mine: Mine) -> tuple[int, int]:
        render_style(self.asking.style, n=1, image_name="an image's name")
        base = None if self.root is None else os.path.abspath(self.root)
        for image in self.images:
            path = os.path.abspath(image if base is None else os.path.join(base, image))
            name = path if base is None else os.path.relpath(path, base)
            if name.split(os.sep)[0] == os.pardir:
                raise InputError(f"{image}: is not below {self.root}. Give a root that holds every image, or none.")
            self._sources[name] = path
        if not self._sources:
            raise InputError("no image was given. Give at least one path.")
        return len(self._sources), sum(map(mine, self._sources))

    def items(self) -> Iterator[Item]:
        for ordinal, (name, path) in enumerate(self._sources.items()):
            prompt = render_style(self.asking.style, n=1, image_name=name)
            image = ImageSource(name, path=path, version=_file_size(path))
            yield Item(name, ordinal, content_key(name, (image, prompt)), (image, prompt), {})

    def identity(self, model: str) -> dict[str, Any]:
        # A list is no folder: a few images of one must not make the exports of its run forget all the others.
        data = {"dataset_path": os.path.realpath(self.root or "/"), "images": "listed"}
        return {"task": "caption", "model": model, **self.asking.identity(), "data": data}

    def paths(self, output_dir: Path, model_name: str, run_name: str | None) -> RunPaths:
        return caption_paths(output_dir, model_name, run_name, self.asking.style)

    def notes(self) -> dict[str, Any]:
        return {}


def _file_size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
