r"""Values that a sentence states without «the answer is»: «x = 5», «The roots are x = 1 and x = 2», «It took 9 min.».

In: a text or its last line. Out: the value's offsets or text, or None. A sentence says a value where it ends in one,
emphasises one, or holds a single amount; what it denies, doubts or compares is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from captionqa.core.answers import sections
from captionqa.core.answers.cleaning import clean
from captionqa.core.answers.number_words import NUMBER_WORDS, SMALL
from captionqa.core.answers.quantities import COUNTED, quantity
from captionqa.core.answers.units import known

SHORT_CHARS = 80
SENTENCE_WORDS = 16
_CLAUSE_WORDS = 8
_NAME_WORDS = 4
# Only names are said in longer sentences: «The name of the shop on the left side of the street is Green Corner.»
_NAMING = re.compile(
    r"(?:the|its)\s(?:[a-z]+\s){0,2}(?:name|word|title|brand|text|label|message|company|airline|team|city|country)\b",
    re.IGNORECASE,
)
_LINE_CHARS = 2000
_LIST_CHARS = 300
_REACH = 200
VERDICTS = frozenset(["yes", "no", "true", "false", "是", "否"])

_MATHS = r"(?:\$?-?\s?(?:\.?\d|[\\(\[{√π$∠△①-⑨]|[A-Z]\s?\(|[A-Za-z]\s{0,2}(?:[<>≤≥≠∈]|\\(?:leq?|geq?|neq?|in)\b)))"
_IS = re.compile(
    rf"(?:[=≈]|\\approx(?![A-Za-z])|\b(?:is|are|was|were|equals?|equal to|gives|giving|get|obtain|becomes"
    r"|costs|weighs|measures|totals|(?:simplifies|reduces|comes|amounts|amounted) to)|(?:是|(?<!因)为|得|等于)"
    r"|\b(?:at|on|in|point|interval|set|range|domain)(?=\s{1,3}\$?\\?[(\[{])|:(?=\s(?:\$|\\\()))\s{0,3}"
    r"(?:(?:therefore|thus|then|simply|also|about|approximately|roughly|exactly)\s)?"
    rf"(?P<value>{_MATHS}[^=\n。]{{0,80}}?|\*\*[^*\n]{{1,60}}\*\*)[.。\s]{{0,6}}$",
)
# «x = 3, y = 4», «The roots are x = 1 and x = 2»: the whole list is the answer, and not its last number.
_ASSIGNMENT = (
    r"(?!(?:so|thus|then|hence|therefore|where|if|with|for)\s)\$?(?:\\[A-Za-z]+\s?)?[A-Za-z][\w{}']{0,20}(?:\([a-z]\))?"
    r"(?:\s[A-Za-z]{1,12}){0,2}\s{0,3}(?:=|\bis\b(?=\s-?\d))\s{0,3}[^\s=<>≤≥,;][^=<>≤≥,;\n]{0,60}?\$?"
)
_ASSIGNMENTS = re.compile(
    r"(?:(?:so|thus|therefore|hence|then)\b,?\s|所以|因此)?"
    r"(?:(?:(?:the|its|their|both|two|real)\s){0,3}(?:[A-Za-z]+\s){0,4}(?:are|is):?\s|we (?:get|have|find|obtain):?\s)?"
    rf"(?P<list>{_ASSIGNMENT}(?:\s?(?:[,;、](?:\s?(?:and|or)\b)?|\b(?:and|or)\b|和|或)\s?{_ASSIGNMENT}){{1,12}})[.。\s]{{0,6}}",
    re.IGNORECASE,
)
_SYMBOL_ASSIGNMENT = r"\$?(?<![A-Za-z])(?:[A-Za-z]|[A-Z]{2,3})(?:_?\d)?\s?=\s?[^\s=<>≤≥,;][^=<>≤≥,;\n]{0,40}?\$?"
_LAST_ASSIGNMENTS = re.compile(
    rf"(?<![\w,;=])(?P<list>{_SYMBOL_ASSIGNMENT}(?:\s?(?:[,;、](?:\s?(?:and|or)\b)?|\b(?:and|or)\b|和|或)\s?{_SYMBOL_ASSIGNMENT})"
    r"{1,6})[.。\s]{0,6}$"
)
_EMPHASIS = re.compile(
    r"\*\*(?P<bold>[^*\n]{1,80})\*\*|\$\$?(?P<maths>[^$\n]{1,200})\$\$?"
    r"|\\[(\[](?P<tex>[^\n]{1,200}?)\\[)\]]"
)
_NEXT_CLAUSE = re.compile(r"\s(?:is|are)\s|[是为的]|,\s*(?:[A-Za-z]{2,}|[\u4e00-\u9fff])")
_SYMBOL = re.compile(r"\s*[A-Za-z]\s*")
PLAIN_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_COURTESY = re.compile(
    r"(?:let me know|(?:i )?hope (?:this|that)|feel free|if you (?:have|need|want|would))\b", re.IGNORECASE
)
# Where the clause begins that concludes: «…, so the area is 24», «Since AB = AC, it is isosceles».
_CLAUSE = re.compile(
    r"[.!?](?=\s+(?-i:[^\sa-z]))|[。！？；;\n]|,?\s(?:that is|i\.e\.|which (?:gives|is|means|equals"
    r"|(?:simplifies|reduces|comes|amounts) to))(?=[\s,])|,(?=[\u4e00-\u9fff]|\s(?:he|she|it|they|we|there)\s)"
    r"|(?P<so>(?:^|(?<=[\s,]))(?:so|hence|therefore|thus)(?=[\s,])|所以|因此|即|故(?:选|填)?|答:|^(?:since|because|as)\b[^,\n]{1,120},"
    r"|\b(?:conclude|follows|means|shows|find|see|implies|know)\sthat\b)",
    re.IGNORECASE,
)
_TRAILER = re.compile(
    r",\s(?:which|where|with|as|because|since)\b[^=\d\n]*$|(?<=[.!。])\s*\([^()\n]*\)\s*$|\s\([a-z]+\s[^()=\d\n]*\)[.\s]*$"
)
WHY = re.compile(
    r",?\s(?:because|since|given that"
    r"|as (?:indicated|shown|seen|stated|written|displayed|evidenced) (?:by|in|on|from))\b|,?\s?因为",
    re.IGNORECASE,
)
# «It is red.», «The car is red.», «It costs $15.», «ABCD is a rhombus.»: a sentence around a value.
_SENTENCE = re.compile(
    r"(?:it|they|he|she|this|that|these|those|there|(?-i:[A-Z]{1,5}|[a-z])"
    r"|(?:the|its|his|her|their|my|this|that)(?:\s[A-Za-z]+(?:'s)?){1,12}?)"
    r"(?:'s(?!.*\s(?:is|are|was|were|says|reads)\s)|'re|\s(?:(?:is|are|was|were)"
    r"(?:\s(?:going to|headed (?:to|for)|heading to|going towards"
    r"|(?:located|born|taken|built|founded|established|published|released|launched) (?:in|on|at)|painted|named"
    r"|called))?|costs|weighs|measures|equals|shows|(?:says|reads):?|belongs to|acts as|represents"
    r"|becomes))\s(?P<value>[^?!;:\n]+?)(?:\sin colou?r)?"
    r"[.\s]*|[^,，。;:是不]{0,20}(?:是|为|有|占|等于|叫做?)\s?(?P<chinese>(?:[^,，。;?是为不()]|\([^()]*\)){1,24}?)[.。\s]*"
    r"|(?!note|hint|step|question|example|given|recall|remember)[A-Z][A-Za-z ]{1,30}:\s(?P<labelled>[^:;?!\n]+?)[.\s]*",
    re.IGNORECASE,
)
NO_SENTENCE = re.compile(
    r"\b(?:not?|none|never|nothing|neither|nor|nobody|cannot|false(?:ly)?|incorrect(?:ly)?|wrong(?:ly)?|other|opposite|except|without|hardly"
    r"|if|unless|or|but|only|most|least|maximum|minimum|instead|rather|than|more|less|too|enough|almost"
    r"|nearly|that is|which is)\b|n't\b|\?|没|无法|不|如果|吗|大于|小于|超过|至少|至多|少于|多于|以上|以下|几乎",
    re.IGNORECASE,
)
# «The equation has no solution.»
_NOTHING = re.compile(r"\bha(?:s|ve) (?P<value>no (?:real )?(?:solutions?|roots?))[.\s]*$")
SUPPOSED = re.compile(
    r"\b(?:let|suppose|assum\w+|given|would|could|might|may|should|maybe|perhaps|try)\b", re.IGNORECASE
)
_WORDS = "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
_FIRST_WORDS = "|".join(sorted({"half", *SMALL} - {"one"}, key=len, reverse=True))
_AMOUNT = re.compile(
    r"(?<![A-Za-z0-9_.,^\\√])(?:(?:minus|negative)\s)?(?:"
    r"\d+\s?:\s?\d+(?:\s?:\s?\d+)?(?:\s?[ap]\.?m\b\.?)?"
    r"|[(\[]\s?-?[\d.]+(?:\s?,\s?-?[\d.]+)+\s?[)\]]"
    r"|\d+\s\d+/\d+"
    r"|[+-]?[$€£¥]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s?[×x*]\s?10\s?\^?\s?\{?-?[\d⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+\}?)?"
    r"(?:\s?/\s?\d+)?(?:√\d+)?π?(?:\s(?:thousand|million|billion|trillion|dozen)\b)?(?:\s?(?:\\?%|percent\b|°[CF]?|degrees\b))?"
    rf"|(?i:\b(?:(?:{_FIRST_WORDS})(?:(?:-|\s(?:and\s)?)(?:a\s)?(?:{_WORDS}))*)\b)"
    r")(?![A-Za-z0-9_^(])"
)
_UNIT = re.compile(r"\s?(?P<unit>[^\W\d_]+(?:[/^²³]\s?[\w²³]*)*(?:\s(?!of\b|in\b|for\b|at\b)[^\W\d_]+){0,2})")
_NOUN = re.compile(r"\s(?!(?:of|in|at|by|for|to|on|is|are|was|were|and|left|each|per|as|from|with|that)\b)[^\W\d_]+")
# A number that only tells things apart: «Figure 3», «in 2 steps» is none of these.
_NAME = re.compile(
    r"\b(?:figure|fig|step|question|problem|option|part|row|column|case|table|line|point|chapter|page|no|number|side"
    r"|angle|equation|example|class|grade|room)\.?\s$|[∠#]\s?$",
    re.IGNORECASE,
)
_SIGNS = re.compile(r"[=≠±+*/\\√<>≤≥_{}^×÷·'\"()|!%°]|\d")
_SAID = re.compile(r"[A-Za-z]{2}|[\u4e00-\u9fff]")
_TEXT = re.compile(r"\\text(?:rm|bf|it)?\s?\{([^{}]*)\}")
_LEADING_WORDS = re.compile(r"\s*(?:[A-Za-z]{2,}\s+)+")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_OPERATED = re.compile(r"[\d+\-*/^(|²³√]|\\(?:frac|sqrt|cdot|times|ln|lg|log)")
_EXPRESSION = re.compile(r"[$\s]*(?:\\(?:vec|overrightarrow|cdot|frac|[a-z]+(?=[\s+}-]))|[A-Za-z]|[\s{}()·+-])+")
_EQUATION = re.compile(
    r"\$|\*\*|\n|[,;:。，；：]|\.\s|\b(?:is|are|so|equation|becomes|get|gives|to|and|thus|hence|therefore|form)\s"
)

# «It is not 5.», «Let x = 5.», «x ≠ 5»: what a clause says of the value that it ends in.
_DENIED = re.compile(
    r"\b(?:not|never|neither|nor|cannot|let|suppos\w*|assum\w*|substitut\w*|plug\w*|reject\w*|discard\w*|exclud\w*"
    r"|eliminat\w*|disregard\w*|if|unless|try|trying|rather than)\b|n't\b|≠|\\neq?\b"
    r"|不(?!妨)|设|令|舍|代入|假[设如]|如果",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[$*)\s\\]{0,6}(?:(?:is|are|was) (?:rejected|discarded|excluded|extraneous|invalid|impossible"
    r"|wrong|incorrect|not)\b"
    r"|(?:cannot|does not|doesn't|isn't)\b|不|舍)",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"[.!?](?=\s)|[,;:](?=[\s$])|[。，；：]|\b(?:but|so|then|thus|hence|therefore|gives?|get|gets|find|obtain|yields?|have|implies"
    r"|means|conclude|follows|shows)\b|则|得|所以|因此|那么",
    re.IGNORECASE,
)
# «x = 6 when y = 5», «AB = 6, where BC = 5», «25 because the side is 5»: the value stands before.
_GIVEN = re.compile(
    r",?\s(?:(?:when(?:ever)?|where|for|if|at)\s(?:the\s)?[$\\(]{0,3}[A-Za-z][\w{}]{0,8}\s?(?:=|is\b|equals\b)[^=,;\n]{1,40}"
    r"|(?:because|since|given that)\s(?:[^,;\n.。]|\.(?=\d)){1,120})$"
)
_VALUE_BEFORE = re.compile(r"\d|=|\*\*")
_SIGN_BEFORE = re.compile(r"[-−±≠]\s*$")
# «square root of 5», «twice 5», «up to 5», «3的»: another number.
_CHANGED = re.compile(
    r"\b(?:roots?(?: of)?|twice|thrice|double|triple|half|up to|under|over|below|above|beyond|past"
    r"|times|plus|minus|negative"
    r"|(?:multiples?|factors?|divisors?|powers?|square|cube|opposite|inverse|reciprocal|log(?:arithm)?|half|quarter|third"
    r"|double|triple|part|fraction|logarithm) of)\s+[$(]{0,2}$"
    r"|(?:^|[^是为有共得约剩需要用占于了即故选达到至值数])(?<=[\u4e00-\u9fff])$",
    re.IGNORECASE,
)
_CHANGED_AFTER = re.compile(
    r"\s+(?:(?:at (?:most|least)|below|above|under|point|squared|cubed|factorial|times)\b)|[\u4e00-\u9fff]"
)

Range = tuple[int, int]


def last_line(text: str) -> Range | None:
    """The last line that says something; what only offers further help is passed over."""
    end = len(text)
    while end > 0:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end].strip()
        if any(char.isalnum() for char in line) and not _COURTESY.match(line):
            return start, start + len(text[start:end].rstrip())
        end = start - 1
    return None


def concluded(text: str) -> Range | None:
    """The value that the last line of an output states."""
    found = last_line(text)
    if found is None or found[1] - found[0] > _LINE_CHARS:
        return None
    start, end = found
    trailer = _TRAILER.search(text, start, end)
    end = trailer.start() if trailer else end
    line = text[start:end].rstrip()
    given = _GIVEN.search(line.rstrip(" .。"))
    if given is not None and _VALUE_BEFORE.search(line, 0, given.start()):
        line = line[: given.start()]
    begin, so = _last_clause(line)
    several = _assignments(line) or (begin and _assignments(line, begin))
    if several:
        return start + several[0], start + several[1]
    words = so or bool(start and not begin)
    inner = (
        _emphasised(line)
        or _ending(line, begin)
        or _emphasised(line, anywhere=True, only="bold")
        or (begin and _stated(line, begin, words=words, so=so))
        or _ending(line, max(0, len(line) - 200))
        or _emphasised(line, anywhere=True)
        or _stated(line, begin, words=words, so=so)
    )
    if inner is not None:
        return None if _denied(line, *inner) else (start + inner[0], start + inner[1])
    end = start + len(line)
    short = len(line) <= SHORT_CHARS // 2 and len(line.split()) <= 4
    return (start, end) if start and short else None


def _denied(line: str, start: int, end: int) -> bool:
    """Whether the clause that leads to a value denies or only supposes it."""
    before = _TURN.split(line[max(0, start - _REACH) : start])[-1]
    return _DENIED.search(before) is not None or _DENIED_AFTER.match(line, end) is not None


def _assignments(line: str, begin: int = 0) -> Range | None:
    """Two values with names, or more, which the line is or ends in."""
    if len(line) > _LIST_CHARS:
        return None
    while begin < len(line) and line[begin] in " ,:":
        begin += 1
    found = _LAST_ASSIGNMENTS.search(line, begin)
    if found is None or "=" in line[begin : found.start()]:
        found = _ASSIGNMENTS.fullmatch(line, begin) or found
    return found.span("list") if found else None


def _emphasised(line: str, *, anywhere: bool = False, only: str = "") -> Range | None:
    """The one thing that is emphasised: with the last side of its equation, where it ends the line."""
    marked = list(_EMPHASIS.finditer(line))
    if (
        len(marked) != 1
        or (only and marked[0].lastgroup != only)
        or not (anywhere or not line[marked[0].end() :].strip(" .。)"))
    ):
        return None
    start, end = marked[0].span(str(marked[0].lastgroup))
    unit = _UNIT.match(line, marked[0].end())
    if unit is not None and known(unit["unit"]):
        return start, unit.end()  # «**24** cm»
    last = line.rfind("=", start, end) + 1
    turned = line.count("=", start, end) == 1 and _SYMBOL.fullmatch(line[last:end])  # «$5 = n$» is whole
    side = not anywhere and last and not turned
    return (last, end) if side else (start, end)


def _ending(line: str, begin: int) -> Range | None:
    """«… = 12», «… is 12»."""
    for _ in range(6):
        match = _IS.search(line, begin)
        if match is None:
            return None
        if len(PLAIN_WORDS.findall(match["value"])) <= 2 and not _NEXT_CLAUSE.search(match["value"]):
            return match.span("value")
        begin = match.start() + 1
    return None


def ends_in_value(line: str) -> bool:
    """Whether a line ends in «= value» or «is value», or emphasises something."""
    found = _IS.search(line)
    if found is not None and found.group()[0].isascii():
        return True
    marked = _EMPHASIS.search(line) is not None
    return marked and (line.count("=") > 1 or not {"or", "and"} >= set(PLAIN_WORDS.findall(_EMPHASIS.sub(" ", line))))


def concludes(line: str) -> bool:
    """«…, so 12»."""
    return _last_clause(line)[1]


def _last_clause(line: str) -> tuple[int, bool]:
    """Where it begins, and whether it is a conclusion."""
    begin, so = 0, False
    last = next((place for place in range(len(line) - 1, -1, -1) if line[place].isalnum()), -1)
    for match in _CLAUSE.finditer(line):
        if match.end() <= last:
            begin, so = match.end(), bool(match["so"]) or (so and match.end() - begin < 4)
    return begin, so


def _stated(line: str, begin: int, *, words: bool, so: bool) -> Range | None:
    """What a clause says: a single amount; with ``words`` also what it calls something, and after ``so`` itself."""
    while begin < len(line) and line[begin] in " ,:\t*#":
        begin += 1
    why = WHY.search(line, begin + 1)
    clause = line[begin : why.start() if why else len(line)]
    nothing = _NOTHING.search(clause)
    if nothing is not None:
        return begin + nothing.start("value"), begin + nothing.end("value")
    found = _sentence(clause)
    if found is not None and not words and quantity(clean(clause[slice(*found)])) is None:
        found = None
    found = found or _amount(clause, bare=begin > 0)
    if (
        found is None
        and so
        and len(PLAIN_WORDS.findall(clause)) <= 3
        and len(clause) <= SHORT_CHARS
        and not NO_SENTENCE.search(clause)
    ):
        found = 0, len(clause.rstrip(" .。"))
    return (begin + found[0], begin + found[1]) if found and found[1] else None


def sentence_value(text: str) -> str | None:
    """The value that one short sentence says and nothing else: «red» of «The car is red.»"""
    text = sections.normalise(_TEXT.sub(r"\1", text.strip()))
    if len(PLAIN_WORDS.findall(text)) > SENTENCE_WORDS or len(text) > SHORT_CHARS:
        return None
    if quantity(clean(text)) is not None:
        return None
    why = WHY.search(text)
    text = text[: why.start()] if why else text
    nothing = _NOTHING.search(text)
    if nothing is not None:
        return nothing["value"]
    found = _sentence(text) or _amount(text)
    return text[slice(*found)] if found else None


def _sentence(text: str) -> Range | None:
    words = len(PLAIN_WORDS.findall(text))
    match = _SENTENCE.fullmatch(text) if words <= SENTENCE_WORDS else None
    if match is None:
        return None
    name = str(match.lastgroup)
    if words > _CLAUSE_WORDS and (not _NAMING.match(text) or len(PLAIN_WORDS.findall(match[name])) > _NAME_WORDS):
        return None
    subject_only = match[name].strip().casefold() in VERDICTS  # «The statement is false.»
    if NO_SENTENCE.search(text[: match.start(name)] if subject_only else text):
        return None
    return match.span(name)


def _amount(text: str, *, bare: bool = False) -> Range | None:
    """The only amount of a text that compares, doubts and supposes nothing; with ``bare`` it may be all of it."""
    if len(text) > 300 or NO_SENTENCE.search(text) or SUPPOSED.search(text):
        return None
    found = list(_amounts(text))
    if len(found) != 1:
        return None
    start, end = found[0]
    if _SIGN_BEFORE.search(text, 0, start) or _CHANGED.search(text, 0, start) or _CHANGED_AFTER.match(text, end):
        return None
    rest = f"{text[:start]} {text[end:]}"
    return found[0] if (bare or _SAID.search(rest)) and not _SIGNS.search(rest) else None


def _amounts(text: str) -> Iterator[Range]:
    at = 0
    while (match := _AMOUNT.search(text, at)) is not None:
        at = max(match.end(), at + 1)
        if text[match.start()].isdigit() and _NAME.search(text, max(0, match.start() - 12), match.start()):
            yield from ((match.start(), match.end()),) * 2  # nothing that can be told
            continue
        end = match.end()
        unit = _UNIT.match(text, end)
        while unit is not None and unit.end() > end:
            if known(unit["unit"].replace("²", "^2").replace("³", "^3")):
                end = unit.end()
                break
            cut = text.rfind(" ", unit.start("unit"), unit.end())
            unit = _UNIT.match(text, end, cut) if cut > 0 else None
        if end == match.end():
            noun = _NOUN.match(text, end)
            end = noun.end() if noun else end + _chinese_unit(text[end : end + 6])
        at = end
        yield match.start(), end


def _chinese_unit(text: str) -> int:
    """The length of the unit that follows a number at once, or of what is counted."""
    longest = next((size for size in range(len(text), 0, -1) if text[0] > "\u2e7f" and known(text[:size])), 0)
    counted = COUNTED.match(text)
    return longest or (counted.end() if counted else 0)


def unsolved(equation: str) -> bool:
    """«4x = 32», «x - 1 = 5», «x^2 = 5» say nothing of x; «x + y = 5» may be what was asked."""
    left = equation.partition("=")[0]
    if "value of" in left:
        return False
    left = _LEADING_WORDS.sub("", left, count=1) if _LEADING_WORDS.match(left) else left
    letters = re.findall(r"[A-Za-zΑ-ορ-ω]+", _COMMAND.sub(" ", re.sub(r"_(?:\{[^{}]*\}|\w)", "", left)))
    alone = len(set(letters)) == 1 and len(letters[0]) == 1 and letters[0].islower()
    named = (
        alone and re.fullmatch(rf"[\s$\\(]*{letters[0]}'?\((?![^()]*{letters[0]})[^()]*\)\s*", left) is not None
    )  # «f(3) = 5»
    return alone and not named and _OPERATED.search(re.sub(r"_(?:\{[^{}]*\}|\w)", "", left)) is not None


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
