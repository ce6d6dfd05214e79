"""Whether a text has run into a loop, as greedy decoding does. In: an output. Out: yes or no. Linear in the text."""

from __future__ import annotations

LEAST_TIMES = 4
"""A piece said three times may be meant."""
LEAST_CHARACTERS = 120
"""That the repeated pieces cover together: a rule of dashes or a short list of equal cells is no loop."""
_SEPARATOR = 2
"""Characters between two pieces, which the last one has none of behind it."""
_PROBE = (LEAST_CHARACTERS - _SEPARATOR) * (LEAST_TIMES - 1) // LEAST_TIMES
"""So many characters at the end stand one piece before, too, whatever the piece."""
_MOST_TRIES = 32
"""Lengths of the piece that are tried, so that no text takes longer than its length allows."""


def repeats_itself(text: str) -> bool:
    """Whether the text ends in one piece written at least `LEAST_TIMES` in a row, over at least `LEAST_CHARACTERS`.

    The piece may be of any length and the last one may be cut. Lengths that are tried are the distances between the
    text's last `_PROBE` characters and where they stood before; then equal pieces are counted back from the end. Loops
    whose pieces differ (a counter that runs on) are not found.
    """
    text = text.rstrip()
    length = len(text)
    if length < LEAST_CHARACTERS:
        return False
    probe, end = text[-_PROBE:], length - 1
    for _ in range(_MOST_TRIES):
        before = text.rfind(probe, 0, end)
        period = length - _PROBE - before
        if before < 0 or period * LEAST_TIMES > length + _SEPARATOR:
            return False
        repeated = _repeated(text, period)
        if repeated + _SEPARATOR >= max(LEAST_CHARACTERS, LEAST_TIMES * period):
            return True
        # A longer piece that ends in these repeats itself («……» at the end of a sentence) is at least as long as they
        # are together.
        end = min(before + _PROBE - 1, length - (repeated - period))
    return False


def _repeated(text: str, period: int) -> int:
    """How many characters at the end are the last ``period`` ones over and over."""
    piece = text[-period:]
    start = len(text) - period
    while start >= period and text.startswith(piece, start - period):
        start -= period
    if start < period and piece.endswith(text[:start]):  # the text begins within a piece
        start = 0
    return len(text) - start
