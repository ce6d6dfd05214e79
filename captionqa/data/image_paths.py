"""Where a data set's images lie: inside its folder, or nowhere.

In: the folder and a path as the data set names it. Out: an `ImageSource` with the path to read or with a problem. Looks
at links; never opens an image.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path

from captionqa.core.items import ImageSource
from captionqa.errors import ImageProblem

__all__ = ["resolve_inside"]

_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 4096


def resolve_inside(root: Path, relative: str) -> ImageSource:
    """The image that a data set names, if it is inside the data set's folder.

    ``relative`` is joined to ``root``. An absolute path, or one that leaves the folder through ``..`` or a symbolic
    link, has the problem OUTSIDE_DATASET; one that cannot be a file name has BAD_VALUE. Links within the folder are
    followed. ``path`` is absolute and free of links; the file need not exist.
    """
    if not relative.strip():
        return _unusable(relative, ImageProblem.BAD_VALUE, "the image path is empty; check the image column")
    try:
        encoded = os.fsencode(relative)
    except UnicodeEncodeError:
        return _unusable(relative, ImageProblem.BAD_VALUE, "the image path cannot be encoded; check the image column")
    if b"\0" in encoded:
        return _unusable(relative, ImageProblem.BAD_VALUE, "the image path holds a NUL byte; check the image column")
    parts = encoded.split(b"/")
    if len(encoded) >= _MAX_PATH_BYTES or max(map(len, parts)) > _MAX_NAME_BYTES:
        short = f"{relative[:80]}…"
        detail = f"{len(encoded):,} bytes are no file name (255 a part, 4,095 in all); is this the image column?"
        return _unusable(short, ImageProblem.BAD_VALUE, detail)
    if relative.startswith("/"):
        detail = f"the path is absolute; write it relative to the data set's folder {root}"
        return _unusable(relative, ImageProblem.OUTSIDE_DATASET, detail)
    real_root = _real_root(os.path.abspath(root))
    real = _real_path(real_root, relative)
    if real == real_root:
        return _unusable(relative, ImageProblem.BAD_VALUE, "names the data set's folder itself; name an image file")
    if not real.startswith(real_root.rstrip("/") + "/"):
        detail = f"leads to {real}, outside the data set's folder {root}; copy the image into it"
        return _unusable(relative, ImageProblem.OUTSIDE_DATASET, detail)
    return ImageSource(name=relative, path=real)


def _unusable(name: str, problem: ImageProblem, detail: str) -> ImageSource:
    return ImageSource(name=name, problem=problem.value, detail=detail)


@lru_cache(maxsize=64)
def _real_root(root: str) -> str:
    return os.path.realpath(root)


def _real_path(real_root: str, relative: str) -> str:
    """As `os.path.realpath`, but only the parts below the root are examined: one lstat each, which Lustre feels."""
    path = real_root
    for part in relative.split("/"):
        if part in ("", "."):
            continue
        path = os.path.join(path, part)
        try:
            plain = part != ".." and not stat.S_ISLNK(os.lstat(path).st_mode)
        except OSError:  # Missing or unreadable: reading it will say so.
            plain = part != ".."
        if not plain:
            return os.path.realpath(os.path.join(real_root, relative))
    return path
