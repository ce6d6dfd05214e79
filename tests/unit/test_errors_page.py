"""docs/errors.md names every reason that a user can meet, and none that there is not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from captionqa.core.answers import letters
from captionqa.core.reasons import Reason
from captionqa.core.replies import RULES, Verdict, classify_error
from captionqa.errors import ImageProblem

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def listed(heading: str) -> set[str]:
    """The first column of the table below a heading."""
    section = next(part for part in PAGE.split("\n## ") if part.startswith(heading))
    return set(re.findall(r"^\| `([a-z0-9_]+)` \|", section, re.MULTILINE))


def statuses(*verdicts: Verdict) -> set[str]:
    """Reasons of the statuses that a rule singles out, or that servers are known to send."""
    known = {400, 413, 422, 500, 502, 503, 504} | {
        status for rule in RULES if isinstance(rule.statuses, tuple) for status in rule.statuses
    }
    found = {status: classify_error(status, {}, b"") for status in known}
    return {error.reason for error in found.values() if error.verdict in verdicts}


ENDS_THE_RUN = {Reason.MAX_TOKENS}
REJECTED = {Reason.TOO_LONG, Reason.IMAGE_TOO_LARGE, Reason.TOO_MANY_IMAGES, Reason.CONTENT_FILTER}


@pytest.mark.parametrize(
    ("heading", "reasons"),
    [
        ("Items without", set(Reason) - REJECTED - ENDS_THE_RUN | statuses(Verdict.TRANSIENT, Verdict.BUSY)),
        ("Items that cannot", REJECTED | statuses(Verdict.REJECTED)),
        ("Images that cannot", set(ImageProblem)),
        ("Answers without", set(letters.Reason)),
        ("Ends of a run", ENDS_THE_RUN | statuses(Verdict.REFUSED)),
    ],
)
def test_the_page_is_complete(heading: str, reasons: set[str]) -> None:
    assert listed(heading) == {str(reason) for reason in reasons}


def test_no_reason_is_made_up_elsewhere() -> None:
    """A reason that is written out where an error is raised must be one of those above."""
    written = set()
    for path in (ROOT / "captionqa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                position = {"NoAnswer": 1}.get(node.func.id)
                given = [node.args[position]] if position is not None and len(node.args) > position else []
                given += [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
                written |= {value.value for value in given if isinstance(value, ast.Constant)}
    assert written - {None} <= set(Reason) | set(ImageProblem)


def test_the_page_is_linked_from_the_readme() -> None:
    assert "(docs/errors.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
