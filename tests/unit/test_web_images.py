"""Images named by a person: paths, URLs, standard input, bytes, pictures; and every way in which they are none."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from captionqa.core.vision import ImagePolicy
from captionqa.data.given_images import load_picture
from captionqa.data.web_images import MAX_REDIRECTS, fetch_image, shown_url
from captionqa.errors import BadImage, ImageError, ImageProblem, InputError, MissingImage

if TYPE_CHECKING:
    from tests.unit.conftest import Reply, ScriptedHttp

MakeReply = Callable[..., "Reply"]
POLICY = ImagePolicy()
UNSAID = -1


@pytest.fixture(autouse=True)
def _no_settings(without_settings: Path) -> None:
    pass


def png(size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_what_lies_behind_a_url_is_fetched_and_looked_at_like_a_file(
    scripted_http: ScriptedHttp, reply: MakeReply
) -> None:
    scripted_http.replies = [reply(status=302, headers=(("Location", "/real.png"),)), reply(png())]
    picture = load_picture(f"{scripted_http.url}/a.png?token=s3cret", POLICY)
    assert (picture.facts["width"], picture.facts["height"], picture.facts["untouched"]) == (64, 48, True)
    assert picture.part["image_url"]["url"].startswith("data:image/png;base64,")
    assert picture.name == f"{scripted_http.url}/a.png"
    assert [path for path, _, _ in scripted_http.requests] == ["/a.png?token=s3cret", "/real.png"]


def failure(server: ScriptedHttp, *replies: Reply, **bounds: Any) -> ImageError:
    server.replies = list(replies)
    with pytest.raises(ImageError) as raised:
        fetch_image(f"{server.url}/a.png?token=s3cret", **bounds)
    assert "s3cret" not in str(raised.value)
    assert f"{server.url}/a.png" in str(raised.value)
    return raised.value


@pytest.mark.parametrize("status", [404, 410])
def test_an_address_without_an_image_is_a_missing_one(
    scripted_http: ScriptedHttp, reply: MakeReply, status: int
) -> None:
    assert isinstance(failure(scripted_http, reply(status=status)), MissingImage)


@pytest.mark.parametrize("status", [401, 403, 500, 204])
def test_whatever_is_not_200_is_no_image(scripted_http: ScriptedHttp, reply: MakeReply, status: int) -> None:
    error = failure(scripted_http, reply(status=status))
    assert isinstance(error, BadImage)
    assert str(status) in str(error)


def test_no_more_is_fetched_than_is_allowed(scripted_http: ScriptedHttp, reply: MakeReply) -> None:
    body = b"x" * 5000
    assert len(fetch_image_of(scripted_http, reply(body), max_bytes=5000)) == 5000
    assert "more than the 4,999 bytes" in str(failure(scripted_http, reply(body), max_bytes=4999))
    unsaid = reply(body, length=UNSAID)
    assert len(fetch_image_of(scripted_http, unsaid, max_bytes=5000)) == 5000
    assert "more than the 4,999 bytes" in str(failure(scripted_http, unsaid, max_bytes=4999))
    claimed = reply(b"", length=1 << 40)
    assert "more than the 4,999 bytes" in str(failure(scripted_http, claimed, max_bytes=4999))


def fetch_image_of(server: ScriptedHttp, *replies: Reply, **bounds: Any) -> bytes:
    server.replies = list(replies)
    data = fetch_image(f"{server.url}/a.png", **bounds).data
    assert data is not None
    return data


def test_a_site_that_takes_for_ever_is_given_up(scripted_http: ScriptedHttp, reply: MakeReply) -> None:
    assert "not complete in time" in str(failure(scripted_http, reply(png()), most_s=-1.0))


def test_redirects_end(scripted_http: ScriptedHttp, reply: MakeReply) -> None:
    around = reply(status=302, headers=(("Location", "/a.png?token=s3cret"),))
    assert f"more than {MAX_REDIRECTS} redirects" in str(failure(scripted_http, around))
    assert len(scripted_http.requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://example.org/a.png"])
def test_only_http_is_fetched_also_behind_a_redirect(scripted_http: ScriptedHttp, reply: MakeReply, place: str) -> None:
    with pytest.raises(BadImage, match="only http and https"):
        fetch_image(place)
    away = reply(status=302, headers=(("Location", place),))
    assert failure(scripted_http, away).problem is ImageProblem.BAD_VALUE


def test_nobody_there_is_said_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BadImage, match="cannot be fetched") as raised:
        fetch_image(f"http://me:s3cret@127.0.0.1:{port}/a.png")
    assert "s3cret" not in str(raised.value)
    assert shown_url("https://me:s3cret@host/a%20b.png?x=1#y") == "https://host/a b.png"


def test_the_way_out_to_the_internet_may_be_a_proxy(
    scripted_http: ScriptedHttp, reply: MakeReply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", scripted_http.url)
    scripted_http.replies = [reply(png())]
    assert fetch_image("http://images.invalid/a.png").data == png()
    assert scripted_http.requests[0][0] == "http://images.invalid/a.png"


def test_an_error_page_is_no_image(scripted_http: ScriptedHttp, reply: MakeReply) -> None:
    scripted_http.replies = [reply(b"<html>Please log in</html>", headers=(("Content-Type", "image/png"),))]
    with pytest.raises(InputError, match="HTML page"):
        load_picture(f"{scripted_http.url}/a.png", POLICY)


def test_paths_bytes_pictures_and_standard_input_are_images(without_settings: Path) -> None:
    data = png()
    Path("a.png").write_bytes(data)
    given = ["a.png", Path("a.png"), str(without_settings / "a.png"), data, Image.new("RGB", (64, 48), "red")]
    pictures = [load_picture(image, POLICY) for image in given]
    pictures.append(load_picture("-", POLICY, stdin=io.BytesIO(data)))
    assert {(picture.facts["width"], picture.facts["height"]) for picture in pictures} == {(64, 48)}
    assert [picture.name for picture in pictures[:2]] == ["a.png", "a.png"]
    assert load_picture(png((100, 100)), ImagePolicy(max_pixels=2500)).facts["width"] == 50


@pytest.mark.parametrize(
    ("given", "cause", "words"),
    [
        ("none.png", ImageProblem.MISSING, "no such file"),
        (".", ImageProblem.UNREADABLE, "is a folder"),
        ("text.png", ImageProblem.NOT_AN_IMAGE, "is not an image"),
        ("-", ImageProblem.MISSING, "-: there is no such file"),
        (b"", ImageProblem.EMPTY, "is empty"),
        (b"BM", ImageProblem.NOT_AN_IMAGE, "is not an image"),
        (7, ImageProblem.BAD_VALUE, "int"),
    ],
)
def test_what_is_no_image_is_unusable_input_with_its_typed_problem(given: Any, cause: ImageProblem, words: str) -> None:
    Path("text.png").write_text("words")
    with pytest.raises(InputError, match=words) as raised:
        load_picture(given, POLICY)
    assert isinstance(raised.value.__cause__, ImageError)
    assert raised.value.__cause__.problem is cause
