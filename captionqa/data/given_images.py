"""Images that a person names one by one: a path, a URL, «-» for standard input, or, in a program, bytes and pictures.

In: what was given. Out: a prepared image, through the same code as a data set's (`data.images`). Unlike a data set's
images these may lie anywhere, and one that cannot be used ends the question.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from captionqa.core.conversation import Picture
from captionqa.core.items import ImageSource
from captionqa.core.vision import ImagePolicy
from captionqa.data.images import PreparedImage, prepare_image
from captionqa.data.web_images import fetch_image, is_url
from captionqa.errors import BadImage, ImageError, ImageProblem, InputError, MissingImage

if TYPE_CHECKING:
    from PIL import Image

STDIN = "-"

GivenImage: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"
"""A path or URL, an image file's bytes, or a Pillow picture."""


def load_picture(given: GivenImage, policy: ImagePolicy, stdin: BinaryIO | None = None) -> Picture:
    """Read, or fetch, one image and make it fit to send.

    Args:
        stdin: what «-» stands for; None takes «-» for a file's name.

    Raises: InputError; its cause is the ImageError with the typed problem.
    """
    try:
        return as_picture(prepare_image(_source(given, stdin, policy), policy))
    except ImageError as error:
        raise InputError(str(error)) from error


def as_picture(image: PreparedImage) -> Picture:
    part: dict[str, Any] = json.loads(b"".join(image.pieces))
    return Picture(image.name, part, {**image.to_dict(), "sent_bytes": image.sent_bytes}, image.uuid)


def _source(given: GivenImage, stdin: BinaryIO | None, policy: ImagePolicy) -> ImageSource:
    if isinstance(given, bytes):
        return ImageSource("the image", data=given)
    if not isinstance(given, (str, os.PathLike)):
        return ImageSource("the picture", data=_encoded(given))
    name = os.fspath(given)
    if name == STDIN and stdin is not None:
        # One byte more than is allowed is enough to be refused for its size.
        return ImageSource("standard input", data=stdin.read(policy.max_file_bytes + 1))
    if isinstance(given, str) and is_url(name):
        return fetch_image(name)
    path = Path(name).expanduser()
    if path.is_dir():
        text = f"{name}: is a folder; name one image, or caption all of them with `captionqa caption --dataset-path`"
        raise BadImage(ImageProblem.UNREADABLE, text)
    if not os.path.lexists(path):
        raise MissingImage(f"{name}: there is no such file; give an image's path, its URL, or - for standard input")
    return ImageSource(name, path=str(path.absolute()))


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    kind = type(picture).__name__
    if not hasattr(picture, "save"):
        text = f"{kind}: no image; give a path, a URL, the bytes of an image file or a Pillow picture"
        raise BadImage(ImageProblem.BAD_VALUE, text)
    try:
        picture.save(buffer, "PNG")
    except (OSError, ValueError) as error:
        text = f"{kind}: a picture that cannot be saved ({error}); give the path or the bytes of an image file"
        raise BadImage(ImageProblem.BAD_VALUE, text) from error
    return buffer.getvalue()
