r"""Numbers and their units, exactly: «1,200», «1\frac{1}{2}», «3.5e4», «five», «\frac{2\pi}{3}», «3 hours 20 minutes»,
«50%».

In: text from `cleaning.clean`. Out: a `Quantity` or None when the text is more than a number and a unit. Exact
arithmetic on fractions; nothing is ever evaluated and nothing rounded: 0.33 is not 1/3, 3.14 is not π.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from captionqa.core.answers.units import NO_UNIT, PERCENT, Unit, known, parse_unit

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)(?:\.\d+)?|\.\d+"
_PLAIN = r"\d+(?:\.\d+)?"
_VALUE = re.compile(
    r"(?P<sign>[+-]?)\s?(?:"
    rf"(?P<mixed>\d+)?\s?\\frac\s?\{{\s?(?P<minus>-?)\s?(?P<top>{_PLAIN})?\s?(?P<toppi>\\pi)?\s?\}}\s?\{{\s?(?P<bottom>{_PLAIN})\s?\}}"
    r"|(?:(?P<whole>\d+) )?(?P<over>\d+)\s?/\s?(?P<under>\d+)(?![\d/])"
    rf"|(?P<number>{_DIGITS})(?:\s?\*\s?10\s?\^\s?\{{?\s?(?P<power>[+-]?\d{{1,3}})\s?\}}?"
    r"|[eE](?P<exponent>[+-]?\d{1,3}))?|(?=\\pi))"
    r"(?P<pi>\s?\*?\s?\\pi(?![A-Za-z])(?:\s?/\s?(?P<pibottom>\d+))?)?"
)
_GLUED = re.compile(r"[^\W\d_]{1,3}")
_AFTER_SIGN = re.compile(r"[°%Ω]")
_MANY = re.compile(rf"(?P<number>{_PLAIN})\s?(?P<unit>[^\W\d_]+)\.?(?:\s?,?\s?(?:and\s)?)")
_LABEL = re.compile(r"\d+[A-Z]")
# Words that begin or are something else than a unit.
_NO_UNITS = frozenset([
    "and", "or", "to", "but", "not", "plus", "minus", "times", "if", "for", "by", "over", "more", "less", "than",
    "hundred", "thousand", "million", "billion", "trillion", "half", "percent", "x", "y", "z", "n", "k", "p", "q",
    "万", "亿", "千", "百", "和", "或", "到", "only", "exactly",
])  # fmt: skip
_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = dict(zip([
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
], range(20, 100, 10), strict=True))  # fmt: skip
_NUMBER_WORDS = {word: value for value, word in enumerate(_ONES)} | _TENS
_NUMBER_WORDS |= {f"{t}{s}{_ONES[n]}": v + n for t, v in _TENS.items() for n in range(1, 10) for s in "- "}
_CHINESE = re.compile(r"(?:(?P<tens>[二三四五六七八九])?(?P<ten>十))?(?P<ones>[一二两三四五六七八九])?(?P<rest>.*)")
_CHINESE_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2}
_MEASURE_WORDS = frozenset("个只条张本辆位名件头棵朵块匹把支座架艘盏")
_MULTIPLES = {
    **{"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"万": 10**4, "亿": 10**8},
}
_MULTIPLE = re.compile(rf"\s?(?P<word>{'|'.join(_MULTIPLES)})(?![A-Za-z])", re.IGNORECASE)
_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s?:\s?(\d+(?:\.\d+)?)(?:\s?:\s?(\d+(?:\.\d+)?))?")
_TIME = re.compile(r"(\d{1,2})\s?:\s?([0-5]\d)(?:\s?([apAP])\.?\s?[mM]\.?)?")


@dataclass(frozen=True, slots=True)
class Quantity:
    """``value``, times π if ``pi``, of a unit; `NO_UNIT` when none is written."""

    value: Fraction
    unit: Unit
    pi: bool = False


def quantity(text: str, *, glued: bool = False) -> Quantity | None:
    """The number that the whole cleaned text is, with its unit. ``glued``: one letter right behind the number is a unit
    too («24m»); otherwise it is a variable."""
    if text.lower() in _NUMBER_WORDS:
        return Quantity(Fraction(_NUMBER_WORDS[text.lower()]), NO_UNIT)
    match = _VALUE.match(text)
    if match is None or not match.end():
        return _worded(text) or _chinese(text)
    many = _MULTIPLE.match(text, match.end())
    unit = _unit(text[many.end() if many else match.end() :], glued=glued)
    if unit is None:
        return _compound(text)
    value = _value(match)
    if value is None:
        return None
    value *= _MULTIPLES[many["word"].lower()] if many else 1
    value = -value if match["sign"] == "-" else value
    return Quantity(value if value else Fraction(0), unit, bool(match["pi"] or match["toppi"]) and value != 0)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["bottom"]:
        if not (match["top"] or match["toppi"]) or (match["toppi"] and match["pi"]):
            return None
        bottom = Fraction(match["bottom"])
        top = Fraction(match["top"] or 1) * (-1 if match["minus"] else 1)
        value = Fraction(match["mixed"] or 0) + top / bottom if bottom else None
    elif match["over"]:
        under = int(match["under"])
        value = int(match["whole"] or 0) + Fraction(int(match["over"]), under) if under else None
    elif match["number"]:
        value = Fraction(match["number"].replace(",", "").replace(" ", ""))
        power = match["power"] or match["exponent"]
        value = value * Fraction(10) ** int(power) if power else value
    else:
        value = Fraction(1)
    if value is None or not match["pibottom"]:
        return value
    return value / int(match["pibottom"]) if int(match["pibottom"]) else None


def _unit(text: str, *, glued: bool) -> Unit | None:
    """The unit that the rest of a number is; None when the rest is no unit: «3x», «5 or 6»."""
    bare = text.strip()
    if not bare:
        return NO_UNIT
    if bare == "%":
        return PERCENT
    if bare[-1] in ".,":
        bare = bare[:-1].rstrip()
    words = bare.split()
    if len(words) > 4 or any(word.lower() in _NO_UNITS for word in words):
        return None
    close = not text[0].isspace() and _AFTER_SIGN.match(bare) is None and bare[0].isascii()
    head = _GLUED.match(bare)
    if close and (not known(bare) or (head is not None and len(head.group()) == 1 and not glued)):
        return None  # «3x», «3xy» and «3m» are expressions
    if not close and len(words[0]) == 1 and words[0].isalpha() and words[0].isascii() and not known(bare):
        return None
    return parse_unit(bare)


def _worded(text: str) -> Quantity | None:
    """«five apples»."""
    head, blank, rest = text.partition(" ")
    if not blank or head.lower() not in _NUMBER_WORDS or head.lower() == "one":
        return None
    unit = _unit(" " + rest, glued=False)
    return Quantity(Fraction(_NUMBER_WORDS[head.lower()]), unit) if unit is not None else None


def _chinese(text: str) -> Quantity | None:
    """«五», «五个», «十二», «五米»: up to 99, alone, with a measure word or a unit; «三角形» is a word."""
    match = _CHINESE.fullmatch(text)
    if match is None or not (match["ten"] or match["ones"]) or (match["ten"] and match["ones"] == "两"):
        return None
    rest = match["rest"]
    unit = NO_UNIT if not rest or rest in _MEASURE_WORDS else parse_unit(rest) if known(rest) else None
    if unit is None:
        return None
    value = _CHINESE_DIGITS[match["tens"]] if match["tens"] else 1
    value = 10 * value if match["ten"] else 0
    return Quantity(Fraction(value + (_CHINESE_DIGITS[match["ones"]] if match["ones"] else 0)), unit)


def is_label(text: str) -> bool:
    """«12A», «7B»: a flat or a gate, and a number with its unit only where the other side has a unit too."""
    return _LABEL.fullmatch(text) is not None


def _compound(text: str) -> Quantity | None:
    """«3 hours 20 minutes», «5 ft 6 in»: several units of one dimension, each smaller than the one before."""
    if is_label(text):
        return None
    at, total, last = 0, Fraction(0), None
    while at < len(text):
        match = _MANY.match(text, at)
        unit = parse_unit(match["unit"]) if match and known(match["unit"]) else None
        if match is None or unit is None:
            return None
        if last is not None and (unit.dimensions != last.dimensions or unit.factor >= last.factor):
            return None
        total += Fraction(match["number"]) * unit.factor
        last, at = unit, match.end()
    return Quantity(total, Unit(Fraction(1), last.dimensions)) if last is not None else None


def same_quantity(one: Quantity, other: Quantity) -> bool:
    """Equal in value; a missing unit may be any, but for percentages below 2, where 0.5 could be 0.5 % or 50 %."""
    if PERCENT in (one.unit, other.unit) and one.unit != other.unit:
        percent, plain = (one, other) if one.unit == PERCENT else (other, one)
        if not plain.unit.empty or percent.pi or plain.pi:
            return False
        return plain.value in ([percent.value / 100] if abs(plain.value) < 2 else [percent.value, percent.value / 100])
    if one.unit.dimensions == other.unit.dimensions:
        return one.pi == other.pi and one.value * one.unit.factor == other.value * other.unit.factor
    if one.unit.empty or other.unit.empty:
        if one.value == other.value and one.pi == other.pi:
            return True
        angle, plain = (other, one) if one.unit.empty else (one, other)
        in_radians = angle.unit.dimensions == frozenset({("angle", 1)}) and plain.pi and not angle.pi
        return in_radians and angle.value * angle.unit.factor == plain.value
    angle, radians = (other, one) if ("radian", 1) in one.unit.dimensions else (one, other)
    both = (angle.unit.dimensions, radians.unit.dimensions) == (frozenset({("angle", 1)}), frozenset({("radian", 1)}))
    return both and radians.pi and not angle.pi and angle.value * angle.unit.factor == radians.value


def same_ratio(one: str, other: str) -> bool | None:
    """Whether two ratios or times of day are the same; None when neither reading applies to both."""
    left, right = _TIME.fullmatch(one), _TIME.fullmatch(other)
    if left and right:
        return _same_time(left, right)
    first, second = _parts(one), _parts(other)
    if first and second and (left or right):
        return False  # 1:5 is 3:15 as a ratio; but 3:15 can be a quarter past three
    if first is None and second is None:
        return None
    if first is None or second is None:
        return False if (first is None and _VALUE.fullmatch(one) is None) else None
    return len(first) == len(second) and all(a * second[0] == b * first[0] for a, b in zip(first, second, strict=True))


def _parts(text: str) -> list[Fraction] | None:
    match = _RATIO.fullmatch(text)
    parts = [Fraction(part) for part in match.groups() if part] if match else []
    return parts if all(parts) and parts else None


def _same_time(left: re.Match[str], right: re.Match[str]) -> bool:
    """«3:15» is «3:15 PM», whose day half is a unit that may be missing; «15:15» is «3:15 PM»."""
    halves = [match[3].lower() if match[3] else None for match in (left, right)]
    hours = [
        int(match[1]) % 12 + (12 if half == "p" else 0) if half else int(match[1])
        for match, half in zip((left, right), halves, strict=True)
    ]
    if left[2] != right[2]:
        return False
    return hours[0] == hours[1] or (None in halves and left[1].lstrip("0") == right[1].lstrip("0"))
