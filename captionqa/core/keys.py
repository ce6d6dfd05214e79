"""Keys: what is asked, as a digest. The same request has the same key in every run, order and shard.

In: an item's parts. Out: hex digests and shard numbers. Never positions, never modification times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

KEY_HEX = 16
"""Hex digits of a key: 64 bits. Keys are only ever compared between versions of one item, so that is plenty."""


def canonical(value: Any) -> bytes:
    """The one byte string for a JSON-like value: sorted names, no spaces, ASCII (so that any text has one)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def digest(value: Any, hex_digits: int = KEY_HEX) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()[:hex_digits]


def item_key(item_id: str, content: Sequence[str | tuple[str, int | str | None]]) -> str:
    """Key of one request: its id and its content in order. A text is itself; an image is its name with the file's size
    in bytes (or the digest of inline bytes; None when there is no such file). Size stands for content where reading a
    million files only to skip them would cost more than the answer."""
    return digest([item_id, [part if isinstance(part, str) else list(part) for part in content]])


def facts_key(facts: Mapping[str, Any]) -> str:
    """Digest of what an export says about an item beyond the request: a corrected gold answer changes this, not the
    key, so the grade follows without asking again."""
    return digest(facts)


def id_digest(item_id: str) -> bytes:
    """Twelve bytes that stand for an id in memory; two of a million ids share one with a probability below 1e-16."""
    return _sha256(item_id)[:12]


def shard_of(item_id: str, num_shards: int) -> int:
    """The shard, 0 ≤ shard < num_shards, that an item belongs to: by its id alone, so it does not move when other
    items come or go. Uniform to within sampling noise."""
    return int.from_bytes(_sha256(item_id)[-8:], "big") % num_shards


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
