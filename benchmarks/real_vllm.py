"""A real vLLM server on a CPU, for the benchmarks that need one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_S = 600.0
BLOCK_TOKENS = 32
"""Of the prefix cache. On a CPU 128 by default, of which an image of 196 tokens fills only one; on a GPU 16."""
CACHE_TOKENS = 6144
"""Two dozen images of 448 px, a good third of sixty. On a GPU it is a thousand, of a set of a hundred thousand."""
SERVED_NAME = "Qwen/Qwen3-VL-4B-Instruct"


@dataclass(frozen=True)
class Server:
    url: str
    group: int | None = None
    """Its process group, when it was started here."""

    def cpu_s(self) -> float | None:
        if self.group is None:
            return None
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.group:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def vllm(command: Path, model: Path, port: int, log_path: Path) -> Iterator[Server]:
    """A vLLM server for CPUs, in a session of its own. In float32: without instructions for bfloat16 (AVX2 alone), that
    type takes several times as long, and most of what is measured is its emulation."""
    url = f"http://127.0.0.1:{port}"
    options = {
        "--served-model-name": SERVED_NAME,
        "--host": "127.0.0.1",
        "--port": str(port),
        "--max-model-len": "4096",
        "--max-num-seqs": "16",
        "--dtype": "float32",
        "--block-size": str(BLOCK_TOKENS),
        "--num-gpu-blocks-override": str(CACHE_TOKENS // BLOCK_TOKENS),
        "--limit-mm-per-prompt": json.dumps({"image": 4, "video": 0}),
        "--allowed-local-media-path": tempfile.gettempdir(),
    }
    arguments = [
        str(command),
        "serve",
        str(model),
        "--enforce-eager",
        *(word for pair in options.items() for word in pair),
    ]
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TORCH_COMPILE_DISABLE": "1",
    }
    with log_path.open("ab") as log:
        process = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _until_healthy(url, process)
            yield Server(url, process.pid)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{url}/health").close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r}: no server came up. Try the command by hand.")
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def draw_photographs(folder: Path, count: int, side_px: int, rng: random.Random) -> None:
    """Files of a photograph's size in bytes, 0.jpg and on, of shapes that the tests' tiny model has words for."""
    import numpy as np
    from PIL import Image

    from captionqa.data.drawn import COLORS, SHAPES, draw_image

    noise = np.random.default_rng(rng.getrandbits(64))
    for number in range(count):
        picture = draw_image(rng.choice(SHAPES), rng.choice(list(COLORS)), 1, side_px, "light", rng)
        pixels = np.asarray(picture).astype(int) + noise.integers(-6, 7, (side_px, side_px, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
