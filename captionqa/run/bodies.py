"""Bodies: one request in the forms that it may take, of which a server gets the shortest that it understands.

An image is written whole (a data URL), as a file that the server reads itself, or as a reference to one that this
server was sent before. In: pieces of JSON. Out: bytes. Which server knows what is not decided here.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from captionqa.core.items import ImageSource

Pieces = tuple[bytes, ...]

_SESSION = secrets.token_hex(16)


class ImageForm(Enum):
    """How an image is written in one request."""

    WHOLE = auto()
    FILE = auto()
    REFERENCE = auto()
    """By its uuid alone."""


@dataclass(frozen=True, slots=True)
class SendableImage:
    """One image of a request."""

    uuid: str
    """Stands for the very bytes that are sent: two images with the same uuid are the same pixels."""
    shared: bool
    """Whether other requests are about it too, so that it is worth while to send it with its uuid."""
    whole: Pieces | Callable[[], Pieces]
    """The content part with the image's bytes, or what reads them. Raises: ImageError."""
    file: Pieces | None = None
    """The content part with its ``file://`` URL, where the server would see the same pixels."""

    @property
    def at_hand(self) -> bool:
        """Whether no file has to be read for it to be written whole."""
        return not callable(self.whole)

    @property
    def weight(self) -> int:
        """Bytes that are held."""
        return sum(map(len, (*(() if callable(self.whole) else self.whole), *(self.file or ()))))

    def written(self, form: ImageForm, *, named: bool) -> Pieces:
        """The content part; ``named``: with its uuid, for references later on. Raises: as ``whole``."""
        if form is ImageForm.REFERENCE:
            return (b'{"type":"image_url","image_url":null,"uuid":"%b"}' % self.uuid.encode(),)
        if form is ImageForm.FILE and self.file is not None:
            pieces = self.file
        else:
            pieces = self.whole() if callable(self.whole) else self.whole
        if not (named and self.shared):
            return pieces
        return (*pieces[:-1], pieces[-1][:-1], b',"uuid":"%b"}' % self.uuid.encode())


@dataclass(frozen=True, slots=True)
class Body:
    """One request with images that have several forms."""

    pieces: tuple[bytes | SendableImage, ...]

    @property
    def images(self) -> tuple[SendableImage, ...]:
        return tuple(piece for piece in self.pieces if isinstance(piece, SendableImage))

    @property
    def weight(self) -> int:
        return sum(len(piece) if isinstance(piece, bytes) else piece.weight for piece in self.pieces)

    def written(self, forms: Sequence[ImageForm], *, named: bool) -> bytes:
        """The request with its images in these forms, in order. Raises: ImageError, from reading one."""
        chosen = iter(forms)
        pieces: list[bytes] = []
        for piece in self.pieces:
            if isinstance(piece, bytes):
                pieces.append(piece)
            else:
                pieces.extend(piece.written(next(chosen), named=named))
        return b"".join(pieces)

    def whole(self) -> bytes:
        return self.written([ImageForm.WHOLE] * len(self.images), named=False)


def file_uuid(source: ImageSource) -> str:
    """For a file that is not read here. Good for this process alone: another one may find other bytes in it."""
    value = json.dumps([_SESSION, source.path, source.version])
    return hashlib.sha256(value.encode("ascii")).hexdigest()[:40]
