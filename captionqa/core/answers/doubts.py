"""What a text says instead of an answer: that it cannot tell, that it is hard to; and what it chooses all the same.

In: text blanked by `sections.without_markup`. Out: where it doubts, the text without its doubts, and whether a choice
outweighs them. «I can't be sure, but C» chooses; «I cannot see the picture. It shows a dog» does not.
"""

from __future__ import annotations

import re

from captionqa.core.answers.denial import after_concession
from captionqa.core.answers.letters import Reading, Reason
from captionqa.core.answers.sections import SENTENCES

REFUSAL = re.compile(
    r"\b(?:i'?m|i am|we are) (?:sorry|unable|not able)\b|\bi (?:cannot|can't|can not|could not|couldn't|won't)\b"
    r"|\b(?:cannot|can't|can not|could not|couldn't|unable to|impossible to|not possible to) "
    r"(?:be )?(?:\w{1,14} ){0,3}(?:determine|determined|answer|answered|tell|say|identify|provide|assist|help"
    r"|select|choose|know|see|conclude)"
    r"|\b(?:not|n't) (?:\w{1,12} ){0,3}(?:(?:enough|sufficient)(?!\s\w)|(?:enough"
    r"|sufficient)(?= (?:\w{1,12} )?(?:information|info"
    r"|details?|data|context|evidence|clues?|to (?:determine|tell|say|answer|decide|know|conclude|identify"
    r"|choose|see))\b)"
    r"|possible\b|provide information\b|able\b|clear(?!\s(?!enough|whether|which|what|how|if|from|in)\w))"
    r"|\binsufficient information"
    r"|\b(?:please (?:provide|select|describe|upload)|error:|failed to)\b|\bcan(?:not|'t) (?:determine|tell|say"
    r"|answer)"
    r"|\bno (?:potted|visible|image|(?:idea|clue|comment|answer)(?=\s{0,3}(?:[.!,;]|$)))|无法|不能确定|抱歉",
    re.IGNORECASE,
)
_SHRUG = (
    r"(?:do not|don'?t) (?:really )?know|have no (?:idea|clue)|(?:am|'m) (?:not|un)\s?(?:really |quite |entirely )?"
    r"(?:sure|certain)"
)
NO_ANSWER = re.compile(
    r"[\s*\"'(]*(?:(?:sorry|well|hmm|no|unfortunately)[,.]?\s)?(?:"
    rf"i\s?(?:really |honestly |just )?(?:{_SHRUG})(?:\s[^.,;:!?\d]{{1,60}})?|idk|dunno|don'?t know|n/a|n\.a\."
    r"|(?:i have |there(?: i|')s |have )?(?:no|not a) (?:idea|clue|answer|comment)"
    r"|not (?:really |quite |entirely )?(?:sure|certain|known|available|applicable)|(?:i am |i'm )?unsure"
    r"|(?:(?:it|this|that|the [a-z ]{1,40}|the answer)(?: is|'s| remains) )?(?:unknown|unclear|unanswerable)"
    r"|there(?: i|')s no way (?:to (?:know|tell|say|determine)|of (?:knowing|telling))(?:\s[^.,;:!?\d]{1,60})?"
    r"|我?(?:也|真的?|还)?(?:不知道|不清楚|不确定|不晓得|不能(?:确定|判断|回答))|(?:答案)?(?:未知|不明确?|不详|难以(?:确定|判断|回答))"
    r"|(?:没有|无)答案|不好说|说不(?:清|准|好)"
    r")[\s.!。…*\"')]*",
    re.IGNORECASE,
)
"""The whole of a text that gives no answer: «I don't know», «N/A». Within a longer one the words say less."""
_HEDGE = re.compile(
    r"\b(?:difficult|hard|challenging|tricky) to\b|难以(?:判断|确定)|不(?:太|能完全)?(?:确定|好说)", re.IGNORECASE
)
"""Less than a refusal: a conclusion may follow."""
_TURN = re.compile(
    r"[;:—-]\s{1,3}(?=(?:maybe|perhaps|possibly|probably|presumably|my (?:best )?guess)\b)|[,;.—-]\s{0,2}(?:but"
    r"|however|still|nevertheless|nonetheless|yet|though|although|assuming[^.,\n]{0,80}"
    r"|that said)\b,?\s|[,;]\s?(?:但|不过|然而)(?:是)?",
    re.IGNORECASE,
)
_CHOOSES = re.compile(
    r"\b(?:(?:more|most) (?:\w+ )?(?:likely|probabl[ey]|plausible)|likel(?:y|iest)|probably|closest|guess|appears?"
    r"|seems?|looks?|most|consistent|perhaps|maybe|possibly|presumably|suppose|match(?:es)?|lean\w*|best|i'd|i would"
    r"|choose|pick"
    r"|select|go(?:ing)? with|answer|therefore|so|thus|hence|conclusion|inclined|educated|assuming|suggests?"
    r"|point(?:s|ing)? to(?:wards?)?)\b|[-=]>|→"
    r"|最|更|应该?|选|倾向|概率|大概|可能|因此|所以|推测",
    re.IGNORECASE,
)
_PREFERS = re.compile(
    r"\b(?:(?:more|most) (?:\w+ )?(?:likely|probabl[ey]|plausible)|likel(?:y|iest)|probably|closest|guess|most|perhaps"
    r"|maybe|possibly|presumably|lean\w*|best|i'd|i would|choose|pick|select|go(?:ing)? with|inclined|educated|assuming"
    r"|but|however|still|though|yet)\b|最|更|选|倾向|概率|大概|可能|推测|但",
    re.IGNORECASE,
)
"""What is more than a conclusion from nothing: an outright refusal was said before."""
_CERTAINTY = re.compile(
    r"\b(?:certain(?:ty|ly)?|definit\w+|exact(?:ly)?|sure|conclusive\w*|absolute\w*|confiden\w+|precise\w*|100)\b|完全"
    r"|百分之百|肯定|绝对",
    re.IGNORECASE,
)


