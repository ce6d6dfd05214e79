"""Whether a text has run into a loop, as greedy decoding does. In: an output. Out: yes or no. Linear in the text."""

from __future__ import annotations

LEAST_TIMES = 4
"""A piece said three times may be meant."""
LEAST_CHARACTERS = 120
"""That the repeated pieces cover together: a rule of dashes or a short list of equal cells is no loop."""
_PROBE = 24
_SEPARATOR = 2
"""Characters between two pieces, which the last one has none of behind it."""


def repeats_itself(text: str) -> bool:
    """Whether the text ends in one piece written at least `LEAST_TIMES` in a row, over at least `LEAST_CHARACTERS`.

    The piece may be of any length and the last one may be cut. Its length is the distance between the text's last
    `_PROBE` characters and where they stood before; then equal pieces are counted back from the end. Loops whose
    pieces differ (a counter that runs on) are not found.
    """
    text = text.rstrip()
    length = len(text)
    if length < LEAST_CHARACTERS:
        return False
    before = text.rfind(text[-_PROBE:], 0, length - 1)
    if before < 0:
        return False
    period = length - _PROBE - before
    piece = text[length - period :]
    start = length - period
    while start >= period and text.startswith(piece, start - period):
        start -= period
    if 0 < start < period and piece.endswith(text[:start]):  # the text begins within a piece
        start = 0
    repeated = length - start + _SEPARATOR
    return repeated >= LEAST_CHARACTERS and repeated >= LEAST_TIMES * period
