"""Whole runs against real vLLM with a model that can see: what is right, and that it is the same every time."""

from __future__ import annotations

import signal
from typing import Any

from tests.serving import SERVED_AS

from .conftest import IMAGES, QUESTIONS_PER_IMAGE, Known, Work

QUESTIONS = IMAGES * QUESTIONS_PER_IMAGE
LEAST = 0.9


def test_captions_are_right(undisturbed: dict[str, Any], known: Known) -> None:
    captions = undisturbed["captions"]
    assert len(captions) == IMAGES
    assert sum(captions[name] == truth for name, truth in known.captions.items()) / IMAGES > LEAST


def test_lettered_questions_are_answered_right_and_graded_right(undisturbed: dict[str, Any], known: Known) -> None:
    counts = undisturbed["counts"]["qa"]
    assert (counts["model"], counts["total_questions"]) == (SERVED_AS, QUESTIONS)
    assert counts["overall_accuracy"] > LEAST
    right = [row["predicted_letter"] == known.answers[qid] for qid, row in undisturbed["answers"].items()]
    assert (len(right), sum(right)) == (QUESTIONS, counts["correct_answers"])


def test_a_second_run_says_the_same(undisturbed: dict[str, Any], work: Work) -> None:
    for command in work.commands("second"):
        work.cli.run(*command)
    assert work.exports("second") == undisturbed


def test_a_client_that_is_stopped_goes_on_where_it_was(undisturbed: dict[str, Any], work: Work) -> None:
    (caption, qa) = work.commands("stopped")
    work.cli.run(*caption)
    started = work.cli.start(*qa)
    files = work.answers("stopped")
    started.until(lambda: files.journal.exists() and len(files.records()) > 20)
    started.send(signal.SIGTERM)
    assert started.ended().code in (0, 75)  # 0: it was done before the signal came
    work.cli.run(*qa)
    assert work.exports("stopped") == undisturbed
