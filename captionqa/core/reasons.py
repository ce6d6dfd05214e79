"""Why an item has no answer: the short, stable words that are counted, recorded and explained in docs/errors.md.

In and out: values only. `errors.ImageProblem` has those of images that cannot be sent; a status that says nothing more
is ``http_<status>``.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """What came instead of an answer."""

    CONNECTION = "connection"
    """Refused, reset or cut in the middle."""
    TIMEOUT = "timeout"
    """Nothing complete within --request-timeout."""
    GARBAGE = "garbage"
    """200 with something that is no completion."""
    ERROR_IN_200 = "error_in_200"
    EMPTY = "empty"
    """200 without any text."""
    ABORTED = "aborted"
    """200 with an answer that the server gave up in the middle."""
    CUT = "cut"
    """A streamed answer (of ``ask`` and ``chat``) without its end."""
    CONTENT_FILTER = "content_filter"
    """The server withheld the text or a part of it."""
    NOT_A_CHOICE = "not_a_choice"
    """A letter was asked for with a constraint, and something else came."""
    TOO_LONG = "too_long"
    """Prompt and images do not fit into the model's context."""
    IMAGE_TOO_LARGE = "image_too_large"
    """One image has more tokens than the server's encoder takes."""
    TOO_MANY_IMAGES = "too_many_images"
    REPORTED = "reported_error"
    """A file of outputs (`captionqa score --outputs`) says that there is none."""
    MAX_TOKENS = "max_tokens"
    """--max-tokens alone is more than the model's context."""


def http_reason(status: int) -> str:
    return f"http_{status}"
