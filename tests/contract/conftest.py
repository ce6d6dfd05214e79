"""The servers that the contract is tested on: the stand-in always, real vLLM where there is one.

Both are brought up by `captionqa serve`. Two of each: `endpoint` has what our client makes use of switched on, `plain`
is vLLM as it comes, but for room for no more than eight.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import SERVED_AS, Engine, end_all, serve, stand_in, vllm

from .endpoint import MAX_MODEL_LEN, Endpoint

ENDPOINTS = ("endpoint", "plain")
UNASKED = {"canary_every_s": 3600.0}
"""The supervisor's own requests would be counted in the metrics that are tested."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    engines = ["standin", *(["vllm"] if metafunc.config.getoption("vllm") else [])]
    for name in ENDPOINTS:
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    base = tmp_path_factory.mktemp(f"endpoint-{request.param}")
    media = base / "media"
    media.mkdir()
    engine = _engine(request, "--enable-request-id-headers")
    options = ("--allowed-local-media-path", media, "--max-num-seqs", 16)
    yield from _served(engine, base, media, *options)


@pytest.fixture(scope="session")
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    base = tmp_path_factory.mktemp(f"plain-{request.param}")
    slowly = ("--per-token", "0.002") if request.param == "standin" else ()  # vLLM on a CPU is slower than that
    engine = _engine(request, "--max-num-queued-reqs", "8", *slowly)
    yield from _served(engine, base, base, "--max-num-seqs", 4)


def _engine(request: pytest.FixtureRequest, *extra: str) -> Engine:
    if request.param == "standin":
        return stand_in(*extra)
    return vllm(request.config.getoption("vllm"), request.config.getoption("vllm_command"), *extra)


def _served(engine: Engine, base: Path, media: Path, *options: object) -> Iterator[Endpoint]:
    limits = ("--max-model-len", MAX_MODEL_LEN, "--limit-mm-per-prompt", '{"image":4,"video":0}')
    server = serve(engine, base / "output", engine.name, *limits, *options, pace=UNASKED)
    try:
        lease = server.until_ready()
        with Endpoint(engine.name, lease.url, SERVED_AS, server.key, media) as endpoint:
            yield endpoint
    finally:
        end_all([server])
