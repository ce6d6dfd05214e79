"""Which images a server has been sent, so that it need not be sent them again. Knows nothing of requests or time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum, auto

REMEMBERED = 1024
"""Images. vLLM's own cache, of 4 GiB by default, holds about 3,400 of 448 × 448 pixels or 160 of 2048 × 2048. Questions
on one image come together, so only the last few matter."""
MISSES_ALLOWED = 32
"""A server whose cache forgets (many processes behind one address, a small cache) or whose files are not there refuses
at every other request: beyond this number it is no longer asked that way."""


class State(Enum):
    SENT = auto()
    """In a request that has no answer yet."""
    KNOWN = auto()
    """In a request that was answered."""


class Trust:
    """Whether a short form is worth while at a server: it is, until it is refused more often than not."""

    def __init__(self) -> None:
        self.taken = 0
        self.refused = 0

    def note(self, *, taken: bool) -> None:
        self.taken += taken
        self.refused += not taken

    @property
    def worth_while(self) -> bool:
        return self.refused <= MISSES_ALLOWED or self.refused <= self.taken


class SentImages:
    """Of one server, from its greeting until it is greeted again."""

    def __init__(self) -> None:
        self.references = Trust()
        self.files = Trust()
        self._states: OrderedDict[str, State] = OrderedDict()

    def __contains__(self, uuid: str) -> bool:
        """Whether it was sent, answered or not: the other questions on this image had best go here too."""
        return uuid in self._states

    def knows(self, uuid: str) -> bool:
        return self._states.get(uuid) is State.KNOWN

    def send(self, uuids: Sequence[str]) -> None:
        for uuid in uuids:
            self._states.setdefault(uuid, State.SENT)
            self._states.move_to_end(uuid)
        while len(self._states) > REMEMBERED:
            self._states.popitem(last=False)

    def learn(self, uuids: Sequence[str]) -> None:
        """A request that held these was answered."""
        for uuid in uuids:
            if uuid in self._states:
                self._states[uuid] = State.KNOWN

    def forget(self, uuids: Sequence[str]) -> None:
        """A request that referred to these was refused."""
        for uuid in uuids:
            if uuid in self._states:
                self._states[uuid] = State.SENT
