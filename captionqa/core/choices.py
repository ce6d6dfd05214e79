r"""Choices and golds: what a question offers and which answer is right.

In: a question's text, an answer cell. Out: the choices' texts and a `Gold`. Never guesses choices from prose, and never
lets an answer pass that is not one of the choices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from captionqa.core.answers.boxes import has_box, last_box
from captionqa.core.answers.options import LETTERS
from captionqa.core.answers.sections import normalise, without_markup

__all__ = ["LETTERS", "Gold", "parse_choices", "parse_gold", "strip_boxed"]

_HEADER = re.compile(
    r"^[ \t]*(?:\*\*)?(?:(?:Answer )?(?:Choices|Options)|Answers|选项|选择)(?:\*\*)?[ \t]*[::](?:\*\*)?[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
_LABEL = re.compile(r"(?P<open>[((]?)(?P<letter>[A-Z])(?P<close>[))]|[..::、](?=\s|[^\sA-Za-z0-9.]))")
_FIRST = re.compile(r"^[ \t]*[((]?A[))..::、]", re.MULTILINE)
_BEFORE = "\n \t,;,;"
_BARE_LETTER = re.compile(
    r"(?:(?i:option|choice|answer)[ :]{1,2})?[((\[]?\s*(?P<letter>[A-Z])\s*[))\]]?\s*[.:,]?"
    r"|(?P<lower>[a-z])[))]|\((?P<both>[a-z])\)"
)
_NUMBER_OF_CHOICE = re.compile(r"[0-9]{1,2}")
_LABELLED = re.compile(r"[((\[]?\s*(?P<letter>[A-Z])\s*(?:[))\]]|[.:])\s*(?P<text>\S.*)", re.DOTALL)
# «2 (满足 1<e≤3 皆可)», «x^4 (answers may vary)»
_REMARK = re.compile(
    r"\s*[(\uff08](?:答案不唯一|满足|符合|只要|任意|or any\b|any\b|or equivalent"
    r"|answers? (?:may|will|can) vary|not unique)[^\n]*[)\uff09]\s*[.。]?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Gold:
    """The right answer."""

    text: str
    """The answer without its box; the choice's text when the answer names one."""
    letter: str | None
    """Set when the answer is graded by letter."""
    index: int | None
    """Position among the choices; None without choices."""


def parse_choices(question: str) -> tuple[str, ...]:
    """The choices that stand in the question, in order; () when there are none. After a header line («Choices:»)
    they may share a line; without one they must start lines and end the text. They run from A without a gap."""
    return tuple(question[start:end] for start, end in choice_spans(question))


def choice_spans(question: str) -> tuple[tuple[int, int], ...]:
    """Offsets of the texts that `parse_choices` finds, without their labels."""
    header = None
    for match in _HEADER.finditer(question):
        header = match
    if header is not None:
        end = header.end()
        found = _listed(question, end, inline=False, last=False) or _listed(question, end, inline=True, last=False)
        if found:
            return found
    starts = [match.start() for match in _FIRST.finditer(question)]
    return _listed(question, starts[-1], inline=False, last=True) if starts else ()


def _starts_line(question: str, at: int, start: int) -> bool:
    while at > start and question[at - 1] in " \t":
        at -= 1
    return at == start or question[at - 1] == "\n"


def _listed(question: str, start: int, *, inline: bool, last: bool) -> tuple[tuple[int, int], ...]:
    """Offsets of the texts between consecutive labels of one style; with ``last`` nothing may follow them."""
    labels: list[re.Match[str]] = []
    style = ""
    for match in _LABEL.finditer(question, start):
        own = match["open"] + match["close"]
        if labels and own != style:
            continue
        if len(labels) == len(LETTERS) or match["letter"] != LETTERS[len(labels)]:
            continue
        if not _starts_line(question, match.start(), start) and not (inline and question[match.start() - 1] in _BEFORE):
            continue
        if not labels and question[start : match.start()].strip():
            return ()
        labels.append(match)
        style = own
    if len(labels) < 2:
        return ()
    ends = [label.start() for label in labels[1:]] + [len(question)]
    spans = [_stripped(question, label.end(), end) for label, end in zip(labels, ends, strict=True)]
    begin, end = spans[-1]
    if last and "\n\n" in question[begin:end]:
        return ()  # text goes on after the list: these may be statements and not choices
    spans[-1] = _stripped(question, begin, begin + len(question[begin:end].split("\n\n", 1)[0]), "")
    return tuple(spans) if all(start < end for start, end in spans) else ()


def _stripped(text: str, start: int, end: int, closing: str = ",;") -> tuple[int, int]:
    """Offsets without the white space around, and without ``closing`` characters at the end."""
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    return start, start + len(part.strip().rstrip(closing))