def first(plain: str) -> Reading | None:
    """The first place that refuses, or else hedges."""
    match = REFUSAL.search(plain) or _HEDGE.search(plain)
    return Reading(None, Reason.REFUSAL, match.start(), match.end()) if match else None


def without(plain: str) -> str:
    """The text with as many blanks for each sentence that doubts, up to its «but»."""
    pieces = []
    for sentence in SENTENCES.finditer(plain):
        start, end = sentence.span()
        doubt = REFUSAL.search(plain, start, end) or _HEDGE.search(plain, start, end)
        if doubt is not None:
            turn = _TURN.search(plain, doubt.end(), end)
            conceded = after_concession(plain, start, end)
            stop = turn.end() if turn else conceded if conceded > doubt.start() else end
            pieces.append(" " * (stop - start) + plain[stop:end])
        else:
            pieces.append(sentence.group())
    return "".join(pieces)


def outweighed(plain: str, chosen: Reading) -> bool:
    """Whether the sentence of a choice says that it is one, and no refusal follows but of certainty."""
    start = max(plain.rfind(sign, 0, chosen.start) for sign in (". ", "\n", "。")) + 1
    stop = next((match.end() for match in SENTENCES.finditer(plain, chosen.end) if match.group().strip()), len(plain))
    refused = REFUSAL.search(plain)
    outright = refused is not None and not _certainty(plain, refused)
    if not _CHOOSES.search(plain, start, stop) or (outright and not _PREFERS.search(plain, start, stop)):
        return False
    return all(_certainty(plain, match) for match in REFUSAL.finditer(plain, chosen.end))


def _certainty(plain: str, refused: re.Match[str]) -> bool:
    """Whether only certainty is denied: «I cannot say for certain»."""
    return _CERTAINTY.search(plain, max(0, refused.start() - 40), refused.end() + 60) is not None
