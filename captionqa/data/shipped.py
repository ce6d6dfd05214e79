"""Files that travel with the package: prompts/ and slurm/. From a wheel they lie inside the package, from a checkout
or an editable install beside it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def shipped_folder(name: str) -> Path:
    """The folder ``prompts`` or ``slurm`` of this installation.

    Raises: FileNotFoundError when the installation is broken.
    """
    candidates = (PACKAGE / "shipped" / name, PACKAGE.parent / name)
    for folder in candidates:
        if folder.is_dir():
            return folder
    places = " and ".join(map(str, candidates))
    raise FileNotFoundError(f"the folder {name}/ of captionqa is in neither {places}: install captionqa again")
