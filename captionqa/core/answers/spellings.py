"""What the spelling of an answer says besides its value: its name, the same value twice, a ratio written «5 to 8».

In: answers as written, or cleaned ones. Out: texts again, with less to compare.
"""

from __future__ import annotations

import re

from captionqa.core.answers.cleaning import clean
from captionqa.core.answers.quantities import quantity, same_quantity

_NAMED = re.compile(
    r"(?P<name>(?:\\(?:angle|triangle)\s?)?(?:[A-Za-zΑ-ω](?:_\{?\w{1,3}\}?)?|[A-Z]{2,3})(?:\([a-z]\)|\(-?\d+\))?"
    r"|\|(?:[A-Z]{2}|\s?[a-z]\s?[+-]\s?[a-z]\s?|[^|=<>]*\\(?:vec|overrightarrow)(?![A-Za-z])[^|=<>]*)\|"
    r"|\\(?:sin|cos|tan|cot)\s?\(?(?:\d\s?)?(?:[A-Za-zΑ-ω]|\\[a-z]+)\)?)\s?="
    r"\s?(?P<rest>[^=<>≤≥]+)"
)
_SCORE = re.compile(r"\d+\s?([-:])\s?\d+")
_POUNDS = re.compile(r"\bpounds?\b")
# «Total = 46», «\\sin A = 0.6», «P(A) = 0.3», «面积 = 6»; but «xy = 6» and «2x = 6» are equations.
_TITLED = re.compile(
    r"(?=[^=]*(?:[A-Z\u4e00-\u9fff]|\\|[a-z]{3}))(?:[^=<>≤≥+*/^\d_-]|_\{[^{}=]*\}|_\w)+=\s?(?P<rest>[^=<>≤≥]+)"
)
_POINT = re.compile(r"(?P<name>[A-Z])\s?(?P<rest>\([^()=]*,[^()=]*\))")
_APPROXIMATELY = re.compile(r"≈|\\(?:approx|thickapprox)(?![A-Za-z])")
# «3/8 (37.5%)», «1/2, or 50%»: one value twice.
_RESTATED = re.compile(
    r"(?P<first>[^()\n]+?)\s?(?:\((?:or |i\.e\.,? |that is,? |= ?)?(?P<about>(?:about|roughly) )?(?P<second>[^()\n]+)\)"
    r"|,?\s(?:or|that is,?|i\.e\.,?)\s(?P<other>.+))"
)
_TWICE = re.compile(r"\(| or |that is|i\.e\.")
_OPTION_MARK = re.compile(
    r"(?:\(?[A-J]\)\s+(?=[\w$\"'\\]|-\d)|[A-J]\.\s+(?=[a-z\d$\\]))(?!(?:or|and|is|are|to)\b|\\(?:cdot|times)\b)"
)
_ANY_MARK = re.compile(r"(?<!\w)\(?[A-J][).:]")
_FUNCTION = re.compile(r"[a-z]\(x\)")
_MAX_CHARS = 400


def spellings(text: str) -> list[str]:
    """The answers that a text gives as one: both sides of ≈; the first where a value is given twice."""
    if len(text) > _MAX_CHARS:
        return [text]
    parts = [part for part in _APPROXIMATELY.split(text.strip().strip("$")) if part.strip()]
    if len(parts) > 1:
        return parts[:3]
    match = _RESTATED.fullmatch(clean(text)) if _TWICE.search(text) else None
    if match is None:
        return [text]
    first, second = quantity(clean(match["first"])), quantity(clean(match["second"] or match["other"]))
    if first and second and match["about"] and first.unit.dimensions == second.unit.dimensions:
        one, other = (each.value * each.unit.factor for each in (first, second))
        return [match["first"]] if abs(one - other) <= abs(one) / 100 else [text]
    return [match["first"]] if first and second and same_quantity(first, second) else [text]


def without_name(first: str, second: str) -> tuple[str, str]:
    """«x = 5» is «5» when the other side has no name, or the same one."""
    first, second = _mirrored(first), _mirrored(second)
    left, right = (_NAMED.fullmatch(side) or _POINT.fullmatch(side) for side in (first, second))
    if not left and not right and ("=" in first) != ("=" in second):
        left, right = _TITLED.fullmatch(first), _TITLED.fullmatch(second)  # «Total = 46»
    if left and right:
        names = {left["name"].replace(" ", ""), right["name"].replace(" ", "")}
        alike = len(names) == 1 or ("y" in names and any(_FUNCTION.fullmatch(name) for name in names))
        return (left["rest"].strip(), right["rest"].strip()) if alike else (first, second)
    if left and not set("=<>≤≥≠∈") & set(second):
        return left["rest"].strip(), second
    if right and not set("=<>≤≥≠∈") & set(first):
        return first, right["rest"].strip()
    return first, second


def other_name(first: str, second: str) -> bool:
    """Whether these are values of two different symbols: «f(2) = 3» and «f(3) = 3»."""
    left, right = _NAMED.fullmatch(first), _NAMED.fullmatch(second)
    names = [sorted(match["name"].replace(" ", "").strip("|")) for match in (left, right) if match]
    return len(names) == 2 and names[0] != names[1]


def without_option(text: str) -> str | None:
    """«surplus» of «(B) surplus», where the choices are not known; None without a mark, or with several."""
    text = clean(text)
    mark = _OPTION_MARK.match(text)
    rest = text[mark.end() :] if mark else ""
    return rest if rest and not _ANY_MARK.search(rest) else None


def has_name(text: str) -> bool:
    """«x = 3»: whether this is the value of one symbol."""
    return _NAMED.fullmatch(clean(text)) is not None


def aligned(first: str, second: str) -> tuple[str, str]:
    """What the other side tells of a spelling: «5 to 8» is a ratio beside 5:8, and else a range; «3:1» a score beside
    «3-1»; a pound money beside «£»."""
    if {"-", ":"} == {match[1] for match in map(_SCORE.fullmatch, (first, second)) if match}:
        return first.replace(":", "-"), second.replace(":", "-")
    if ("£" in first) != ("£" in second):
        return _POUNDS.sub("£", first), _POUNDS.sub("£", second)
    if ":" in first and " to " in second:
        return first, second.replace(" to ", ":")
    if ":" in second and " to " in first:
        return first.replace(" to ", ":"), second
    return first, second


def _mirrored(text: str) -> str:
    """«x = 5» for «5 = x»."""
    left, sign, right = (part.strip() for part in text.partition("="))
    turned = f"{right} = {left}"
    return turned if sign and _NAMED.fullmatch(turned) and not _NAMED.fullmatch(text) else text
