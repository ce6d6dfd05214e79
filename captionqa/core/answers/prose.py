"""Answers that are stated without «the answer is»: leading letters, last lines, yes and no, options' texts.

In: text blanked by `sections.without_markup`, and the options. Out: readings. Only one option may be meant; where
the text weighs several, there is no reading.
"""

from __future__ import annotations

import re

from captionqa.core.answers.candidates import CONTRAST, by_text, clause_end, resolve, skip_own
from captionqa.core.answers.letters import Reading, Reason
from captionqa.core.answers.options import LETTERS, Options, end_of, tokens

_SHORT = re.compile(
    r"(?i:(?:it is|it's|that is|definitely|probably|clearly|certainly|surely"
    r"|select|choose|pick),? )?(?i:the )?(?i:(?:option|choice"
    r"|answer|选项|选)\s?)?(?i:number |no\. ?|#)?[(\[<]?(?:[A-Za-z]"
    r"|\d{1,2})[)\]>]?(?:[.:!?。]|\s?-)?|[A-Z](?:\s{0,2}[/,&、]\s{0,2}[A-Z])+|[A-Z]{2,10}"
    r"|(?i:(?:it is|it's|that is) )?(?i:the )?(?i:first|second|third|fourth|fifth|sixth|last) (?i:option|choice|one)\.?"
    r"|(?:[(\[]?[A-Z][)\].:]{0,2}\s*)+|第\s?[一二三四五六七八九十\d]\s?(?:个选项|个答案|个|项)。?"
)
_OPERATOR = re.compile(r"\s{0,3}[+*/=^×÷]")
_FILLER = re.compile(
    r"(?:it is|it's|that is|definitely|probably|clearly|certainly|surely|select|choose|pick),? ", re.IGNORECASE
)
_LAST_SENTENCE = re.compile(r"[.!?]\s[^.!?\n]*$")
_BRACKETED = re.compile(r"\([A-Z]\)\.?")
_LINES_OF_LETTERS = re.compile(r"[(\[]?[A-Z][)\].:]{0,2}\s+[^\n]+|(?:[(\[]?[A-Z][)\].:]{0,2}\s*)+")
_INDEX = re.compile(r"-?\d{1,3}\.?")
_LINE_LABEL = re.compile(r"[\s\"'\-]{0,20}(?:(?:Option |Choice )?[(\[]?[A-Z][)\].:])")
_LIST_LINE = re.compile(r"[\s\"'\-]{0,20}[(\[]?[A-Z][)\].:]|[\s\-(]*[A-Z][).]?$")
_REJECTED = re.compile(r"[^.,;\n]{0,20}\b(?:not|incorrect|wrong|n't)\b")
_JOINED = re.compile(r"\b(?:and|or|between)\b[^.,;]{0,12}$")
_IS_NOT = re.compile(r"\s(?:is|does|do|are|has)\s?(?:not|n't)")
_LEADING = re.compile(
    r"[\s\"'\-]{0,40}(?:(?i:option|choice)\s)?(?P<open>[(\[]?)(?P<letter>[A-Z])\s{0,2}(?P<close>[)\].:]"
    r"|(?=[ \t]*(?:\n|$|,|;|(?:because|since|as)\b)))(?![\w'])"
)
_LINE_LETTER = re.compile(
    r"[\s\"'\-]{0,20}(?i:option |choice )?(?:=>|->|→|∴|(?i:so|hence|thus"
    r"|therefore),?\s)?[\s\"']{0,6}[(\[]?\s{0,3}(?P<letter>[A-Z])\s{0,3}[)\].:]{0,3}[\s\"']{0,10}$"
)
_ENDING = re.compile(
    r"(?:[,;:.]|=>|->|→|\b(?:so|thus|hence|therefore|yes|is|choose|option))\s{0,3}(?:so |hence |thus |it is "
    r"|it's |must be )?"
    r"(?:option |choice )?(?P<open>\(?)(?P<letter>[A-Z])\)?[.!]?\s{0,10}$",
    re.IGNORECASE,
)
_DENIED = re.compile(r"(?:\bnot|n't)\s(?:think|believe|sure|say|agree|certain|the)\b[^.;,\n]{0,60}$", re.IGNORECASE)
_LABELLED = re.compile(r"(?<![\w'-])[(\[]?(?P<letter>[A-Z])\s{0,2}[)\].:]\s{0,3}")
_SENTENCES = re.compile(r"[^.!?。\n]*(?:\.(?!\s|$)[^.!?。\n]*)*(?:[.!?。]|\n|$)")
_YES = {"yes": True, "true": True, "是": True, "no": False, "false": False, "否": False, "不是": False}
_YES_START = re.compile(r"[\s\"'(]{0,20}(yes|no|true|false)\b(?!\s(?:one|man|other))", re.IGNORECASE)
_YES_END = re.compile(r"\b(?:so|thus|hence|therefore|is),?\s(yes|no|true|false)[.!\s]{0,10}$", re.IGNORECASE)
_CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|overall|in conclusion|in summary|based on|consequently|to conclude"
    r"|we can (?:conclude|determine|infer)"
    r"|it (?:can be|is) (?:concluded|determined|inferred))\b|因此|所以|综上",
    re.IGNORECASE,
)
_MOST = re.compile(r"\b(?:most|best|closest)\b", re.IGNORECASE)
_SUPERLATIVE = re.compile(
    r"\b(?:most|more|best|better|closest|closer|correct|right|likely|same|should be chosen|similar|darker"
    r"|corresponds?|corresponding|matches|match)\b",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(
    r"\b(?:not|neither|nor|none|cannot|incorrect|wrong|false|unlikely|less|least|no)\b|n't\b|不", re.IGNORECASE
)
_RATHER = re.compile(r"\b(?:but|instead|rather)\b|而是", re.IGNORECASE)
_RESULT = re.compile(r"[=≈]\s{0,3}(?P<value>[^=≈\n]{1,30}?)[.\s]{0,6}$")
_HOWEVER = re.compile(r"[\s\"'-]{0,10}(?:however|but|actually|on the other hand)\b|\s{0,5}(?:但|然而)", re.IGNORECASE)
_WEIGHED = 30
_HEDGE = re.compile(r"\b(?:either|both|or)\b", re.IGNORECASE)
_CUT_CHARS = 200


def looks_cut(text: str) -> bool:
    """Whether a text of several sentences, or a long one, stops without an end."""
    stripped = text.rstrip()
    if not stripped or stripped[-1] in ".!?。)]\"'%°:" or stripped[-1].isdigit():
        return False
    last = _LAST_SENTENCE.search(stripped[-_CUT_CHARS:])
    return len(stripped) > _CUT_CHARS or (last is not None and len(stripped) > 60 and last.group().count(" ") > 3)


def whole(text: str, options: Options) -> Reading | None:
    """An output that is only a letter, an option's text, or both."""
    stripped = text.strip()
    if not stripped or len(stripped) > 400:
        return None
    start = text.index(stripped[0])
    limit = len(text.rstrip())
    index = options.equal(tokens(text, start, limit))
    if index is not None and not (len(options.texts[index].strip()) == 1 and _BRACKETED.fullmatch(stripped)):
        return Reading(options.letter(index), None, start, limit)
    if "\n" in stripped and not _LINES_OF_LETTERS.fullmatch(stripped):
        return None
    if _INDEX.fullmatch(stripped) and not options.open and not options.numeric:
        number = int(stripped.rstrip("."))
        if 1 <= number <= len(options.letters):
            return Reading(options.letters[number - 1], None, start, limit)
        return Reading(None, Reason.OUT_OF_RANGE, start, limit)
    short = _SHORT.fullmatch(stripped)
    if short:
        filler = _FILLER.match(text, start)
        return resolve(text, filler.end() if filler else start, limit, options)
    return None


def leading(text: str, options: Options) -> Reading | None:
    """An output that starts with its letter: «B. Under the chair», «(C) …», a first line «A»."""
    match = _LEADING.match(text)
    if match is None:
        return None
    letter = match["letter"]
    if letter not in options.letters:
        return None
    limit = min(len(text), 1500)
    if _REJECTED.match(text, skip_own(text, match.end(), letter, options, limit)):
        return None  # «B) dog is wrong»
    if match["close"] == "" and not match["open"] and text[match.end() : match.end() + 1] in (",", ";"):
        reading = resolve(text, 0, limit, options) if letter != "I" else None
        return reading if reading is not None and reading.letter else None
    return resolve(text, 0, limit, options)


def last_line(text: str, options: Options) -> Reading | None:
    """A last line that is only a letter, or a letter with its own option's text."""
    stripped = text.rstrip()
    start = stripped.rfind("\n") + 1
    line = stripped[start:]
    if len(line) > 300:
        return None
    match = _LINE_LETTER.match(line)
    if match is None and not _LINE_LABEL.match(line):
        if start and (index := options.equal(tokens(text, start, len(stripped)))) is not None:
            return Reading(options.letter(index), None, start, len(stripped))
        return None
    previous = stripped[:start].rstrip().rsplit("\n", 1)[-1]
    if _LIST_LINE.match(previous):
        return Reading(None, Reason.SEVERAL, start, len(stripped))  # the end of a list of options
    begin = start + (match.start("letter") if match else 0)
    reading = resolve(text, begin, len(stripped), options)
    if match is None and reading is not None:
        if reading.letter is None or options.open:
            return None
        rest = tuple(token.key for token in tokens(text, reading.end, len(stripped)))
        return reading if rest == options.keys[LETTERS.index(reading.letter)] else None
    return reading


def yes_no(text: str, options: Options) -> Reading | None:
    """«No, there is only a cat» where the options are yes and no."""
    meaning: dict[bool, int] = {}
    for index, key in enumerate(options.keys):
        if len(key) == 1 and key[0] in _YES:
            meaning[_YES[key[0]]] = index
    if len(meaning) != 2:
        return None
    match = _YES_START.match(text) or _YES_END.search(text, max(0, len(text) - 200))
    if match is None:
        return None
    return Reading(options.letter(meaning[_YES[match.group(1).lower()]]), None, match.start(1), match.end(1))


def labelled(text: str, options: Options) -> Reading | None:
    """One letter together with its own option's text, and no other letter so."""
    found: list[Reading] = []
    for match in _LABELLED.finditer(text):
        letter = match["letter"]
        if letter not in options.letters or options.open:
            continue
        key = options.keys[LETTERS.index(letter)]
        if not key:
            continue
        limit = min(len(text), match.end() + 2 * len(options.texts[LETTERS.index(letter)]) + 20)
        end = end_of(key, text, match.end(), limit)
        if end is not None:
            before = text[max(0, match.start() - 40) : match.start()]
            negative = _NEGATIVE.search(before.rsplit(".", 1)[-1]) or _REJECTED.match(text[end : end + 40])
            found.append(Reading(None if negative else letter, None, match.start(), end))
    letters = {reading.letter for reading in found}
    if len(letters) == 1 and found[0].letter:
        return found[-1]
    return None


def sentence_end(text: str, options: Options) -> Reading | None:
    """A text that ends «…, so B.» or «=> A»."""
    result = _RESULT.search(text, max(0, len(text) - 200))
    index = options.equal(tokens(text, result.start("value"), result.end("value"))) if result else None
    if result is not None and index is not None and _is_number(options, index):
        return Reading(options.letter(index), None, result.start("value"), result.end("value"))
    match = _ENDING.search(text, max(0, len(text) - 200))
    if match is None or not match["letter"].isupper() or match["letter"] not in options.letters:
        return None
    if match.group()[0] == "." and text.rstrip()[-1] != ".":
        return None  # «… pointed ears. B» was cut off
    if _DENIED.search(text[max(0, match.start("letter") - 80) : match.start("letter")]):
        return Reading(None, Reason.NEGATED, match.start("letter"), match.end())
    if _JOINED.search(text[max(0, match.start("letter") - 16) : match.start("letter")]):
        return None
    return Reading(match["letter"], None, match.start("letter"), match.end())


def option_text(text: str, options: Options) -> Reading | None:
    """The one option that the prose settles on: the only one mentioned, the one that the first sentence starts with,
    or the one that a concluding sentence names."""
    found = tokens(text)
    mentions = options.mentions(found)
    if not mentions:
        return _entity(text, options)
    sentences = [match.span() for match in _SENTENCES.finditer(text) if match.group().strip()]
    if len(sentences) == 1 or not (_CONCLUSION.search(text) or _weighs(text, sentences, options)):
        first = _settled(text, *sentences[0], options)
        if first is not None:
            return first
    for start, end in reversed(sentences):
        conclusion = _CONCLUSION.search(text, start, end)
        if conclusion is not None:
            reading = _settled(text, conclusion.start(), end, options) or _settled(text, start, end, options)
            if reading is not None:
                return reading
            break
    if len({mention.index for mention in mentions}) == 1:
        last = mentions[-1]
        start, end = next(span for span in sentences if span[0] <= last.start < span[1])
        if _in_derivation(text, end, last.index, options):
            return None
        if not _NEGATIVE.search(text, start, end) or _in_option(options, last.index):
            return Reading(options.letter(last.index), None, last.start, last.end)
        return None
    for degree in (_MOST, _SUPERLATIVE):
        spans = [span for span in sentences if degree.search(text, *span)]
        readings = [r for span in spans if (r := _settled(text, *span, options)) is not None]
        if readings and len({r.letter for r in readings}) == 1:
            return readings[-1]
    return Reading(None, Reason.SEVERAL, mentions[-1].start, mentions[-1].end)


def _weighs(text: str, sentences: list[tuple[int, int]], options: Options) -> bool:
    """Whether the sentences go through the options, or turn from the first one to another."""
    begun: set[int] = set()
    first: set[int] = set()
    for place, (start, end) in enumerate(sentences[:_WEIGHED]):
        found = tokens(text, start, end)
        mentioned = {mention.index for mention in options.mentions(found)}
        opening = options.at(found, 0)
        begun |= {opening.index} if opening else set()
        if place == 0:
            first = mentioned
        elif mentioned - first and _HOWEVER.match(text, start):
            return True
    return len(begun) > 2


def _is_number(options: Options, index: int) -> bool:
    key = options.keys[index]
    return len(key) == 1 and key[0][-1].isdigit()


def _in_derivation(text: str, end: int, index: int, options: Options) -> bool:
    """Whether a lone number stands before the end of a long text: numbers occur in every derivation."""
    return _is_number(options, index) and len(text) > _CUT_CHARS and bool(text[end:].strip())


def _entity(text: str, options: Options) -> Reading | None:
    """Options such as «A is closer», where the output says «A, at the bottom, is closer than B»: in the last sentence
    with the property, the entity named first and before it."""
    named = {key[0]: (index, key[2:]) for index, key in enumerate(options.keys) if len(key) > 2 and key[1] == "is"}
    named = {name: value for name, value in named.items() if len(name) == 1 and name.isupper()}
    chosen: Reading | None = None
    for match in _SENTENCES.finditer(text) if named else ():
        found = tokens(text, *match.span())
        entity = next((token for token in found if token.key in named), None)
        if entity is None or _NEGATIVE.search(match.group()):
            continue
        index, rest = named[entity.key]
        after = [token.key for token in found if token.start > entity.start]
        others = [place for place, key in enumerate(after) if key in named and key != entity.key]
        if rest[0] in (after[: others[0]] if others else after):
            chosen = Reading(options.letter(index), None, entity.start, match.end())
    return chosen


def _in_option(options: Options, index: int) -> bool:
    return _NEGATIVE.search(options.texts[index]) is not None


def _settled(text: str, start: int, end: int, options: Options) -> Reading | None:
    reading = by_text(text, start, end, options)
    if reading is None or reading.letter is None:
        return None
    head = _RATHER.split(text[start : reading.start])[-1]
    tail = text[reading.end : min(end, reading.end + 40)]
    opens = not tokens(text, start, reading.start)
    if not opens and _elsewhere(text, clause_end(text, start, end), end, LETTERS.index(reading.letter), options):
        return None
    number = _is_number(options, LETTERS.index(reading.letter))
    if number and _OPERATOR.match(text, reading.end):
        return None
    if _in_derivation(text, end, LETTERS.index(reading.letter), options):
        return None
    own = _in_option(options, LETTERS.index(reading.letter))
    if not own and (_NEGATIVE.search(head) or _IS_NOT.match(tail)):
        return None
    return reading


def _elsewhere(text: str, start: int, end: int, index: int, options: Options) -> bool:
    """Whether the sentence goes on to another option without setting it against the first: «a glass; it is metal»."""
    if start >= end or CONTRAST.search(text, start, end):
        return False
    return any(mention.index != index for mention in options.mentions(tokens(text, start, end)))


def names_none(options: Options, letter: str) -> bool:
    """Whether this option itself says that none fits or that it cannot be told."""
    return _in_option(options, LETTERS.index(letter))


def concludes(text: str, start: int) -> bool:
    """Whether a conclusion follows."""
    return _CONCLUSION.search(text, start) is not None