def strip_boxed(text: str) -> str:
    r"""Contents of the last balanced ``\boxed{…}`` or ``\fbox{…}``; the text unchanged when there is none."""
    box = last_box(text)
    return text if box is None else text[box[0] : box[1]].strip()


def parse_gold(answer: object, choices: Sequence[str]) -> Gold:
    """The gold of one question.

    Raises:
        ValueError: the answer is empty, a list, has an unbalanced box, is not one of the choices, or is the text of
            several.
    """
    raw = _answer_text(answer)
    text = strip_boxed(raw)
    if text == raw and has_box(raw):
        raise ValueError(f"answer {raw!r} has an unbalanced \\boxed{{")
    if not text:
        raise ValueError("answer is empty")
    if not choices:
        letter = _gold_letter(text)
        text = _REMARK.sub("", text) or text
        return Gold(text, letter if letter and letter in LETTERS[:10] else None, None)
    index = _choice_index(text, choices)
    if index is None:
        last = LETTERS[min(len(choices), len(LETTERS)) - 1]
        place = _as_place(text, choices) or _as_small_letter(text, last)
        raise ValueError(f"answer {text!r} is not one of A–{last} ({len(choices)} choices){place}")
    return Gold(choices[index], LETTERS[index], index)


def _answer_text(answer: object) -> str:
    if answer is None or answer != answer:  # NaN is the only value that differs from itself
        raise ValueError("answer is empty")
    if hasattr(answer, "item") and getattr(answer, "ndim", 0) == 0:
        answer = answer.item()  # a NumPy scalar
    if isinstance(answer, list | tuple | set | dict) or hasattr(answer, "__array__"):
        raise ValueError(f"answer {answer!r} is a list; one answer is expected")
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    text = str(answer).strip()
    if not text or text.lower() in ("nan", "<na>"):
        raise ValueError("answer is empty")
    return text


def _gold_letter(text: str) -> str | None:
    match = _BARE_LETTER.fullmatch(without_markup(normalise(text)).strip())
    return (match["letter"] or match["lower"] or match["both"]).upper() if match else None


def _choice_index(text: str, choices: Sequence[str]) -> int | None:
    """A letter in range wins, then the exact text, then the text without case, markup and extra blanks.

    Raises: ValueError for the text of several choices.
    """
    shown = min(len(choices), len(LETTERS))
    letter = _gold_letter(text)
    if letter is not None and letter in LETTERS[:shown]:
        return LETTERS.index(letter)
    refuse_repeated(text, choices)
    for index, choice in enumerate(choices[:shown]):
        if choice.strip() == text:
            return index
    plain = [_plain(choice) for choice in choices[:shown]]
    if plain.count(_plain(text)) == 1:
        return plain.index(_plain(text))
    labelled = _LABELLED.fullmatch(without_markup(normalise(text)).strip())
    if labelled is not None and labelled["letter"] in LETTERS[:shown]:
        index = LETTERS.index(labelled["letter"])
        return index if plain[index] == _plain(labelled["text"]) else None
    return None


def refuse_repeated(text: str, choices: Sequence[str]) -> None:
    """Raises: ValueError when the answer is the text of several choices: nobody can tell which of them is right."""
    written = _as_read(text)
    letters = [letter for letter, choice in zip(LETTERS, choices, strict=False) if _as_read(choice) == written]
    if len(letters) > 1:
        raise ValueError(
            f"answer {text!r} is the text of choices {' and '.join(letters)}: give the letter of the right one, or "
            "make their texts differ"
        )


def _as_read(text: str) -> str:
    return " ".join(without_markup(normalise(text)).split())


def _as_place(text: str, choices: Sequence[str]) -> str:
    """What an answer would be as the number of a choice; "" for what is none. Never taken: sets count from 0 and from
    1, and a row does not say from which."""
    if not _NUMBER_OF_CHOICE.fullmatch(text):
        return ""
    ways = [
        f"{LETTERS[index]} ({choices[index][:40]!r}) counted from {first}"
        for first in (0, 1)
        if 0 <= (index := int(text) - first) < min(len(choices), len(LETTERS))
    ]
    return (
        f", nor any choice's text; as the number of a choice it would be {' or '.join(ways)}: give letters"
        if ways
        else ""
    )


def _as_small_letter(text: str, last: str) -> str:
    """Never taken as a letter: «a» may be a word or a variable."""
    return f": letters must be capitals, {text.upper()!r}" if len(text) == 1 and "A" <= text.upper() <= last else ""


def _plain(text: str) -> str:
    text = _as_read(text).casefold().rstrip(".")
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
