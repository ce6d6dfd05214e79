"""Which of a run's items a report lists, when it cannot list them all.

In: every item with its verdict, one at a time. Out: the chosen ones. What is not right comes first; where a group has
to be cut it is a sample, the same for the same seed, and it does not depend on the order of the data set. Pure; memory
is bounded by the limit.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Selection(Generic[ItemT]):
    """At most ``limit`` of the items added; None keeps all."""

    def __init__(self, limit: int | None, groups: Sequence[str], *, filler: str | None = None, seed: int = 0) -> None:
        """``groups``: the verdicts, in the order in which items are listed; ``filler``: the one of them that gets what
        the others leave (what went right)."""
        self.counts: Counter[str] = Counter()
        """Items added, by verdict."""
        self._limit = limit
        self._seed = seed
        self._groups = tuple(groups)
        self._filler = filler
        self._kept: dict[str, list[tuple[int, int, ItemT]]] = {group: [] for group in groups}
        """Heaps of (rank below zero, order of adding, item): the greatest rank lies on top and is the next to go."""

    def wants(self, group: str, item_id: str) -> bool:
        """Whether `add` would keep it, so that nobody prepares an item in vain."""
        kept = self._kept[group]
        return self._limit is None or len(kept) < self._limit or (bool(kept) and self._rank(item_id) > kept[0][0])

    def add(self, group: str, item_id: str, item: ItemT) -> None:
        """Takes in an item that `wants` is true for."""
        entry = (self._rank(item_id), self.counts[group], item)
        kept = self._kept[group]
        if self._limit is None or len(kept) < self._limit:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    def count(self, group: str) -> None:
        """One more of this verdict, kept or not. Call it after `add`, for every item."""
        self.counts[group] += 1

    def chosen(self) -> list[ItemT]:
        """By verdict, within a verdict in the order of adding."""
        places = shares({group: self.counts[group] for group in self._groups}, self._limit, self._filler)
        listed: list[ItemT] = []
        for group in self._groups:
            best = heapq.nlargest(places[group], self._kept[group], key=lambda entry: entry[:2])
            listed += [item for _, _, item in sorted(best, key=lambda entry: entry[1])]
        return listed

    def _rank(self, item_id: str) -> int:
        """A number below zero that depends on seed and id alone: chance without a generator's state."""
        text = f"{self._seed}:{item_id}".encode("utf-8", "surrogatepass")
        return -1 - int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def shares(counts: Mapping[str, int], limit: int | None, filler: str | None = None) -> dict[str, int]:
    """How many of each group are listed: the groups share the limit, small ones whole and large ones alike; ``filler``
    gets what they leave. Adds up to the limit, or to all items if they are fewer."""
    if limit is None or sum(counts.values()) <= limit:
        return dict(counts)
    places = dict.fromkeys(counts, 0)
    left, waiting = limit, sorted((group for group in counts if group != filler), key=counts.__getitem__)
    while waiting:
        group = waiting.pop(0)  # the smallest: what it does not need of its share goes to the others
        places[group] = min(counts[group], left // (len(waiting) + 1))
        left -= places[group]
    if filler is not None:
        places[filler] = min(counts[filler], left)
    return places
