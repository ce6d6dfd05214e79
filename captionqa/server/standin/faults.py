"""Faults on demand: what goes wrong with the n-th request, decided by a seed.

In: rates, a seed, the request's number. Out: one fault or none. The number and not the request's content decides, so a
retry of the same request can succeed. Never does the harm itself; `app` does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

from captionqa.errors import UsageError


class Fault(StrEnum):
    """What becomes of one request; the value is the name of its rate in `Faults` without ``_rate``."""

    ERROR = "error"
    BUSY = "busy"
    RATE_LIMIT = "rate_limit"
    REJECT = "reject"
    DROP = "drop"
    HANG = "hang"
    CUT = "cut"
    GARBAGE = "garbage"
    EMPTY = "empty"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong. Rates are shares of the chat requests, 0 to 1, and add up to at most 1."""

    latency_s: float = 0.0
    """Seconds every request runs before its first token."""
    per_token_s: float = 0.0
    """Seconds per token on top of that."""
    error_rate: float = 0.0
    """500 as vLLM words it when its engine fails."""
    busy_rate: float = 0.0
    """503 without Retry-After, as from a full queue."""
    rate_limit_rate: float = 0.0
    """429 with ``Retry-After: 1``; not vLLM's own, but a gateway's in front of it."""
    reject_rate: float = 0.0
    """400."""
    drop_rate: float = 0.0
    """The connection is closed without an answer."""
    hang_rate: float = 0.0
    """Accepted and never answered, until the client goes. Takes no place among the running."""
    cut_rate: float = 0.0
    """200, and the connection is closed in the middle of the body."""
    garbage_rate: float = 0.0
    """200 with a body that is not JSON."""
    empty_rate: float = 0.0
    """200 with empty content."""
    abort_rate: float = 0.0
    """200 with half of the text and finish_reason ``abort``, as from a vLLM that is stopped."""
    down_after: int | None = None
    """After this many chat requests (counted from when these faults were set) the server is down, once: …"""
    down_s: float = 0.0
    """… every connection is dropped for these seconds, ``/health`` included; only ``/standin/*`` answers."""
    fail_health: bool = False
    """``/health`` says 503, as when vLLM's engine is dead."""

    def __post_init__(self) -> None:
        rates = {fault: self.rate(fault) for fault in Fault}
        for fault, rate in rates.items():
            if not 0 <= rate <= 1:
                raise UsageError(f"{fault}_rate is {rate}, which is not a share. Give a number from 0 to 1.")
        if sum(rates.values()) > 1 + 1e-9:
            named = ", ".join(f"{fault}_rate {rate}" for fault, rate in rates.items() if rate)
            raise UsageError(f"The fault rates add up to more than 1 ({named}). Lower some of them.")
        for name in ("latency_s", "per_token_s", "down_s"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}. Give 0 or more seconds.")

    def rate(self, fault: Fault) -> float:
        rate: float = getattr(self, f"{fault}_rate")
        return rate

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Faults:
        """From a JSON object with any of the fields.

        Raises:
            UsageError: a field is unknown or its value has the wrong type.
        """
        known = {one.name: one.default for one in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise UsageError(f"Unknown fault {name!r}. Known: {', '.join(known)}.")
            if value is None and known[name] is None:
                continue
            boolean = isinstance(known[name], bool)
            if isinstance(value, bool) != boolean or not isinstance(value, (int, float)):
                raise UsageError(f"{name} is {value!r}. Give {'true or false' if boolean else 'a number'}.")
        return cls(**values)  # type: ignore[arg-type]


@dataclass(slots=True)
class FaultPlan:
    """`Faults` in force since some request, with the one-time outage's clock."""

    faults: Faults
    seed: int
    requests: int = 0
    """Chat requests since these faults were set."""
    _down_until: float | None = field(default=None, init=False)

    def draw(self, number: int) -> Fault | None:
        """The fault of the server's ``number``-th chat request. Counts the request for the outage."""
        self.requests += 1
        faults = self.faults
        if faults.down_after is not None and self.requests > faults.down_after and self._down_until is None:
            self._down_until = time.monotonic() + faults.down_s
        point = random.Random(f"{self.seed}:{number}").random()
        for fault in Fault:
            point -= faults.rate(fault)
            if point < 0:
                return fault
        return None

    def is_down(self) -> bool:
        return self._down_until is not None and time.monotonic() < self._down_until
