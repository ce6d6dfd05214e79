"""The context: what surely does not fit is not sent, what may fit is, and --fit reduces no more than it takes."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captionqa.core.items import ImageSource, Item
from captionqa.core.outcomes import Outcome, OutcomeKind
from captionqa.core.replies import NoAnswer, Tokens, Verdict
from captionqa.core.requests import QUESTION_SAMPLING, RequestFormat
from captionqa.core.vision import QWEN2_VL, QWEN3_VL, ImagePolicy, VisionRule
from captionqa.data.image_cache import ImageCache
from captionqa.data.prompt_files import PromptStyle
from captionqa.run.context import Context
from captionqa.run.endpoints import EndpointPool
from captionqa.run.feed import Prepared, prepare
from captionqa.run.tasks import Asking

FakeServers = Callable[..., Any]
FORMAT = RequestFormat.of("org/model", None, QUESTION_SAMPLING)
TEMPLATE = 13
"""Tokens that the fake servers' template adds."""


def counting(rule: VisionRule | Callable[[int, int], int]) -> Callable[[bytes], Tokens]:
    """Counts as a server does: a token for every four characters, images by a rule, a template around them."""

    def count(body: bytes) -> Tokens:
        tokens = TEMPLATE
        for part in json.loads(body)["messages"][0]["content"]:
            if part["type"] == "text":
                tokens += -(-len(part["text"]) // 4)
            else:
                payload = base64.b64decode(part["image_url"]["url"].partition(",")[2])
                size = Image.open(io.BytesIO(payload)).size
                tokens += 2 + (rule.tokens(*size) if isinstance(rule, VisionRule) else rule(*size))
        return Tokens(tokens, None)

    return count


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[int, int], ImageSource]:
    def draw(width: int, height: int) -> ImageSource:
        path = tmp_path / f"{width}x{height}.png"
        Image.new("RGB", (width, height), "red").save(path)
        return ImageSource(path.name, str(path))

    return draw


def place(
    server: Any,
    *content: str | ImageSource,
    fit: bool = False,
    context_tokens: int | None = None,
    times: int = 1,
    in_place: bool = False,
    gone: Path | None = None,
) -> Prepared:
    """The item as it would be sent, prepared and placed; the same one several times by the same context.

    Args:
        in_place: whether its files are to be read by the server.
        gone: a file that is deleted between preparing and placing.
    """
    policy = ImagePolicy()
    asking = Asking(
        PromptStyle("s", "t", Path("s")), None, QUESTION_SAMPLING, policy, fit=fit, context_tokens=context_tokens
    )
    prepared = prepare(Item("i", 0, "k", content), FORMAT, ImageCache(policy), in_place=in_place)
    if gone is not None:
        gone.unlink()

    async def placing() -> Prepared:
        pool = EndpointPool([server], limit=4, server_wait_s=5, say=lambda _: None)
        try:
            await pool.open(None)
            context = Context(pool, asking, FORMAT)
            for _ in range(times):
                placed = await context.place(prepared)
            return placed
        finally:
            await pool.close()

    return asyncio.run(placing())


def test_what_fits_with_certainty_costs_no_request(fake_server: FakeServers, picture: Any) -> None:
    server = fake_server()
    placed = place(server, picture(640, 480), "What?")
    assert placed.outcome is None
    assert server.counted == []


def test_a_server_that_says_no_length_is_sent_everything(fake_server: FakeServers, picture: Any) -> None:
    server = fake_server()
    server.served = {"org/model": None}
    assert place(server, picture(2048, 2048), "What? " * 9000).outcome is None
    assert server.counted == []


def test_what_the_server_counts_as_too_long_is_typed_before_it_is_sent(fake_server: FakeServers, picture: Any) -> None:
    server = fake_server()
    server.tokens = counting(QWEN3_VL)
    placed = place(server, picture(2048, 2048), "What?")  # 4096 vision tokens, of 4096 in all
    assert placed.outcome == Outcome(
        OutcomeKind.REJECTED,
        reason="too_long",
        detail="not sent: 4113 tokens of prompt with 1 image; the context holds 4096. What helps: a shorter prompt, "
        "smaller images (--fit, --max-pixels), a server with a larger --max-model-len",
    )
    assert placed.outcome.attempts == 0
    assert server.counted == [placed.body]
    assert server.requests == []


@pytest.mark.parametrize(("vision", "fits"), [(4078, True), (4079, False)])
def test_a_prompt_may_fill_the_context_but_for_one_token(
    fake_server: FakeServers, picture: Any, vision: int, fits: bool
) -> None:
    server = fake_server()
    server.tokens = counting(lambda *_: vision)
    assert (place(server, picture(2048, 2048), "What?").outcome is None) == fits


def test_what_the_server_reduces_itself_is_sent(fake_server: FakeServers, picture: Any) -> None:
    server = fake_server()
    server.tokens = counting(VisionRule(32, 65_536, 262_144))  # --mm-processor-kwargs
    assert place(server, picture(2048, 2048), "What?").outcome is None
    assert len(server.counted) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        NoAnswer(Verdict.REJECTED, "http_400", "At most 0 images"),
        NoAnswer(Verdict.TRANSIENT, "connection", "reset"),
        NoAnswer(Verdict.REFUSED, "http_404", "Not Found"),
    ],
)
def test_where_nobody_counts_the_server_decides(fake_server: FakeServers, picture: Any, trouble: NoAnswer) -> None:
    server = fake_server()
    server.tokens = lambda _: trouble
    assert place(server, picture(2048, 2048), "What?", times=3).outcome is None
    assert len(server.counted) == (1 if trouble.verdict is Verdict.REFUSED else 3)  # one that never counts is let be


