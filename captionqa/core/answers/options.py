"""The options of a question, and where their texts are mentioned in an output.

In: the choices, and text already cleaned by `sections`. Out: mentions with offsets, longest first, so that «scarf»
is never found inside «a hat and a scarf». Words are compared without case, accents and apostrophes; numbers by
value; single letters with their case («A» is not «a»). Options that become equal that way are never found by text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from captionqa.core.answers.sections import normalise, without_markup

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
OPEN_LETTERS = 10
"""Letters that count, A–J, when the options stand in the picture and not in the text."""

_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKENS = re.compile(
    rf"(?P<number>(?<![\w)\]])-?\d+(?:,\d{{3}}(?!\d))*(?:\.\d+)?|(?<![\w)\]])-?\.\d+|\d+(?:\.\d+)?)"
    rf"|(?P<cjk>[{_CJK}])"
    rf"|(?P<word>[^\W\d_{_CJK}](?:[^\W_{_CJK}]|'(?=[^\W\d_]))*)"
    r"|(?P<symbol>[^\s\w.,;:!?\"'()\[\]*_$`#\-^\\…、。，；：！？（）【】《》{}|])"
)
# Latin letters outside ASCII lose their accents below; in LaTeX these words are signs.
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SIGNS = {"percent": "%", "dfrac": "frac", "tfrac": "frac", "circ": "°", "degrees": "°", "degree": "°", "sqrt": "√"}
_SIGNS |= {"pi": "π", "times": "×", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "dollars": "$"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "01234567890123456789")
_NUMBERS = dict(
    zip(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
        range(13),
        strict=True,
    )
)
# After these a capital A or I is a letter, not a word: «A is closer», «I because».
AFTER_LETTER = frozenset(
    [
        "is",
        "are",
        "was",
        "because",
        "since",
        "as",
        "which",
        "and",
        "or",
        "but",
        "for",
        "not",
        "in",
        "only",
        "rather",
        "instead",
        "has",
        "have",
        "does",
        "with",
        "given",
        "due",
        "would",
        "will",
        "should",
        "must",
        "cannot",
        "seems",
        "appears",
        "looks",
        "shows",
        "fits",
        "matches",
        "corresponds",
        "represents",
        "more",
        "most",
        "correctly",
        "best",
        "option",
    ]
)
# Function words that are also names and months; the capital tells them apart.
_FUNCTION_WORDS = frozenset(["may", "will", "can", "us", "it", "who", "march"])
_NEXT_WORD = re.compile(r"[ \t]{1,3}([a-z']+)")


@dataclass(frozen=True, slots=True)
class Token:
    key: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mention:
    """One option's text in the output: the option's index and the offsets."""

    index: int
    start: int
    end: int


def is_word(text: str, end: int, letter: str) -> bool:
    """Whether the capital A or I that ends at ``end`` is an article or a pronoun: followed by an ordinary word."""
    if letter not in "AI":
        return False
    if text[end : end + 2] in ("'m", "'d", "'v", "'l"):
        return True
    following = _NEXT_WORD.match(text, end)
    return (
        following is not None
        and (letter == "I" or following.group(1) not in AFTER_LETTER)
        and (letter != "I" or following.group(1) not in ("is", "because", "since", "as", "and", "or"))
    )


def _opens(text: str, start: int) -> bool:
    """Whether a sentence may start here; elsewhere a capital A is no article."""
    before = text[max(0, start - 8) : start].rstrip(" \t\"'(")
    return not before or not (before[-1].isalnum() or before[-1] == ",")


def _fold(word: str) -> str:
    word = word.replace("'", "")
    if len(word) == 1:
        return word  # «A» is not «a»
    if not word.isascii():
        word = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    word = word.lower()
    return _SIGNS.get(word, word)


def _number(digits: str) -> str:
    digits = digits.replace(",", "")
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    whole, _, part = digits.partition(".")
    whole = whole.lstrip("0") or "0"
    part = part.rstrip("0")
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


def tokens(text: str, start: int = 0, end: int | None = None) -> list[Token]:
    """Words, numbers and signs between two offsets; articles and punctuation are left out."""
    return list(_tokens(text, start, len(text) if end is None else end))


def end_of(key: Sequence[str], text: str, start: int, end: int) -> int | None:
    """Where the text that begins with just these words ends; None when it begins otherwise. Reads no further."""
    found = _tokens(text, start, end)
    last = None
    for part in key:
        last = next(found, None)
        if last is None or last.key != part:
            return None
    return last.end if last else None


def _tokens(text: str, start: int, end: int) -> Iterator[Token]:
    for match in _TOKENS.finditer(text, start, end):
        kind, raw = match.lastgroup, match.group()
        if kind == "word":
            key = _fold(raw)
            if key in ("the", "a", "an") or (
                raw == "A" and _opens(text, match.start()) and is_word(text, match.end(), "A")
            ):
                continue
            if key in _FUNCTION_WORDS and not raw.islower():
                key = key.upper()
        elif kind == "number":
            key = _number(raw)
        else:
            key = raw.translate(_SUPERSCRIPTS)
        yield Token(key, match.start(), match.end())


def _keys(text: str) -> tuple[str, ...]:
    return tuple(token.key for token in tokens(without_markup(normalise(text))))


def _leading_number(text: str) -> str:
    """The number that a choice starts with, when the rest can only be its unit; empty otherwise."""
    found = tokens(without_markup(normalise(text)))
    plain = found and _PLAIN_NUMBER.fullmatch(found[0].key)
    return found[0].key if plain and not any(c.isdigit() for token in found[1:] for c in token.key if c != "2") else ""


class Options:
    """The choices of one question, ready to be looked up."""

    def __init__(self, choices: Sequence[str]) -> None:
        self.texts = tuple(choices[: len(LETTERS)])
        self.open = not self.texts
        self.letters = LETTERS[: OPEN_LETTERS if self.open else len(self.texts)]
        keys = [_keys(text) for text in self.texts]
        self.keys = tuple(key if keys.count(key) == 1 else () for key in keys)
        self._by_first: dict[str, list[int]] = {}
        for index in sorted(range(len(self.keys)), key=lambda i: -len(self.keys[i])):
            if self.keys[index]:
                self._by_first.setdefault(self.keys[index][0], []).append(index)
        self.numeric = any(any(c.isdigit() for c in text) for text in self.texts)
        self.squeezed = ["".join(key) for key in self.keys]
        self.words = {key[0]: i for i, key in enumerate(self.keys) if len(key) == 1}
        self._leading_numbers = [_leading_number(text) for text in self.texts]

    def letter(self, index: int) -> str:
        return LETTERS[index]

    def at(self, found: Sequence[Token], position: int) -> Mention | None:
        """The longest option whose text starts at this token."""
        if position >= len(found):
            return None
        first = found[position].key
        word = _NUMBERS.get(first, 1)  # «one» is too often a pronoun
        for index in self._by_first.get(first) or self._by_first.get(str(word) if word != 1 else first) or []:
            key = self.keys[index]
            if len(key) <= len(found) - position and all(
                found[position + k].key == part for k, part in enumerate(key) if k
            ):
                return Mention(index, found[position].start, found[position + len(key) - 1].end)
        return None

    def mentions(self, found: Sequence[Token]) -> list[Mention]:
        """All options mentioned, in order; the leftmost longest text masks what lies inside it."""
        result: list[Mention] = []
        starts = [token.start for token in found]
        position = 0
        while position < len(found):
            mention = self.at(found, position)
            if mention is None:
                position += 1
            else:
                result.append(mention)
                position = bisect_left(starts, mention.end, lo=position + 1)
        return result

    def equal(self, found: Iterable[Token]) -> int | None:
        """The option whose text is exactly these tokens, also when only hyphens or spaces differ; or, among numeric
        options, the same number as a word."""
        key = tuple(token.key for token in found)
        if not key:
            return None
        if key in self.keys:
            return self.keys.index(key)
        squeezed = "".join(key)
        if (len(squeezed) > 3 or any(char.isdigit() for char in squeezed[1:])) and self.squeezed.count(squeezed) == 1:
            return self.squeezed.index(squeezed)
        if len(key) == 1 and key[0] in _NUMBERS:
            return self.words.get(str(_NUMBERS[key[0]]))
        if len(key) == 1 and self._leading_numbers.count(key[0]) == 1:
            return self._leading_numbers.index(key[0])  # «24» for «24 cm²»
        return None
