"""Options that say something of one of several things: «A is closer», «A点更近».

In: text blanked by `sections.without_markup`, and the options. Out: a reading where the text says it of one of them in
its own words, else None.
"""

from __future__ import annotations

import re

from captionqa.core.answers.denial import NEGATIVE
from captionqa.core.answers.letters import Reading
from captionqa.core.answers.options import Options
from captionqa.core.answers.sections import SENTENCES
from captionqa.core.answers.words import tokens

_DOUBTS_ZH = re.compile(r"如果|假如|若|可能|是否|吗|谁|哪|\?")


def described(text: str, options: Options) -> Reading | None:
    """Options such as «A is closer», where the output says «A, at the bottom, is closer than B»: in the last sentence
    with the property, the entity named first and before it."""
    named = {key[0]: (index, key[2:]) for index, key in enumerate(options.keys) if len(key) > 2 and key[1] == "is"}
    named = {name: value for name, value in named.items() if len(name) == 1 and name.isupper()}
    chosen: Reading | None = None
    for match in SENTENCES.finditer(text) if named else ():
        found = tokens(text, *match.span())
        entity = next((token for token in found if token.key in named), None)
        if entity is None or NEGATIVE.search(match.group()[: match.group().find(" than ") + 1] or match.group()):
            continue
        index, rest = named[entity.key]
        after = [token.key for token in found if token.start > entity.start]
        others = [place for place, key in enumerate(after) if key in named and key != entity.key]
        if rest[0] in (after[: others[0]] if others else after):
            chosen = Reading(options.letter(index), None, entity.start, match.end())
    return chosen


def compared(text: str, options: Options) -> Reading | None:
    """Options such as «A点更近», where the last clause says «A点离相机更近» or «A点比B点更近»."""
    rests = {key[1:] for key in options.keys}
    rest = next(iter(rests), ())
    names = [key[0] for key in options.keys if key]
    if len(rests) != 1 or len(rest) < 2 or not all(len(name) == 1 and name.isupper() for name in names):
        return None
    start = max(text.rfind(sign, 0, len(text.rstrip(" \n。.!"))) for sign in ",。;\n") + 1
    found = tokens(text, start)
    place = next((place for place, token in enumerate(found) if token.key in names), None)
    if place is None or NEGATIVE.search(text, start) or _DOUBTS_ZH.search(text, start):
        return None
    after = iter(token.key for token in found[place + 1 :])
    if not all(part in after for part in rest):
        return None
    others = [token for token in found[place + 1 :] if token.key in names and token.key != found[place].key]
    if any(text[token.start - 1 : token.start] not in "比较于" for token in others):
        return None
    return Reading(options.letter(names.index(found[place].key)), None, found[place].start, found[-1].end)