def test_more_words_than_tokens_need_no_count(fake_server: FakeServers) -> None:
    server = fake_server()
    placed = place(server, "word " * 4096)
    assert placed.outcome is not None
    assert "at least 4096 tokens of prompt; the context holds 4096" in (placed.outcome.detail or "")
    assert server.counted == []
    assert place(server, "word " * 4095).outcome is None


def test_the_smallest_context_of_all_servers_counts(fake_server: FakeServers) -> None:
    async def length() -> int | None:
        servers = [fake_server(f"http://{n}/v1") for n in range(3)]
        for server, tokens in zip(servers, (8192, 2048, None), strict=True):
            server.served = {"org/model": tokens}
        pool = EndpointPool(servers, limit=4, server_wait_s=5, say=lambda _: None)
        try:
            await pool.open(None)
            while not all(endpoint.up for endpoint in pool.endpoints):
                await asyncio.sleep(0)
            return pool.context_tokens
        finally:
            await pool.close()

    assert asyncio.run(length()) == 2048


@pytest.mark.parametrize("rule", [QWEN3_VL, QWEN2_VL, VisionRule(32, 65_536, 1_000_000), VisionRule(14, 0, 1 << 30)])
def test_fitting_leaves_room_for_the_answer_and_wastes_little(
    fake_server: FakeServers, picture: Any, rule: VisionRule
) -> None:
    server = fake_server()
    server.served = {"org/model": 1024}
    server.tokens = counting(rule)
    placed = place(server, picture(2048, 1024), picture(512, 512), "What?" * 20, fit=True, context_tokens=1024)
    assert placed.outcome is None
    counted = counting(rule)(placed.body).count
    assert counted + QUESTION_SAMPLING.max_tokens <= 1024
    assert counted + QUESTION_SAMPLING.max_tokens > 0.75 * 1024
    large, small = placed.images
    assert large.to_dict()["fitted_from"] == [2048, 1024]
    assert small.to_dict()["fitted_from"] == [512, 512]
    assert large.width / large.height == pytest.approx(2, rel=0.02)
    assert large.width / small.width == pytest.approx(4, rel=0.02)
    sent = [part["image_url"]["url"] for part in json.loads(placed.body)["messages"][0]["content"][:2]]
    sizes = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size for url in sent]
    assert sizes == [(large.width, large.height), (small.width, small.height)]


def test_fitting_touches_nothing_that_fits(fake_server: FakeServers, picture: Any) -> None:
    server = fake_server()
    server.tokens = counting(QWEN3_VL)
    placed = place(server, picture(1920, 1920), "What?", fit=True, context_tokens=4096)  # 3600 by count
    assert placed.images[0].untouched
    assert "fitted_from" not in placed.images[0].to_dict()
    assert len(server.counted) == 1


def test_fitting_without_a_count_is_careful(fake_server: FakeServers, picture: Any) -> None:
    server = fake_server()
    placed = place(server, picture(2048, 2048), "What?", fit=True, context_tokens=1024)
    (image,) = placed.images
    assert QWEN2_VL.tokens(image.width, image.height) + QUESTION_SAMPLING.max_tokens <= 1024
    assert QWEN3_VL.tokens(image.width, image.height) > 500


@pytest.mark.parametrize("rule", [QWEN3_VL, lambda *_: 2880])
def test_what_cannot_be_fitted_is_too_long(fake_server: FakeServers, picture: Any, rule: Any) -> None:
    server = fake_server()
    server.tokens = counting(rule)
    placed = place(server, picture(2048, 2048), "What?" * 30, fit=True, context_tokens=200)
    assert placed.outcome is not None
    assert (placed.outcome.reason, server.requests) == ("too_long", [])
    assert "and 128 for the answer; the context holds 200" in (placed.outcome.detail or "")


def test_files_that_a_server_reads_itself_are_counted_and_fitted_too(fake_server: FakeServers, picture: Any) -> None:
    server = fake_server()
    server.tokens = counting(QWEN3_VL)
    content = (picture(2048, 2048), picture(64, 64), "What?")
    refused = place(server, *content, in_place=True)
    assert refused.outcome is not None
    assert refused.outcome.reason == "too_long"
    fitted = place(server, *content, in_place=True, fit=True, context_tokens=1024)
    assert isinstance(fitted.body, bytes)
    assert b"file://" not in fitted.body
    assert counting(QWEN3_VL)(fitted.body).count + QUESTION_SAMPLING.max_tokens <= 1024


@pytest.mark.parametrize("fit", [True, False])
def test_a_file_that_went_away_meanwhile_is_the_items_own_trouble(
    fake_server: FakeServers, picture: Any, fit: bool
) -> None:
    server = fake_server()
    server.tokens = counting(QWEN3_VL)
    source = picture(2048, 2048)
    gone = Path(source.path)
    placed = place(server, source, "What?", in_place=True, gone=gone, fit=fit, context_tokens=1024)
    assert placed.outcome is None if not fit else placed.outcome.kind is OutcomeKind.MISSING_IMAGE
