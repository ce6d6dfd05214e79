"""Images: every kind that is sent, by content, by file, and by the name of one that was sent before."""

from __future__ import annotations

import uuid

import pytest

from captionqa.core.replies import Verdict, classify_error

from .endpoint import BLUE, QUESTION, Endpoint, image, picture

KINDS = {
    "png": (picture(), "image/png"),
    "jpeg": (picture(file_format="JPEG"), "image/jpeg"),
    "webp": (picture(file_format="WEBP"), "image/webp"),
    "gif": (picture(file_format="GIF"), "image/gif"),
    "bmp": (picture(file_format="BMP"), "image/bmp"),
    "tiff": (picture(file_format="TIFF"), "image/tiff"),
    "png called jpeg": (picture(), "image/jpeg"),
    "jpeg called png": (picture(file_format="JPEG"), "image/png"),
    "no image's type": (picture(), "application/octet-stream"),
    "rgba": (picture(mode="RGBA"), "image/png"),
    "palette": (picture(mode="P"), "image/png"),
    "wide": (picture(size=(128, 64)), "image/png"),
}
UNNAMED = {
    "gray": picture(mode="L"),
    "gray with alpha": picture(mode="LA"),
    "one bit": picture(mode="1"),
    "cmyk": picture(mode="CMYK", file_format="JPEG"),
    "one pixel": picture(size=(1, 1)),
    "smaller than a token": picture(size=(20, 20)),
    "a line": picture(size=(190, 1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_red_circle_is_red_in_every_format(endpoint: Endpoint, kind: str) -> None:
    content, mime = KINDS[kind]
    assert endpoint.ask(image(content, mime=mime), QUESTION).text == "A"


@pytest.mark.parametrize("kind", UNNAMED)
def test_images_whose_colour_nobody_can_tell_are_answered(endpoint: Endpoint, kind: str) -> None:
    """Gray and tiny ones: that there is an answer is all that holds for every engine."""
    reply = endpoint.ask(image(UNNAMED[kind]), QUESTION, structured_outputs={"choice": ["A", "B", "C", "D"]})
    assert reply.text in "ABCD"


def test_several_images_are_counted_and_answered(endpoint: Endpoint) -> None:
    """What a model makes of two, even nothing, is its own; one that knows only one picture may say nothing at all."""
    used = []
    for number in (1, 2, 4):
        reply = endpoint.ask(*[image(picture())] * number, "Compare.")
        assert reply.choice["finish_reason"] in ("stop", "length")
        used.append(reply.usage["prompt_tokens"])
    assert used[2] - used[1] == 2 * (used[1] - used[0])


def test_images_and_texts_may_alternate(endpoint: Endpoint) -> None:
    reply = endpoint.ask("First:", image(picture()), "Second:", image(picture(BLUE)), "Which is red?", max_tokens=4)
    assert reply.status == 200


# By the name of one that was sent before


def test_an_image_need_not_be_sent_twice(endpoint: Endpoint) -> None:
    name = uuid.uuid4().hex
    first = endpoint.ask(image(picture(BLUE), uuid=name), QUESTION)
    before = endpoint.metrics()
    again = endpoint.ask(image(None, uuid=name), QUESTION)
    assert (again.text, again.usage) == (first.text, first.usage) == ("B", first.usage)
    other = endpoint.ask(image(None, uuid=name), "Describe the image.", max_tokens=32)
    assert "blue" in other.text
    after = endpoint.metrics()
    assert after["vllm:mm_cache_queries_total"] - before["vllm:mm_cache_queries_total"] == 2
    assert after["vllm:mm_cache_hits_total"] - before["vllm:mm_cache_hits_total"] == 2


def test_an_empty_image_url_beside_the_name_will_do(endpoint: Endpoint) -> None:
    name = uuid.uuid4().hex
    endpoint.ask(image(picture(), uuid=name), QUESTION)
    assert endpoint.ask({"type": "image_url", "image_url": {}, "uuid": name}, QUESTION).text == "A"
    without = endpoint.ask({"type": "image_url", "uuid": name}, QUESTION)
    assert (without.status, without.message) == (400, "Missing 'type' field in multimodal part. (parameter=type)")


def test_a_name_that_was_never_sent_is_a_miss_that_says_so(endpoint: Endpoint) -> None:
    reply = endpoint.ask(image(None, uuid=uuid.uuid4().hex), QUESTION)
    assert reply.status == 400
    assert reply.message == "Cache miss for image at index 0 but data is not provided."
    second = endpoint.ask(image(picture()), image(None, uuid=uuid.uuid4().hex), QUESTION)
    assert second.message == "Cache miss for image at index 1 but data is not provided."


def test_a_known_name_counts_and_not_what_comes_with_it(endpoint: Endpoint) -> None:
    """So a name has to be made from the content: another image under the same name is never looked at."""
    name = uuid.uuid4().hex
    assert endpoint.ask(image(picture(), uuid=name), QUESTION).text == "A"
    assert endpoint.ask(image(picture(BLUE), uuid=name), QUESTION).text == "A"


def test_neither_content_nor_name_is_refused(endpoint: Endpoint) -> None:
    reply = endpoint.ask(image(None), QUESTION)
    assert reply.status == 400
    assert "Input should be a valid dictionary" in reply.message


# By file


def test_a_file_in_the_servers_folder_is_read(endpoint: Endpoint) -> None:
    for name in ("blue.png", "with a space.png"):
        path = endpoint.media / name
        path.write_bytes(picture(BLUE))
        assert endpoint.ask(image(path.as_uri()), QUESTION).text == "B"


def test_a_file_that_is_not_there_is_a_permanent_500(endpoint: Endpoint) -> None:
    reply = endpoint.ask(image((endpoint.media / "none.png").as_uri()), QUESTION)
    assert reply.status == 500
    assert reply.message == "[Errno 2] No such file or directory: '<path>'"
    assert classify_error(reply.status, reply.headers, reply.body).verdict is Verdict.REJECTED


@pytest.mark.parametrize("path", ["/etc/hostname", "{media}/../outside.png", "{media}", "{media}/link.png"])
def test_a_file_outside_of_the_servers_folder_is_refused(endpoint: Endpoint, path: str) -> None:
    outside = endpoint.media.parent / "outside.png"
    outside.write_bytes(picture())
    (endpoint.media / "link.png").unlink(missing_ok=True)
    (endpoint.media / "link.png").symlink_to(outside)
    reply = endpoint.ask(image(f"file://{path.format(media=endpoint.media)}"), QUESTION)
    assert reply.status == 400
    assert "must be a subpath of `--allowed-local-media-path" in reply.message
    assert classify_error(reply.status, reply.headers, reply.body).verdict is Verdict.REJECTED


def test_a_file_that_is_no_image_is_refused(endpoint: Endpoint) -> None:
    path = endpoint.media / "text.png"
    path.write_text("no image")
    reply = endpoint.ask(image(path.as_uri()), QUESTION)
    assert (reply.status, reply.message.partition(":")[0]) == (400, "Failed to load image")


def test_no_file_is_read_by_a_server_without_a_folder(plain: Endpoint) -> None:
    path = plain.media / "red.png"
    path.write_bytes(picture())
    reply = plain.ask(image(path.as_uri()), QUESTION)
    assert reply.status == 500
    assert reply.message == "Cannot load local files without `--allowed-local-media-path`."
    assert classify_error(reply.status, reply.headers, reply.body).verdict is Verdict.REJECTED
