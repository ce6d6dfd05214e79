r"""Whether two open answers are the same: as text, then as a number with its unit. The rung that decided is recorded.

In: two short LaTeX or plain texts. Out: a `Rung` or None for different. Exact arithmetic on fractions; nothing is ever
evaluated. Rather different than falsely the same: 50 % is neither 0.5 nor 50, 24 cm is not 24 m, 0.33 is not 1/3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from captionqa.core.answers.sections import normalise

_MAX_CHARS = 400
"""Longer candidates are compared as text only."""


class Rung(StrEnum):
    """The comparison that found two answers equal."""

    TEXT = "text"
    NUMBER = "number"


_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|mbox|rm|bf)\s?\{([^{}]*)\}"
)
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|displaystyle|textstyle|limits|big|Big)(?![A-Za-z])", ""),
        (r"\\(?:dfrac|tfrac|cfrac)(?![A-Za-z])", r"\\frac"),
        (r"\\(?:[,;:! ]|quad(?![A-Za-z])|qquad(?![A-Za-z]))|~", " "),
        (r"\\[()\[\]]|\$(?!\d)|(?<!\\)\$", " "),
        (r"\\\$", " "),
        (r"\\%|\bpercent\b", "%"),
        (r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![A-Za-z])|\bdegrees?\b", "°"),
        (r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}"),
        (r"(?:√|\\sqrt)\s?(\d+|[a-z])(?![\w{])", r"\\sqrt{\1}"),
        (r"√\s?\{", r"\\sqrt{"),
        (r"√\s?\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"π", r"\\pi "),
        (r"\\(?:cdot|times)(?![A-Za-z])|[×·]", "*"),
        (r"\\leq?(?![A-Za-z])|<=|≤", "≤"),
        (r"\\geq?(?![A-Za-z])|>=|≥", "≥"),
        (r"\\neq?(?![A-Za-z])", "≠"),
        (r"\\infty(?![A-Za-z])", "∞"),
        (r"\\(?:approx|thickapprox)(?![A-Za-z])|^\s*[≈~]", ""),
        (r"([\^_])\{(\w)\}", r"\1\2"),
        (r"²", "^2"),
        (r"³", "^3"),
    )
)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)(?:\.\d+)?|\.\d+"
_VALUE = re.compile(
    rf"(?P<sign>[+-]?)\s?(?:(?P<mixed>\d+)?\s?\\frac\s?\{{\s?(?P<top>-?\d+(?:\.\d+)?)\s?\}}\s?\{{\s?(?P<bottom>\d+(?:\.\d+)?)\s?\}}"
    rf"|(?P<over>\d+)\s?/\s?(?P<under>\d+)(?![\d/])"
    rf"|(?P<number>{_DIGITS})(?:\s?\*\s?10\s?\^\s?\{{?\s?(?P<power>[+-]?\d{{1,3}})\s?\}}?"
    rf"|[eE](?P<exponent>[+-]?\d{{1,3}}))?)"
)
_UNIT = re.compile(
    r"°\s?[CF]?|%|(?P<words>[^\W\d_]+(?:\s[^\W\d_]+)?)"
    r"|[A-Za-zµμΩÅ]{1,8}(?:\^-?\d)?(?:\s?[/*]\s?[A-Za-zµμΩ]{1,8}(?:\^-?\d)?){0,2}"
)
# Units that may stand at the number without a blank; «3xy» is an expression.
_GLUED = frozenset(
    ["cm", "mm", "km", "kg", "mg", "ml", "mol", "min", "ms", "hz", "khz", "kw", "kj", "kpa", "pa", "mpa"]
)
_LONE = frozenset("m g s h L l N J W V A K C F")
_SHORT = frozenset(["in", "ft", "yd", "lb", "oz", "pm", "am", "hr"])
_NO_UNITS = frozenset(
    [
        "and",
        "or",
        "to",
        "but",
        "not",
        "plus",
        "minus",
        "times",
        "if",
        "for",
        "by",
        "over",
        "more",
        "less",
        "than",
        "hundred",
        "thousand",
        "million",
        "billion",
        "trillion",
        "dozen",
        "half",
        "percent",
        "x",
        "y",
        "z",
        "万",
        "亿",
        "千",
        "百",
        "和",
        "或",
        "到",
    ]
)
_LETTER_LIST = re.compile(r"[A-J](?:\s?[,、]?\s?[A-J])+")
_SEPARATORS = re.compile(r"[\s,、]")
_STEM = re.compile(r"[A-Za-z]*")
_DOTS = re.compile(r"[\s.]")
_NAMED = re.compile(r"\s*(?P<name>[A-Za-z](?:_\w)?)\s?=\s?(?P<rest>[^=<>≤≥]+)")
_WORDS = re.compile(r"[^\W\d_][^\W\d_'\s-]+(?:[\s'-]+[^\W\d_']+)*")
_NUMBER_WORDS = dict(
    zip(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
        range(13),
        strict=True,
    )
)
_UNITS = {
    "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km",
    "millimeter": "mm", "millimetre": "mm", "kilogram": "kg", "gram": "g", "second": "s", "sec": "s", "minute": "min",
    "hour": "h", "hr": "h", "inche": "inch", "in": "inch", "feet": "ft", "foot": "ft",
    "unit": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit as written; the unit is empty when there is none."""

    value: Fraction
    unit: str


