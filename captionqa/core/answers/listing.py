"""The list of all options that an output repeats from its question.

In: text and the options. Out: text of the same length with the list blanked. A list with a gap, in another order, or
with remarks between its lines is none: those say something.
"""

from __future__ import annotations

import re

from captionqa.core.answers.options import LETTERS, Options
from captionqa.core.answers.words import end_of

_FIRST = re.compile(r"(?<![\w'(\[-])[\s*_\-]{0,4}[(\[]?A[)\].:]")
_NEXT = re.compile(r"[\s,;.|/*_\-]{0,20}(?:and\s|or\s)?[*_]{0,2}[(\[]?(?P<letter>[A-Z])[)\].:]")
_ENDS = re.compile(r"[\s*_]{0,4}(?:[.;!?\n]|$)|\s{2}")
_ITEM = re.compile(
    r"\s{0,12}(?:(?:[-*•]|\d{1,2}[.)])\s{1,6}|(?:[Oo]ption |[Cc]hoice )?\(?[A-J]\s?[).:]\s{1,4}"
    r"|(?:[Oo]ption|[Cc]hoice)\s\(?[A-J]\)?\s{1,4}\([^()\n]{1,60}\)\s{0,4}:)+"
)
_LISTS = 20
_OTHER_QUESTION = re.compile(
    r"\n(?P<stem>[^\n]*(?:[?:]|_{2,}|\([ \t]*\))[^\n]{0,40})\n\s{0,20}(?:[Cc]hoices:?\s{0,4}|[Oo]ptions:?\s{0,4})?"
    r"[*_\-]{0,4}[(\[]?A[)\].:、][ \t]{0,4}(?P<first>[^\n]{1,200}?)(?:\n|\s)"
    r"\s{0,20}[*_\-]{0,4}[(\[]?B[)\].:、][ \t]{0,4}(?P<second>[^\n]{1,200})"
)


def other_question(text: str, options: Options) -> int | None:
    """Where a question begins that has other options than this one; None when there is none."""
    if options.open:
        return None
    for place, match in enumerate(_OTHER_QUESTION.finditer(text)):
        if place == _LISTS:
            break
        items = (match.span("first"), match.span("second"))
        same = [end_of(key, text, *item) is not None for key, item in zip(options.keys, items, strict=False)]
        if text[: match.start()].strip() and not all(same):
            return match.start()
    return None


def without_list(text: str, options: Options) -> str | None:
    """The text without the first such list; None when there is none."""
    if options.open or not all(options.keys):
        return None
    for place, first in enumerate(_FIRST.finditer(text)):
        if place == _LISTS:
            break
        end = _listed(text, first.start(), options)
        if end is not None:
            return text[: first.start()] + " " * (end - first.start()) + text[end:]
    return None


def _listed(text: str, at: int, options: Options) -> int | None:
    """Where the list that starts here ends."""
    for index, key in enumerate(options.keys):
        label = _NEXT.match(text, at)
        if label is None or label["letter"] != LETTERS[index]:
            return None
        end = end_of(key, text, label.end(), min(len(text), label.end() + 2 * len(options.texts[index]) + 20))
        if end is None:
            return None
        at = end
    return at if _ENDS.match(text, at) else None


def is_item(text: str, at: int) -> bool:
    """Whether what stands here is what an item of a list is about: «- Oak: …», «(B) Point B is …»."""
    line = text.rfind("\n", 0, at) + 1
    stop = text.find("\n", at)
    item = _ITEM.match(text, line, stop if stop >= 0 else len(text))
    return item is not None and item.end() >= at
