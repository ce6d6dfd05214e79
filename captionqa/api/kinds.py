"""Arguments of another kind than is taken, refused in words before anything is asked or written."""

from __future__ import annotations

GENERATION = "captionqa.Generation(temperature=0), or leave it out"


def refuse_other_kind(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raises: TypeError. The value itself is not shown: it may hold a key."""
    if not isinstance(value, kinds):
        given = "None" if value is None else f"a value of type {type(value).__name__}"
        raise TypeError(f"{name}: {given} was given. Give {wanted}.")
