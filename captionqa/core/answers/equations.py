"""Equations that an answer states: whether one still has to be solved, and what one says where it is not.

In: an equation, or a text and where its last side stands. Out: a verdict, a side, or the whole equation.
"""

from __future__ import annotations

import re

_LEADING_WORDS = re.compile(r"\s*(?:[A-Za-z]{2,}\s+)+")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_INDEX = re.compile(r"_(?:\{[^{}]*\}|\w)")
_OPERATED = re.compile(r"[\d+\-*/^(|²³√]|\\(?:frac|sqrt|cdot|times|ln|lg|log)")
_EXPRESSION = re.compile(r"[$\s]*(?:\\(?:vec|overrightarrow|cdot|frac|[a-z]+(?=[\s+}-]))|[A-Za-z]|[\s{}()·+-])+")
_EQUATION = re.compile(
    r"\$|\*\*|\n|[,;:。，；：]|\.\s|\b(?:is|are|so|equation|becomes|get|gives|to|and|thus|hence|therefore|form)\s"
)


def unsolved(equation: str) -> bool:
    """«4x = 32», «x - 1 = 5», «x^2 = 5» say nothing of x; «x + y = 5» may be what was asked."""
    left = equation.partition("=")[0]
    if "value of" in left:
        return False
    left = _LEADING_WORDS.sub("", left, count=1) if _LEADING_WORDS.match(left) else left
    plain = _INDEX.sub("", left)
    letters = re.findall(r"[A-Za-zΑ-ορ-ω]+", _COMMAND.sub(" ", plain))
    alone = len(set(letters)) == 1 and len(letters[0]) == 1 and letters[0].islower()
    named = (
        alone and re.fullmatch(rf"[\s$\\(]*{letters[0]}'?\((?![^()]*{letters[0]})[^()]*\)\s*", left) is not None
    )  # «f(3) = 5»
    return alone and not named and _OPERATED.search(plain) is not None


def asked_for(text: str) -> str | None:
    """«6» of «m + n = 6», where what is asked for is named before its value; None for an equation in one unknown."""
    left, sign, right = text.partition("=")
    named = sign and "=" not in right and _EXPRESSION.fullmatch(left) and not unsolved(text)
    return right if named else None


def equation_around(text: str, start: int, end: int) -> str | None:
    """The equation whose last side these offsets are: «3x - 4y = 8» for the 8 in it."""
    before = text[max(0, start - 120) : start]
    if before.rstrip()[-1:] != "=":
        return None
    begins = [match.end() for match in _EQUATION.finditer(before)]
    left = before[begins[-1] if begins else 0 :]
    return left + text[start:end] if left.count("=") == 1 and any(char.isalpha() for char in left) else None
