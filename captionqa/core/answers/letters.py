"""What reading a letter can end in: a letter and the rule that found it, or no letter and the reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Method(StrEnum):
    """The rule that decided."""

    TAG = "tag"
    """An ``<answer>`` element."""
    JSON = "json"
    BOXED = "boxed"
    WHOLE = "whole_output"
    """Nothing but a letter, an option's text, a number or «Option 2»."""
    DECLARED = "declared"
    """«the answer is», «Answer:», «I choose», «答案是», …"""
    VERDICTS = "verdicts"
    """Every option is judged, and exactly one is called correct."""
    LEADING = "leading_letter"
    LAST_LINE = "last_line"
    YES_NO = "yes_no"
    LABELLED = "labelled_text"
    """One letter together with its own option's text, somewhere in the prose."""
    SENTENCE_END = "sentence_end"
    ONLY_OPTION = "only_option"
    """«Option B …», and no other option in a short text."""
    OPTION_TEXT = "option_text"
    NONE = "none"
    """No rule decided."""


class Reason(StrEnum):
    """Why there is no letter."""

    EMPTY = "empty"
    UNCLOSED_THINKING = "unclosed_thinking"
    SEVERAL = "several_letters"
    OUT_OF_RANGE = "letter_out_of_range"
    CONFLICT = "letter_and_text_conflict"
    """The letter of one option with the text of another: «B. horse» where horse is C."""
    NEGATED = "negated"
    NONE_OF_THE_OPTIONS = "none_of_the_options"
    REFUSAL = "refusal"
    NO_MATCH = "no_match"


@dataclass(frozen=True, slots=True)
class Letter:
    """The letter that an output finally chooses, right or wrong."""

    letter: str | None
    method: str
    """A `Method`."""
    reason: str | None
    """A `Reason`; None exactly when there is a letter."""
    span: tuple[int, int] | None
    """Character offsets into the output as given, of the text that decided."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one stretch of text says: a letter, or why not. A stretch that says nothing has no reading."""

    letter: str | None
    reason: Reason | None
    start: int
    end: int
