"""How CaptionQA's published scripts read a letter, kept as it is so that its numbers can be obtained again.

In: a model's text and the number of options. Out: a letter or None. It guesses where `core.extraction` does not (the
article «a» is option A) and misses what it finds; both scores are reported side by side. Source: qa.py and qa_image.py
of the CaptionQA benchmark (arXiv 2511.21025).
"""

from __future__ import annotations

import re

from captionqa.core.answers.options import LETTERS

_LETTER = re.compile(r"\b([A-Z])\b")
_NUMBER = re.compile(r"\b([1-9][0-9]?)\b")


def extract_letter_captionqa(output: str, options: int, *, first_line: bool = False) -> str | None:
    """The letter among the first ``options`` ones that the published extractor reads.

    Args:
        options: how many were shown, with «cannot answer» where it was.
        first_line: what the image script does with a text of several lines: it reads the first. The caption script
            reads what follows the first line break, so «B\\n» is no answer there.
    """
    if "</think>" in output:
        output = output.split("</think>", 1)[1]
    if "Answer: " in output:
        output = output.split("Answer: ", 1)[1]
    if "\n" in output:
        output = output.split("\n", 1)[0 if first_line else 1]
    letter = _LETTER.search(output.upper())
    if letter is not None and LETTERS.index(letter[1]) < max(1, options):
        return letter[1]
    number = _NUMBER.search(output)
    if number is not None and int(number[1]) <= max(1, options):
        return LETTERS[int(number[1]) - 1]
    return None
