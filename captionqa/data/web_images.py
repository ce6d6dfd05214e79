"""Images from the web: a URL in, the bytes behind it out, fetched by this process and never by the server.

Bounded in size, time and redirects; http and https only. Whether the bytes are an image is decided where files are
looked at too (`data.images`). A proxy from the environment is used: this is the way out to the internet, not a node of
the cluster.
"""

from __future__ import annotations

import time
from urllib.parse import unquote, urlsplit

import httpx2

from captionqa import __version__
from captionqa.core.items import ImageSource
from captionqa.errors import BadImage, ImageProblem, MissingImage

MAX_BYTES = 64 << 20
MAX_REDIRECTS = 5
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 20.0
MOST_S = 60.0
"""For the whole of it: a server that sends a byte now and then must not hold up a question for ever."""

# Not compressed on the way: the bound then holds for what is kept as well as for what is received. Some sites refuse
# clients that do not say who they are.
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"captionqa/{__version__}"}


def is_url(text: str) -> bool:
    return "://" in text


def fetch_image(url: str, *, max_bytes: int = MAX_BYTES, most_s: float = MOST_S) -> ImageSource:
    """The bytes behind a URL, named by its address without query and password.

    Raises: MissingImage for 404 and 410; BadImage for everything else that is not 200 with at most ``max_bytes``.
    """
    name = shown_url(url)
    if urlsplit(url).scheme.lower() not in ("http", "https"):
        raise BadImage(ImageProblem.BAD_VALUE, f"{name}: only http and https are fetched; give a file by its path")
    timeout = httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        with (
            httpx2.Client(
                follow_redirects=True, max_redirects=MAX_REDIRECTS, timeout=timeout, headers=_HEADERS
            ) as client,
            client.stream("GET", url) as response,
        ):
            return ImageSource(name, data=_read(response, name, max_bytes, time.monotonic() + most_s))
    except httpx2.TooManyRedirects as error:
        text = f"{name}: more than {MAX_REDIRECTS} redirects; give the image's own address"
        raise BadImage(ImageProblem.UNREADABLE, text) from error
    except httpx2.TimeoutException as error:
        text = f"{name}: no answer within {READ_TIMEOUT_S:.0f} s; try again, or download it and give the file"
        raise BadImage(ImageProblem.UNREADABLE, text) from error
    except httpx2.UnsupportedProtocol as error:
        text = f"{name}: it leads to an address that is not http or https, which is not followed"
        raise BadImage(ImageProblem.BAD_VALUE, text) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise BadImage(ImageProblem.UNREADABLE, f"{name}: cannot be fetched ({error}); check the address") from error


def shown_url(url: str) -> str:
    """The URL without what may be secret (user, password, query), and not longer than a line."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"
    return text if len(text) <= 200 else f"{text[:199]}…"


def _read(response: httpx2.Response, name: str, max_bytes: int, deadline: float) -> bytes:
    if response.status_code in (404, 410):
        raise MissingImage(f"{name}: the site says that there is no such image ({response.status_code})")
    if response.status_code != httpx2.codes.OK:
        text = (
            f"{name}: the site answers {response.status_code} {response.reason_phrase}; download it and give the file"
        )
        raise BadImage(ImageProblem.UNREADABLE, text)
    length = response.headers.get("Content-Length", "")
    too_large = BadImage(
        ImageProblem.UNREADABLE, f"{name}: more than the {max_bytes:,} bytes fetched for one image; make it smaller"
    )
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large
    received = bytearray()
    for piece in response.iter_raw():
        received += piece
        if len(received) > max_bytes:
            raise too_large
        if time.monotonic() > deadline:
            text = f"{name}: not complete in time ({len(received):,} bytes came); download it and give the file"
            raise BadImage(ImageProblem.UNREADABLE, text)
    return bytes(received)
