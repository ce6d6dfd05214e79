"""Order: the questions on one image side by side, so that a server meets its image while it still remembers it.

A lazy transform of a stream of items: each comes out exactly once, whatever the order they came in. What is held back
is bounded in bytes. Nothing here changes what an item asks, and exports are ordered by `Item.ordinal`.

The first question on an image goes some way ahead of the others on it (``ahead``): when their turn comes, the server
has answered the first and holds the image, so none of them has to wait for that, or to carry the image again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace

from captionqa.core.items import ImageSource, Item

WINDOW_BYTES = 64 << 20
READ_AHEAD_ITEMS = 1024
"""Read before the first item is handed on: 0.1 s."""
WIDENED_BY = 8
"""The window is to grow by so many items for each that turned up away from the others on its image. A set that is
sorted by image streams through the first window; of a shuffled one more and more is read ahead, as far as memory
allows."""
GROWS_BY = 4
"""It grows by so many with each item that is handed on: reading 64 MiB of rows at once would take 5 s."""
ITEM_BYTES = 2048
"""What an item takes beside its texts and image bytes."""


def side_by_side(
    items: Iterator[Item], *, ahead: Callable[[], int] = lambda: 0, max_bytes: int = WINDOW_BYTES
) -> Iterator[Item]:
    """The same items with those on the same first image together, in order of its first occurrence, as far as
    ``max_bytes`` of items reach. Those with company are marked `Item.shared`.

    Args:
        ahead: about how many items are to lie between the first question on an image and the others: as many as are in
            flight together.

    Raises: what the source raises, once everything before it was handed on.
    """
    window = _Window(items, max_bytes)
    while True:
        window.read_ahead()
        if window.behind <= ahead() and window.untouched:
            yield window.begin()
        elif window.begun:
            yield window.go_on()
        elif window.error is not None:
            raise window.error
        else:
            return


@dataclass(slots=True, eq=False)
class _Group:
    """The items on one image that are in the window."""

    key: Hashable
    items: deque[Item] = field(default_factory=deque)
    shared: bool = False
    begun: bool = False
    inline: dict[ImageSource, bytes] = field(default_factory=dict)
    """Image bytes that the items carry, each once: by the source without them."""


class _Window:
    """Items that were read and not handed on, by their first image, in order of its first occurrence."""

    def __init__(self, items: Iterator[Item], max_bytes: int) -> None:
        self.untouched: deque[_Group] = deque()
        """Images of which nothing was handed on."""
        self.begun: deque[_Group] = deque()
        """Images of which the first question was handed on, and others wait."""
        self.behind = 0
        """Items that wait in ``begun``."""
        self.error: Exception | None = None
        """What ended the source."""
        self._items = items
        self._max_bytes = max_bytes
        self._groups: dict[Hashable, _Group] = {}
        self._held = 0
        self._bytes = 0
        self._most = self._wanted = READ_AHEAD_ITEMS
        self._last: _Group | None = None
        self._ended = False

    def read_ahead(self) -> None:
        while not self._ended and self._held < self._most and (self._bytes < self._max_bytes or not self._held):
            try:
                item = next(self._items, None)
            except Exception as error:  # noqa: BLE001 (raised by `side_by_side`, after the items before it)
                self.error = error
                item = None
            if item is None:
                self._ended = True
            else:
                self._add(item)

    def begin(self) -> Item:
        """The first item of the next image."""
        group = self.untouched.popleft()
        group.begun = True
        if len(group.items) > 1:
            self.begun.append(group)
            self.behind += len(group.items) - 1
            return self._take(group)
        item = self._take(group)
        self._close(group)
        return item

    def go_on(self) -> Item:
        """The next item of an image whose first was handed on."""
        group = self.begun[0]
        item = self._take(group)
        self.behind -= 1
        if not group.items:
            self._close(self.begun.popleft())
        return item

    def _add(self, item: Item) -> None:
        key = _image_key(item)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key)
            self.untouched.append(group)
        else:
            group.shared = True
            self.behind += group.begun
            if group is not self._last:
                self._wanted += WIDENED_BY
        self._last = group
        group.items.append(self._with_bytes_of(group, item))
        self._held += 1
        self._bytes += _text_bytes(item)

    def _with_bytes_of(self, group: _Group, item: Item) -> Item:
        """The same item, holding the group's copy of its images: a row that carries an image has its own."""
        if not any(image.data for image in item.images):
            return item
        content: list[str | ImageSource] = []
        for part in item.content:
            if isinstance(part, ImageSource) and part.data is not None:
                name = replace(part, name="", data=None)
                held = group.inline.get(name)
                if held is None:
                    group.inline[name] = part.data
                    self._bytes += len(part.data)
                elif held == part.data:
                    part = replace(part, data=held)
            content.append(part)
        return replace(item, content=tuple(content))

    def _take(self, group: _Group) -> Item:
        item = group.items.popleft()
        self._most = min(self._wanted, self._most + GROWS_BY)
        self._held -= 1
        self._bytes -= _text_bytes(item)
        return replace(item, shared=True) if group.shared else item

    def _close(self, group: _Group) -> None:
        del self._groups[group.key]
        self._bytes -= sum(map(len, group.inline.values()))


def _image_key(item: Item) -> Hashable:
    """Of an item's first image; an item without one is alone."""
    image = next(iter(item.images), None)
    if image is None:
        return item.id
    return image.path or image.name if image.data is None else image.version, image.version


def _text_bytes(item: Item) -> int:
    """About what an item takes: its texts are in the question and again in the facts."""
    return ITEM_BYTES + 2 * sum(len(part) for part in item.content if isinstance(part, str))
