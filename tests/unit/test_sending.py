"""Sending: the shortest form that a server understands, and never another picture than the one that is meant."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pybase64
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from captionqa.core.abilities import Abilities
from captionqa.core.items import ImageSource, Item
from captionqa.core.outcomes import OutcomeKind
from captionqa.core.replies import NoAnswer
from captionqa.core.requests import QUESTION_SAMPLING, RequestFormat
from captionqa.core.vision import ImagePolicy
from captionqa.data.image_cache import ImageCache
from captionqa.run.bodies import Body
from captionqa.run.client import Client
from captionqa.run.endpoints import Connection, EndpointPool
from captionqa.run.feed import prepare
from captionqa.run.sending import send
from captionqa.run.sent_images import MISSES_ALLOWED, REMEMBERED, SentImages
from tests.unit.picture_server import PictureServer, refused

FORMAT = RequestFormat.of("org/model", None, QUESTION_SAMPLING)
BOTH = Abilities(4096, image_references=True, local_files=True)
REFERENCES = Abilities(4096, image_references=True)
FILES = Abilities(4096, local_files=True)


@dataclass
class Receiver:
    """An endpoint, as far as sending is concerned."""

    server: PictureServer
    abilities: Abilities
    images: SentImages

    async def complete(self, body: bytes) -> object:
        return await self.server.complete(body)


def png(shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def base64(data: bytes) -> str:
    return pybase64.b64encode(data).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shade in range(4):
        (tmp_path / f"{shade}.png").write_bytes(png(shade))
    return tmp_path.resolve()


@pytest.fixture
def images() -> ImageCache:
    return ImageCache(ImagePolicy())


def receiver(abilities: Abilities, folder: Path | None = None) -> Receiver:
    server = PictureServer()
    server.folder = folder
    return Receiver(server, abilities, SentImages())


def body_of(images: ImageCache, *paths: Path, shared: bool = True, in_place: bool = False) -> bytes | Body:
    sources = [ImageSource(path.name, path=str(path), version=path.stat().st_size) for path in paths]
    item = Item("q", 0, "00", (*sources, "What is shown?"), shared=shared)
    prepared = prepare(item, FORMAT, images, in_place=in_place)
    assert prepared.outcome is None
    return prepared.body


def answers(to: Receiver, *bodies: bytes | Body) -> list[str]:
    async def asking() -> list[str]:
        return [(await send(to, body)).text for body in bodies]  # type: ignore[arg-type]

    return asyncio.run(asking())


def test_an_image_is_sent_once_and_referred_to_afterwards(folder: Path, images: ImageCache) -> None:
    to = receiver(REFERENCES)
    body = body_of(images, folder / "1.png")
    assert answers(to, body, body, body) == [base64(png(1))] * 3
    assert to.server.seen == ["whole", "reference", "reference"]


def test_an_image_that_nobody_shares_is_sent_as_ever(folder: Path, images: ImageCache) -> None:
    body = body_of(images, folder / "1.png", shared=False)
    assert isinstance(body, bytes)
    assert b"uuid" not in body


def test_a_server_without_the_ability_never_hears_of_uuids(folder: Path, images: ImageCache) -> None:
    to = receiver(Abilities())
    body = body_of(images, folder / "1.png")
    assert isinstance(body, Body)
    alone = body_of(images, folder / "1.png", shared=False)
    assert body.whole() == alone
    assert answers(to, body, body) == [base64(png(1))] * 2
    assert to.server.seen == ["whole", "whole"]


def test_a_forgotten_image_is_sent_again_at_once_and_then_referred_to(folder: Path, images: ImageCache) -> None:
    to = receiver(REFERENCES)
    body = body_of(images, folder / "1.png")
    answers(to, body)
    to.server.forget()
    assert answers(to, body, body) == [base64(png(1))] * 2
    assert to.server.seen == ["whole", "miss", "whole", "reference"]


def test_of_several_images_each_is_sent_in_its_own_form(folder: Path, images: ImageCache) -> None:
    to = receiver(REFERENCES)
    answers(to, body_of(images, folder / "1.png"), body_of(images, folder / "1.png", folder / "2.png"))
    answers(to, body_of(images, folder / "2.png", folder / "1.png"))
    assert to.server.seen == ["whole", "reference", "whole", "reference", "reference"]


def test_the_same_bytes_under_two_names_are_one_image(folder: Path, images: ImageCache) -> None:
    (folder / "copy.png").write_bytes(png(1))
    to = receiver(REFERENCES)
    answers(to, body_of(images, folder / "1.png"), body_of(images, folder / "copy.png"))
    assert to.server.seen == ["whole", "reference"]


def test_while_the_first_request_of_an_image_is_in_flight_the_image_is_sent_whole(
    folder: Path, images: ImageCache
) -> None:
    to = receiver(REFERENCES)
    body = body_of(images, folder / "1.png")

    async def together() -> None:
        to.server.hold = asyncio.Event()
        first = asyncio.create_task(send(to, body))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        second = asyncio.create_task(send(to, body))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        to.server.hold.set()
        await asyncio.gather(first, second)
        await send(to, body)  # type: ignore[arg-type]

    asyncio.run(together())
    assert to.server.seen == ["whole", "whole", "reference"]


def test_a_server_that_forgets_everything_is_soon_referred_to_no_more(folder: Path, images: ImageCache) -> None:
    to = receiver(REFERENCES)
    to.server.capacity = 0
    body = body_of(images, folder / "1.png")
    answers(to, *[body] * 200)
    assert to.server.seen.count("miss") == MISSES_ALLOWED + 1
    assert to.server.seen.count("whole") == 200


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60), st.integers(0, 4), st.booleans())
def test_whatever_the_server_forgets_every_answer_is_about_the_right_picture(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, bool]], capacity: int, in_place: bool
) -> None:
    folder = tmp_path_factory.mktemp("pictures").resolve()
    for shade in range(4):
        (folder / f"{shade}.png").write_bytes(png(shade))
    images = ImageCache(ImagePolicy())
    to = receiver(BOTH, folder)
    to.server.capacity = capacity
    bodies = [body_of(images, folder / f"{n}.png", shared=shared, in_place=in_place) for n, shared in asked]
    assert answers(to, *bodies) == [base64(png(n)) for n, _ in asked]


def test_a_file_that_needs_no_preparation_is_read_by_the_server(folder: Path, images: ImageCache) -> None:
    to = receiver(FILES, folder)
    odd = folder / "a b%20ü.png"
    odd.write_bytes(png(9))
    bodies = [body_of(images, path, shared=False, in_place=True) for path in (folder / "1.png", odd)]
    assert answers(to, *bodies) == [base64(png(1)), base64(png(9))]
    assert to.server.seen == ["file", "file"]
    assert images.prepared == 0  # nothing was read here


def turned() -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 32), "red").save(file, "JPEG", exif=exif)
    return file.getvalue()


def saved(mode: str, kind: str, size: tuple[int, int] = (64, 64)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [turned(), saved("RGBA", "PNG"), saved("RGB", "BMP"), saved("RGB", "PNG", (2100, 2100)), png()[:-4], b"", b"text"],
    ids=["turned", "transparent", "bmp", "too large", "cut", "empty", "no image"],
)
def test_a_file_that_needs_preparation_or_is_in_doubt_is_sent_inline(
    tmp_path: Path, images: ImageCache, data: bytes
) -> None:
    (tmp_path / "x").write_bytes(data)
    assert images.in_place(ImageSource("x", path=str(tmp_path / "x"), version=len(data))) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(2, 2), (64, 48), (1500, 1400)])
def test_a_file_is_read_in_place_exactly_when_its_bytes_would_be_sent_as_they_are(
    tmp_path: Path, images: ImageCache, kind: str, size: tuple[int, int]
) -> None:
    path = tmp_path / "x"
    path.write_bytes(saved("RGB", kind, size))
    source = ImageSource("x", path=str(path), version=1)
    in_place, inline = images.in_place(source), images.get(source)
    assert in_place is not None
    assert inline.untouched
    assert in_place.to_dict() == inline.to_dict()


def test_a_file_that_the_server_cannot_read_goes_whole(folder: Path, images: ImageCache, tmp_path: Path) -> None:
    to = receiver(FILES, folder)
    to.server.elsewhere = tmp_path / "empty"
    body = body_of(images, folder / "1.png", in_place=True)
    assert answers(to, body) == [base64(png(1))]
    assert to.server.seen == ["whole"]


def test_a_miss_of_a_file_is_followed_by_its_path_not_by_its_bytes(folder: Path, images: ImageCache) -> None:
    to = receiver(BOTH, folder)
    body = body_of(images, folder / "1.png", in_place=True)
    answers(to, body)
    to.server.forget()
    answers(to, body, body)
    assert to.server.seen == ["file", "miss", "file", "reference"]


def test_a_request_that_is_at_fault_itself_says_nothing_against_references(folder: Path, images: ImageCache) -> None:
    to = receiver(REFERENCES)
    body = body_of(images, folder / "1.png")
    answers(to, body)
    to.server.down = refused(400, "prompt too long")
    with pytest.raises(NoAnswer, match="too long"):
        answers(to, body)
    assert to.images.references.refused == 0


def test_what_is_remembered_of_a_server_is_bounded() -> None:
    sent = SentImages()
    for number in range(3 * REMEMBERED):
        sent.send([str(number)])
        sent.learn([str(number)])
    assert [str(number) in sent for number in (0, 3 * REMEMBERED - 1)] == [False, True]
    assert sum(sent.knows(str(number)) for number in range(3 * REMEMBERED)) == REMEMBERED


# --- with the pool ---------------------------------------------------------------------------------------------------


def pooled(asking: Callable[[Client, EndpointPool], object], *servers: PictureServer, limit: int = 8) -> None:
    async def find_out(_: Connection, __: str, length: int | None) -> Abilities:
        return replace(BOTH, max_model_len=length)

    async def body() -> None:
        pool = EndpointPool(servers, limit=limit, server_wait_s=5, say=lambda _: None, find_out=find_out)
        try:
            async with asyncio.timeout(20):
                await pool.open(None)
                while not all(endpoint.up for endpoint in pool.endpoints):
                    await asyncio.sleep(0)
                await asking(Client(pool), pool)  # type: ignore[misc]
        finally:
            await pool.close()

    asyncio.run(body())


def test_a_miss_is_no_attempt(folder: Path, images: ImageCache) -> None:
    server = PictureServer()
    body = body_of(images, folder / "1.png")

    async def asking(client: Client, _: EndpointPool) -> None:
        await client.ask(body)
        server.forget()
        outcome = await client.ask(body)
        assert (outcome.kind, outcome.output, outcome.attempts) == (OutcomeKind.ANSWERED, base64(png(1)), 1)

    pooled(asking, server)
    assert server.seen == ["whole", "miss", "whole"]


def test_a_server_that_was_gone_is_sent_everything_again(folder: Path, images: ImageCache) -> None:
    server = PictureServer()
    body = body_of(images, folder / "1.png")

    async def asking(client: Client, pool: EndpointPool) -> None:
        await client.ask(body)
        server.forget()  # it is another process by now
        pool.lose(pool.endpoints[0], "gone")
        await client.ask(body)

    pooled(asking, server)
    assert server.seen == ["whole", "whole"]


def test_a_file_that_neither_side_can_read_is_a_missing_image(folder: Path, images: ImageCache) -> None:
    server = PictureServer()
    server.folder = folder
    body = body_of(images, folder / "1.png", in_place=True)
    (folder / "1.png").unlink()

    async def asking(client: Client, pool: EndpointPool) -> None:
        outcome = await client.ask(body)
        assert (outcome.kind, outcome.attempts) == (OutcomeKind.MISSING_IMAGE, 1)
        assert "1.png" in (outcome.detail or "")
        assert pool.endpoints[0].outstanding == 0

    pooled(asking, server)


def test_questions_on_one_image_go_to_the_server_that_has_it(folder: Path, images: ImageCache) -> None:
    servers = [PictureServer(f"http://{name}/v1") for name in "abc"]
    bodies = [body_of(images, folder / f"{number}.png") for number in range(4)]

    async def asking(client: Client, _: EndpointPool) -> None:
        for body in bodies:
            await client.ask(body)
        await asyncio.gather(*(client.ask(body) for body in bodies for _ in range(2)))

    pooled(asking, *servers, limit=64)
    assert sum(server.seen.count("whole") for server in servers) == len(bodies)


def test_a_server_that_is_much_busier_than_another_is_spared(folder: Path, images: ImageCache) -> None:
    first, second = PictureServer("http://a/v1"), PictureServer("http://b/v1")
    body = body_of(images, folder / "1.png")

    async def asking(client: Client, pool: EndpointPool) -> None:
        await client.ask(body)
        first.hold = second.hold = asyncio.Event()
        waiting = [asyncio.create_task(client.ask(body)) for _ in range(16)]
        await asyncio.sleep(0.01)
        loads = sorted(endpoint.outstanding for endpoint in pool.endpoints)
        assert loads[0] > 0
        assert loads[1] <= 8 + 2
        first.hold.set()
        await asyncio.gather(*waiting)

    pooled(asking, first, second, limit=8)
