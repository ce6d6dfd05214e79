"""CaptionQA's published protocol: what is asked about a caption (or an image), and what an answer scores.

In: one question as the set has it. Out: whether it takes part, the options that are offered, the prompt, the score of a
choice. Texts are taken letter by letter, never stripped or repaired. Permutations are given, not made here. Source:
arXiv 2511.21025 and its scripts qa.py (captions) and qa_image.py (images).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from captionqa.core.answers.options import LETTERS

CANNOT_BONUS = 0.05
"""A model that says that it cannot answer scores a little more than one that draws lots."""
SCORE_PLACES = 4
_QUESTION_WORDS = (
    *("is", "are", "was", "were", "do", "does", "did", "have", "has", "had", "can", "could"),
    *("will", "would", "should", "shall", "may", "might", "must"),
)
_STARTS = tuple(f"{word} " for word in _QUESTION_WORDS)


class NotEligible(StrEnum):
    """Why a question takes no part. Such questions are counted, never scored."""

    TOO_FEW_CHOICES = "too_few_choices"
    ANSWER_NOT_A_CHOICE = "answer_not_a_choice"


@dataclass(frozen=True, slots=True)
class Setting:
    """What stands in for the image, with everything that depends on it."""

    name: str
    system_prompt: str | None
    cannot: str
    """The option that is offered beside the question's own."""
    template: str
    """The user message: ``{caption}``, ``{question}`` and ``{options}`` are replaced as they stand."""
    max_tokens: int
    first_line: bool
    """See `captionqa_compat.extract_letter_captionqa`."""

    def prompt(self, question: str, shown: Sequence[str], caption: str = "") -> str:
        """The user message for options in the order in which they are shown."""
        options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, shown, strict=False))
        parts = {"{caption}": caption, "{question}": question, "{options}": options}
        return _filled(self.template, parts)


CAPTIONS = Setting(
    "captions",
    "You are given a caption describing an image, and a question about the image. "
    "Answer with a SINGLE LETTER (A, B, C, ...), no explanation.",
    "Cannot answer from the caption",
    "Caption:\n{caption}\n\nQuestion:\n{question}\n\nOptions:\n{options}\n\nAnswer:",
    4,
    first_line=False,
)
IMAGES = Setting(
    "images",
    None,
    "Cannot answer from the image",
    "Question:\n{question}\n\nOptions:\n{options}\n\n"
    "Answer with just the letter (A, B, C, etc.) of the correct option.",
    128,
    first_line=True,
)
SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in (CAPTIONS, IMAGES)}


def gold_index(choices: Sequence[str], answer: object) -> int | NotEligible:
    """Where the right choice is: the first whose text is the answer, both stripped; or why the question is left out."""
    if len(choices) < 2:
        return NotEligible.TOO_FEW_CHOICES
    if isinstance(answer, str):
        for index, choice in enumerate(choices):
            if choice.strip() == answer.strip():
                return index
    return NotEligible.ANSWER_NOT_A_CHOICE


def is_yes_no(question: str, choices: Sequence[str]) -> bool:
    """Whether «cannot answer» is not offered. The published rule has a quirk: any choice with «no» in it («north»,
    «none») together with any that has «yes» in it («eyes») makes a yes/no question."""
    texts = [choice.strip().lower() for choice in choices]
    if any("yes" in text for text in texts) and any("no" in text for text in texts):
        return True
    return question.strip().lower().startswith(_STARTS)


def offered(question: str, choices: Sequence[str], setting: Setting) -> tuple[str, ...]:
    """The choices with «cannot answer» last, where it is offered; before any shuffling."""
    return tuple(choices) if is_yes_no(question, choices) else (*choices, setting.cannot)


def score(chosen: int | None, gold: int, options: Sequence[str], original: int, setting: Setting) -> float:
    """What choosing an option scores: 1 for the right one, 1/K + 0.05 for «cannot answer», else 0.

    Args:
        chosen: index into ``options``; None when no answer was read.
        original: K, the number of the question's own choices.
    """
    if chosen is None:
        return 0.0
    if options[chosen] == setting.cannot:
        return round(1.0 / original + CANNOT_BONUS, SCORE_PLACES)
    return 1.0 if chosen == gold else 0.0


def shown_order(count: int, shuffle: Callable[[list[int]], None]) -> list[int]:
    """The permutation for one question: shown position i holds option ``order[i]``."""
    order = list(range(count))
    shuffle(order)
    return order


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with each name replaced once, so that a caption that contains «{question}» is only text."""
    pieces: list[str] = []
    rest = template
    while rest:
        at = {name: rest.find(name) for name in parts if name in rest}
        if not at:
            break
        name = min(at, key=at.__getitem__)
        pieces += [rest[: at[name]], parts[name]]
        rest = rest[at[name] + len(name) :]
    return "".join([*pieces, rest])