def clean(text: str) -> str:
    """The text without LaTeX cosmetics, outer braces and final punctuation."""
    text = normalise(text)
    for _ in range(4):
        text, count = _WRAPPED.subn(r" \1 ", text)
        if not count:
            break
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = " ".join(text.replace("**", " ").replace("`", " ").split()).rstrip(".;:,。 ").strip()
    while len(text) > 1 and (text[0], text[-1]) in (("{", "}"), ("(", ")")) and _encloses(text):
        text = text[1:-1].strip()
    return text


def _encloses(text: str) -> bool:
    """Whether the outer brackets belong together and hold no list: «(3,4)» is a pair, «(5)» is 5."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char in "({") - (char in ")}")
        if depth == 0:
            return place == len(text) - 1 and "," not in text
    return False


def same(one: str, other: str) -> Rung | None:
    """The rung that finds two answers equal, or None. Symmetric."""
    if max(len(one), len(other)) > 5 * _MAX_CHARS:
        return Rung.TEXT if one.strip() == other.strip() else None
    first, second = clean(one), clean(other)
    if not first or not second:
        return None
    first, second = _without_name(first, second)
    if _key(first) == _key(second):
        return Rung.TEXT
    if max(len(first), len(second)) > _MAX_CHARS:
        return None
    left, right = quantity(first), quantity(second)
    if left is None or right is None or left.value != right.value:
        return None
    if left.unit == right.unit:
        return Rung.NUMBER
    if "%" in (left.unit, right.unit) or (left.unit and right.unit):
        return None
    return Rung.NUMBER


def _without_name(first: str, second: str) -> tuple[str, str]:
    """«x = 5» is «5» when the other side has no name, or the same one."""
    left, right = _NAMED.fullmatch(first), _NAMED.fullmatch(second)
    if left and right:
        return (left["rest"], right["rest"]) if left["name"] == right["name"] else (first, second)
    if left and "=" not in second:
        return left["rest"].strip(), second
    if right and "=" not in first:
        return first, right["rest"].strip()
    return first, second


def _key(text: str) -> str:
    if _WORDS.fullmatch(text) and (not text.isupper() or text.lower() in ("yes", "no", "true", "false")):
        return " ".join(text.casefold().split())
    if _LETTER_LIST.fullmatch(text):
        return _SEPARATORS.sub("", text)
    return text.replace(" ", "")


def quantity(text: str) -> Quantity | None:
    """The number that the whole cleaned text is, apart from a unit."""
    if text.lower() in _NUMBER_WORDS:
        return Quantity(Fraction(_NUMBER_WORDS[text.lower()]), "")
    match = _VALUE.match(text)
    if match is None:
        return None
    unit = _unit(text[match.end() :])
    if unit is None:
        return None
    value = _value(match)
    if value is None:
        return None
    return Quantity(-value if match["sign"] == "-" else value, unit)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["top"]:
        bottom = Fraction(match["bottom"])
        return Fraction(match["mixed"] or 0) + Fraction(match["top"]) / bottom if bottom else None
    if match["over"]:
        return Fraction(int(match["over"]), int(match["under"])) if int(match["under"]) else None
    number = Fraction(match["number"].replace(",", "").replace(" ", ""))
    power = match["power"] or match["exponent"]
    return number * Fraction(10) ** int(power) if power else number


def _unit(text: str) -> str | None:
    """The unit that the rest of a number is, in one spelling; None when the rest is no unit: «3x», «5 or 6»."""
    bare = text.strip()
    if not bare:
        return ""
    match = _UNIT.fullmatch(bare)
    if match is None or any(word.lower() in _NO_UNITS for word in bare.split()):
        return None
    letters = _STEM.match(bare)
    stem = letters.group() if letters else ""
    glued = not text[0].isspace() and bare[0] not in "°%"
    if stem and (glued or len(stem) < 3) and stem.lower() not in _GLUED and (glued or stem not in _LONE | _SHORT):
        return None
    unit = _DOTS.sub("", bare)
    singular = unit[:-1] if len(unit) > 3 and unit.endswith("s") else unit
    return _UNITS.get(singular.lower(), singular)
