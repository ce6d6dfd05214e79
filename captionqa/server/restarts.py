"""Restart or give up: how often an engine may end unasked, and how long to wait in between. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Restarts:
    """Counts an engine's ends."""

    most: int
    first_s: float = 1.0
    longest_s: float = 60.0
    healthy_s: float = 600.0
    """An engine that was ready for so long starts with a clean record."""
    count: int = 0

    def after(self, ready_s: float) -> float | None:
        """Seconds to wait before the next start, after an engine that was ready for ``ready_s``; None: give up."""
        if ready_s >= self.healthy_s:
            self.count = 0
        if self.count >= self.most:
            return None
        self.count += 1
        return min(self.longest_s, self.first_s * 2.0 ** (self.count - 1))
