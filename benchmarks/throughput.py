"""Client throughput and CPU per image: the whole of captionqa (read, prepare, send, journal, export) against a bare
aiohttp loop and the SDK's ordinary call, which only read, encode and send. Each client runs in a process of its own, in
turn, so that the ratios hold on a noisy machine."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pybase64

PROMPT = "Describe this image in detail."
CONCURRENCY = 32
Client = Callable[[Path, list[Path], str], Callable[[], None]]
"""Takes the folder, its files and the base URL; gives the job to be timed."""
CLIENTS = ("bare", "bare-simd", "captionqa", "sdk")
NAMES = {
    "bare": "bare aiohttp loop",
    "bare-simd": "bare aiohttp loop, SIMD base64",
    "captionqa": "captionqa, whole run",
    "sdk": "openai SDK, ordinary call",
}


def measure(images: int, rounds: int) -> str:
    """A markdown table: milliseconds per image, medians over the rounds, and ratios to the bare loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        draw_photos(folder, images)
        results: dict[str, list[tuple[float, float]]] = {client: [] for client in CLIENTS}
        with sink() as url:
            for _ in range(rounds):
                for client in CLIENTS:
                    results[client].append(_run(client, folder, url))
        kilobytes = sum(path.stat().st_size for path in folder.iterdir()) / images / 1000
    base_wall, base_cpu = _medians(results["bare"])
    lines = [
        f"{images} JPEG files of {kilobytes:.0f} kB, {CONCURRENCY} in flight, {rounds} rounds",
        "",
        "| client | wall ms/image | CPU ms/image | wall ratio | CPU ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for client in CLIENTS:
        wall, cpu = _medians(results[client])
        lines.append(f"| {NAMES[client]} | {wall:.2f} | {cpu:.2f} | {wall / base_wall:.2f} | {cpu / base_cpu:.2f} |")
    return "\n".join(lines)


def draw_photos(folder: Path, count: int) -> None:
    """JPEG files of about 200 kB with different contents."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (640, 640, 3), dtype=np.uint8)
    for number in range(count):
        Image.fromarray(np.roll(noise, number * 7, axis=1)).save(folder / f"{number:05d}.jpg", quality=70)


class sink:  # noqa: N801 (reads as a context manager)
    """The sink server in a process of its own; gives its base URL."""

    def __enter__(self) -> str:
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.sink"], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return f"http://127.0.0.1:{self._process.stdout.readline().strip()}/v1"

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _run(client: str, folder: Path, url: str) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.throughput", client, str(folder), url]
    wall, cpu = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
    return float(wall), float(cpu)


def _medians(values: list[tuple[float, float]]) -> tuple[float, float]:
    walls, cpus = zip(*values, strict=True)
    return statistics.median(walls), statistics.median(cpus)


# --- one client, in its own process ---------------------------------------------------------------------------------


def main(client: str, folder: Path, url: str) -> None:
    """Print wall and CPU milliseconds per image; imports are not counted."""
    paths = sorted(folder.iterdir())
    clients: dict[str, Client] = {"bare": bare, "bare-simd": bare_simd, "sdk": sdk, "captionqa": captionqa_run}
    job = clients[client](folder, paths, url)
    started, cpu = time.perf_counter(), _cpu_s()
    job()
    per_image = 1000 / len(paths)
    print((time.perf_counter() - started) * per_image, (_cpu_s() - cpu) * per_image)


def bare(
    _: Path, paths: list[Path], url: str, encode: Callable[[bytes], bytes] = base64.b64encode
) -> Callable[[], None]:
    import aiohttp

    head = b'{"model":"sink","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":'
    head += b'"data:image/jpeg;base64,'
    tail = b'"}},{"type":"text","text":"' + PROMPT.encode() + b'"}]}],"max_tokens":256,"temperature":0}'

    async def run() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(path: Path) -> None:
                body = b"".join((head, encode(_read(path)), tail))
                headers = {"Content-Type": "application/json"}
                async with session.post(f"{url}/chat/completions", data=body, headers=headers) as response:
                    assert json.loads(await response.read())["choices"][0]["message"]["content"]

            await _in_flight(paths, ask)

    return lambda: asyncio.run(run())


def bare_simd(folder: Path, paths: list[Path], url: str) -> Callable[[], None]:
    return bare(folder, paths, url, pybase64.b64encode)


def sdk(_: Path, paths: list[Path], url: str) -> Callable[[], None]:
    import openai

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

            async def ask(path: Path) -> None:
                data = base64.b64encode(_read(path)).decode()
                reply = await client.chat.completions.create(
                    model="sink",
                    messages=[
                        {
                            "role": "user",
                            "content": [
                                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
                                {"type": "text", "text": PROMPT},
                            ],
                        }
                    ],
                    max_tokens=256,
                    temperature=0,
                )
                assert reply.choices[0].message.content

            await _in_flight(paths, ask)

    return lambda: asyncio.run(run())


def captionqa_run(folder: Path, paths: list[Path], url: str) -> Callable[[], None]:
    from captionqa.core.requests import CAPTION_SAMPLING
    from captionqa.core.vision import ImagePolicy
    from captionqa.data.prompt_files import caption_styles, load_style
    from captionqa.report.progress import LogProgress
    from captionqa.run.discovery import FixedServers
    from captionqa.run.session import Settings, run_session
    from captionqa.run.tasks import Asking, CaptionTask

    style = load_style("SIMPLE", caption_styles(Path("/")))
    task = CaptionTask(folder, Asking(style, None, CAPTION_SAMPLING, ImagePolicy()))
    output = folder.parent / f"output-{os.getpid()}"
    settings = Settings(FixedServers((url,)), output, max_concurrency=CONCURRENCY)

    def run() -> None:
        report = run_session(task, settings, LogProgress())
        assert report.counts == {"answered": len(paths)}

    return run


async def _in_flight(paths: list[Path], ask: Callable[[Path], Awaitable[None]]) -> None:
    todo: Iterator[Path] = iter(paths)

    async def worker() -> None:
        for path in todo:
            await ask(path)

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


def _read(path: Path) -> bytes:
    """As the simplest loop does it: on the event loop."""
    return path.read_bytes()


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
