"""docs/grading.md names whatever a reader of results meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from captionqa.core.answers.letters import Method, Reason
from captionqa.core.answers.values import Rung
from captionqa.core.grading import Equivalence, Verdict

PAGE = (Path(__file__).parents[2] / "docs" / "grading.md").read_text(encoding="utf-8")
NAMES = [*Method, *Reason, *Rung, *Verdict]


@pytest.mark.parametrize("name", [name for name in NAMES if name is not Method.NONE])
def test_methods_reasons_rungs_and_outcomes_are_explained(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("verdict", [Equivalence.TIMEOUT, Equivalence.OUT_OF_MEMORY, Equivalence.CRASHED])
def test_what_became_of_a_pair_without_a_verdict_is_explained(verdict: Equivalence) -> None:
    assert f"`boxed/{verdict}`" in PAGE
