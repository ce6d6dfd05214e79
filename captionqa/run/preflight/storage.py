"""Room for what a run writes: the folder takes a file, and the file system has the bytes and the inodes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from captionqa.core.checks import Check, failed, noted, passed

CHARACTERS_PER_TOKEN = 4
RECORD_BYTES = 1500
"""Of a journal record beside the answer itself: id, key, facts about the item, images, usage."""
COPIES = 2
"""The journal, and the exports."""
FILES = 100
"""Far more than a run makes."""


def look_at_storage(output_dir: Path, items: int, max_tokens: int) -> list[Check]:
    """``items``: in the data set; ``max_tokens``: of an answer, taken as its length."""
    existing = output_dir.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".captionqa-preflight-") as file:
            file.write(b"0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        way_out = "Choose another --output-dir, free some space, or ask for more quota."
        return [failed("output folder", f"{output_dir}: cannot be written ({error.strerror})", way_out)]
    written = passed("output folder", f"{output_dir} can be written")
    return [written, _space(existing, items, max_tokens)] if items else [written]


def _space(folder: Path, items: int, max_tokens: int) -> Check:
    needed = COPIES * items * (RECORD_BYTES + CHARACTERS_PER_TOKEN * max_tokens)
    free = shutil.disk_usage(folder).free
    words = f"{_size(free)} free, at most {_size(needed)} needed"
    # Not every file system counts its inodes; those that do not say 0 in all.
    counts = os.statvfs(folder)
    if counts.f_files and counts.f_favail < FILES:
        return failed(
            "disk", f"{words}, but only {counts.f_favail} files more", "Delete files, or ask for more inodes."
        )
    if free < needed:
        return noted("disk", words, "Answers of full length would not fit: free some space, or choose --output-dir.")
    return passed("disk", f"{words}; a quota of your own is not seen here")


def _size(count: int) -> str:
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}"
