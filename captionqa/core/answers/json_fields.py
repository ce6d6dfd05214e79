"""The answer that a field of a JSON object holds: {"answer": "B"}, {"final": {"letter": "B"}}, {"value": "B"}.

In: the text, the same text blanked by `sections.without_markup`, and the options. Out: a reading, or None where no
field holds one. A letter beside a field with another option's text is a conflict.
"""

from __future__ import annotations

import re

from captionqa.core.answers.candidates import resolve
from captionqa.core.answers.letters import Reading, Reason
from captionqa.core.answers.options import LETTERS, Options
from captionqa.core.answers.words import tokens

_FIELD = re.compile(
    r"(?P<quote>[\"'])(?P<key>(?:(?:final|correct|selected|best|chosen|my|predicted)[_ ]?)?(?:final|answers?"
    r"|choice|option"
    r"|letter|prediction|result|response|decision|verdict|label|selection|答案|正确答案|选项)(?:[_ ](?:letter"
    r"|choice|option|label))?)(?P=quote)\s{0,8}:\s{0,8}",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"answer|答案|prediction|result|response|decision|verdict|selection|final|correct|selected|best|chosen|my",
    re.IGNORECASE,
)
"""Keys of a decision. «option», «label» and the like may also list what there is to choose from."""
_ITEM = re.compile(r"[\"']([^\"']{1,200})[\"']")
_VALUE = re.compile(
    r"\"(?P<double>[^\"\n]{0,400})\"|'(?P<single>[^'\n]{0,400})'|(?P<bare>[^,}\n\"'\[]{1,60})"
    r"|(?P<list>\[[^\]\n]{0,400}\])"
)
_LETTER_FIELD = re.compile(
    r"[\"'][\w -]{2,40}[\"']\s{0,8}:\s{0,8}[\"']\s?\(?(?P<letter>[A-Z])\)?\.?\s?[\"']\s{0,8}[,}\n]"
)
"""Any field that holds one letter."""
_TEXT_FIELD = re.compile(
    r"[\"'](?:\w{0,20}[ _-]?)(?:text|answer|option|choice|content|name|label"
    r"|value)[\"']\s{0,8}:\s{0,8}[\"'](?P<value>[^\"'\n]{2,200})[\"']",
    re.IGNORECASE,
)
_LISTED = 30
_OBJECT_CHARS = 2000


def answer(text: str, plain: str, options: Options) -> Reading | None:
    """What the last field that states an answer holds, else the one letter that fields hold."""
    matches = list(_FIELD.finditer(text))
    if not matches:
        return _only_letter(text, options)
    stated = [match for match in matches if _STATES.search(match["key"])]
    start = (stated or matches)[-1].end()
    if text[start : start + 1] == "{":  # {"answer": {"letter": "B"}}
        start = next((match.end() for match in matches if match.start() > start), start)
    value = _VALUE.match(text, start)
    if value is None:
        return None
    if not stated and len({_value_text(text, match.end()) for match in matches[-_LISTED:]}) > 1:
        return Reading(None, Reason.SEVERAL, start, value.end())
    kind = value.lastgroup or "bare"
    if kind == "list":
        inner = _ITEM.findall(value.group())
        if len(inner) != 1:
            return Reading(None, Reason.SEVERAL if inner else Reason.NO_MATCH, start, value.end())
    blanked = plain[: value.end(kind)].replace("[", " ").replace('"', " ") if kind == "list" else plain
    reading = resolve(blanked, value.start(kind), value.end(kind), options)
    if reading is not None and reading.letter and _beside(text, start, value.end(), reading.letter, options):
        return Reading(None, Reason.CONFLICT, reading.start, reading.end)
    return reading or Reading(None, Reason.NO_MATCH, start, value.end())


def _value_text(text: str, start: int) -> str:
    value = _VALUE.match(text, start)
    return value.group() if value else ""


def _beside(text: str, start: int, end: int, letter: str, options: Options) -> bool:
    """Whether other fields of the object hold another option's text, and none this one's."""
    opens = text.rfind("{", max(0, start - _OBJECT_CHARS), start)
    closes = text.find("}", end, end + _OBJECT_CHARS)
    if opens < 0 or closes < 0:
        return False
    fields = [*_TEXT_FIELD.finditer(text, opens, start), *_TEXT_FIELD.finditer(text, end, closes)]
    named = {options.equal(tokens(text, *field.span("value"))) for field in fields} - {None}
    return bool(named) and LETTERS.index(letter) not in named


def _only_letter(text: str, options: Options) -> Reading | None:
    found = list(_LETTER_FIELD.finditer(text))
    letters = {match["letter"] for match in found}
    if len(letters) != 1 or not letters <= set(options.letters):
        return None
    return Reading(found[-1]["letter"], None, *found[-1].span("letter"))
