"""Checks: what was looked at before a run, what came out, and the way out of each trouble. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Mark(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    """The run would fail, or lose items."""
    NOTED = "noted"
    """Worth knowing; the run works."""
    SKIPPED = "skipped"
    """Could not be looked at, because something before it failed."""


SIGNS = {Mark.PASSED: "✓", Mark.FAILED: "✗", Mark.NOTED: "!", Mark.SKIPPED: "–"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a preflight."""

    name: str
    mark: Mark
    found: str
    """What was seen, in words and numbers."""
    way_out: str = ""
    """What to do about it; empty when ``found`` says so already."""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "mark": self.mark.value}


def passed(name: str, found: str) -> Check:
    return Check(name, Mark.PASSED, found)


def failed(name: str, found: str, way_out: str = "") -> Check:
    return Check(name, Mark.FAILED, found, way_out)


def noted(name: str, found: str, way_out: str = "") -> Check:
    return Check(name, Mark.NOTED, found, way_out)


def skipped(name: str, why: str) -> Check:
    return Check(name, Mark.SKIPPED, why)


def all_well(checks: Iterable[Check]) -> bool:
    """Whether nothing failed or was kept from being looked at."""
    return all(check.mark in (Mark.PASSED, Mark.NOTED) for check in checks)
