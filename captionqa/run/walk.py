"""The walk through a data set's items: which of them still have to be asked, by what the journals say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from captionqa.core.items import Item
from captionqa.core.keys import facts_key
from captionqa.run.journal import Entry, JournalIndex


class ToDo(Enum):
    """What is left to do for an item."""

    ASK = auto()
    REFRESH = auto()
    """Its answer stays; what else is recorded about it (gold, category) is not what it was."""
    NOTHING = auto()


def still_to_do(item: Item, entry: Entry | None, retry_failed: bool) -> ToDo:
    """``entry``: what the journals say of the item."""
    if entry is None or entry.key != item.key or (retry_failed and not entry.answered):
        return ToDo.ASK
    changed = entry.removed or entry.facts_key != facts_key(item.facts)
    return ToDo.REFRESH if changed else ToDo.NOTHING


@dataclass(slots=True)
class Walk:
    """The items of one session that need an answer, and what was seen on the way."""

    seen: int = 0
    answered_before: int = 0
    failed_before: int = 0
    complete: bool = False
    """Whether the data set was walked to its end."""

    @property
    def passed(self) -> int:
        return self.answered_before + self.failed_before

    def pending(
        self,
        items: Iterator[Item],
        index: JournalIndex,
        mine: Callable[[str], bool],
        *,
        limit: int | None,
        retry_failed: bool,
    ) -> Iterator[Item]:
        """The items that are to be asked or saved again.

        Args:
            mine: whether an item, by its id, belongs to this shard.
            limit: of the shard's items; None: all.
            retry_failed: ask again what ended without an answer.
        """
        for item in items:
            if not mine(item.id):
                continue
            if limit is not None and self.seen >= limit:
                return
            self.seen += 1
            entry = index.find(item.id)
            what = still_to_do(item, entry, retry_failed)
            if what is ToDo.ASK or entry is None:
                yield item
                continue
            self.answered_before += entry.answered
            self.failed_before += not entry.answered
            if what is ToDo.REFRESH:
                yield replace(item, content=(), recorded=index.read(item.id))
        self.complete = True
