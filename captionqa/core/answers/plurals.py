"""Whether two texts are one word in the singular and the plural: «cubes» and «cube».

In: cleaned texts. Out: a verdict. «news» is no plural of «new», nor «arms» always one of «arm»; a name has none, and a
number word in the plural is another number.
"""

from __future__ import annotations

from captionqa.core.answers.cleaning import is_words, without_article, words_key
from captionqa.core.answers.number_words import NUMBER_WORDS
from captionqa.core.answers.units import singular

_OTHER_WORDS = """
accounts airs amends archives arms ashes backwards bangs barracks belongings besides billiards blacks blinds blues
bottoms bowls braces brains breeches briefs briers browns cards chances charades checkers checks chips clothes
colors colours compasses contents corps crackers crossroads customs damages darts dealings does dozens draughts drawers
dregs earnings effects ends fireworks forces forwards funds gallows glasses goes goggles goods grays greens grounds
guts halves headquarters heads heights highlands honors honours horns indoors irons jacks jeans lens letters
liabilities limes links lodgings looks lowlands lyrics manners marbles masses means minutes news odds oranges
outdoors outskirts overseas pains pants parts pinks pipes pliers politics premises proceeds pulses purples quarters
rapids reds regards relations remains respects ruins runs sands savings scales scissors seconds series shades shakes
shears shorts silks skies slacks sometimes species spectacles spirits sports stocks strings suspenders sweets tails
tens terms thanks things this tights times tongs tops towards trousers trunks tweezers upstairs wages waters whereas
whites wits woods works yellows
"""
"""They mean something else than their singular may, or are none."""
_OTHERS = frozenset(_OTHER_WORDS.split())


def plural_of(first: str, second: str) -> bool:
    """Whether the texts are the same but for the number of their last word, and it is a common noun."""
    first, second = without_article(first), without_article(second)
    if not (is_words(first) and is_words(second)):
        return False
    (before, _, one), (other_before, _, other) = first.rpartition(" "), second.rpartition(" ")
    if words_key(before) != words_key(other_before) or (one[:1].isupper() and other[:1].isupper()):
        return False  # «Wales» and «Wale»
    one, other = one.casefold(), other.casefold()
    plural, single = (one, other) if len(one) > len(other) else (other, one)
    if not plural.isalpha() or plural in _OTHERS or plural.endswith("ics") or singular(plural) in NUMBER_WORDS:
        return False
    return plural != single and singular(plural) == singular(single)
