"""Prompts: template text and values in, prompt text and interleaved content out.

Templates are Jinja with StrictUndefined: a name that is not given is an error, never an empty string. Data is passed
as values and is never compiled, so a question that contains «{{» is only text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import jinja2
import jinja2.meta

from captionqa.errors import UsageError

IMAGE_TOKEN = "<image>"

ImageT = TypeVar("ImageT")

_ENVIRONMENT = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False)


@lru_cache(maxsize=32)
def compile_template(text: str) -> jinja2.Template:
    """Raises: UsageError with the line when the template is not valid Jinja."""
    try:
        return _ENVIRONMENT.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(
            f"prompt template, line {error.lineno}: {error.message}. Correct the template file."
        ) from error


def names_used(template: str) -> frozenset[str]:
    """The names that a template takes from outside. Raises: UsageError as `compile_template` does."""
    compile_template(template)
    return frozenset(jinja2.meta.find_undeclared_variables(_ENVIRONMENT.parse(template)))


def render_prompt(template: str, **values: object) -> str:
    """The prompt's text, without surrounding white space.

    Raises: UsageError when the template uses a name that is not given (the message lists the known ones) or cannot be
    carried out.
    """
    try:
        return compile_template(template).render(**values).strip()
    except jinja2.UndefinedError as error:
        known = ", ".join(sorted(values))
        raise UsageError(f"prompt template: {error.message}. Names a template may use here: {known}.") from error
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise UsageError(f"prompt template: {error}. Correct the template file.") from error


def interleave(text: str, images: Sequence[ImageT]) -> tuple[tuple[str | ImageT, ...], bool]:
    """Content in the order the model reads it, and whether the ``<image>`` placeholders fitted.

    As many placeholders as images: each image takes the place of its own. No placeholder: images first. Any other
    number: images first, placeholders removed, and the second value is False, so that the item can be flagged
    (about 2 % of ViRL39K).
    """
    pieces = text.split(IMAGE_TOKEN)
    placeholders = len(pieces) - 1
    if placeholders == len(images) and placeholders:
        parts: list[str | ImageT] = [pieces[0].strip()]
        for image, piece in zip(images, pieces[1:], strict=True):
            parts += [image, piece.strip()]
        return tuple(part for part in parts if part != ""), True
    rest = "".join(pieces).strip() if placeholders else text.strip()
    return (*images, rest), placeholders == 0
