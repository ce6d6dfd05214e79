r"""Balanced LaTeX boxes: ``\boxed{…}`` and ``\fbox{…}``.

Text flows in, offsets of the contents flow out. Never matches an unbalanced box.
"""

from __future__ import annotations

import re

_OPENS = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{")
_BRACE = re.compile(r"\\[{}\\]|[{}]")


def last_box(text: str) -> tuple[int, int] | None:
    """Offsets of the contents of the last balanced box. A box inside a box is part of the outer one's contents, and
    the outer one is the last only if no other starts after it."""
    opens = {match.end() - 1: match.end() for match in _OPENS.finditer(text)}
    if not opens:
        return None
    stack: list[int] = []
    best: tuple[int, int] | None = None
    for match in _BRACE.finditer(text, min(opens)):
        brace = match.group()
        if brace == "{":
            stack.append(match.start())
        elif brace == "}" and stack:
            start = stack.pop()
            if start in opens and (best is None or start > best[0] - 1):
                best = (opens[start], match.start())
    return best


def has_box(text: str) -> bool:
    """Whether a box starts anywhere, balanced or not."""
    return _OPENS.search(text) is not None
