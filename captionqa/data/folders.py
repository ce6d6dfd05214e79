"""Image folders: a folder in, its images out, one at a time and always in the same order.

Names are paths relative to the folder with «/», so equal basenames in two sub-folders stay apart. Names that begin with
a dot (thumbnail folders, the «._» files of macOS) are not looked at. Nothing is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from captionqa.core.items import ImageSource
from captionqa.errors import ImageProblem, InputError

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
"""Compared without regard to case."""


def count_images(root: Path, mine: Callable[[str], bool] = lambda _: True) -> tuple[int, int]:
    """How many images `iter_images` yields, and how many whose name is ``mine``; reads names, no file's attributes."""
    count = own = 0
    for name, _, _ in _walk_root(root):
        count += 1
        own += mine(name)
    return count, own


def iter_images(root: Path, *, follow_symlinks: bool = False) -> Iterator[ImageSource]:
    """Every image below ``root``, depth first, names sorted within each folder.

    A link that leads out of ``root`` yields its images as refused ones (``outside_dataset``), unless
    ``follow_symlinks``. Memory: the names of the folders on the way down, never the whole list.

    Raises: InputError for a folder that is missing or cannot be listed.
    """
    for name, entry, inside in _walk_root(root):
        if inside or follow_symlinks:
            yield ImageSource(name, path=entry.path, version=_size(entry))
        else:
            yield ImageSource(
                name,
                problem=ImageProblem.OUTSIDE_DATASET,
                detail="a link out of the data set's folder. If that is meant, say --follow-symlinks",
            )


Found = tuple[str, "os.DirEntry[str]", bool]
"""An image's name, its entry, and whether it lies inside the root."""


def _walk_root(root: Path) -> Iterator[Found]:
    if not os.path.isdir(root):  # unlike Path.is_dir, False for a name that cannot be one
        kind = "a file, not a folder" if os.path.exists(root) else "not there"
        raise InputError(f"data set folder {root}: {kind}. Give a folder of images with --dataset-path.")
    real_root = os.path.realpath(root)
    yield from _walk(str(root), "", real_root, (real_root,), inside=True)


def _walk(folder: str, prefix: str, real_root: str, ancestors: tuple[str, ...], *, inside: bool) -> Iterator[Found]:
    for entry in _listed(folder):
        name = prefix + entry.name
        here = inside and (not entry.is_symlink() or _is_inside(entry.path, real_root))
        if _is_folder(entry):
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(ancestors[-1], entry.name)
            if real not in ancestors:  # a link back up would never end
                yield from _walk(entry.path, name + "/", real_root, (*ancestors, real), inside=here)
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_EXTENSIONS:
            yield name, entry, here


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            seen = (entry for entry in entries if not entry.name.startswith("."))
            return sorted(seen, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"folder {folder}: cannot be listed ({error.strerror}). Check its permissions.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission: reading it will say so
        return False


def _is_inside(path: str, real_root: str) -> bool:
    return os.path.realpath(path).startswith(real_root.rstrip(os.sep) + os.sep)


def _size(entry: os.DirEntry[str]) -> int | None:
    """None for a link whose target is gone: the item is asked for and ends as ``missing_image``."""
    try:
        return entry.stat().st_size
    except OSError:
        return None
