"""captionqa against `vllm bench serve` on the same real vLLM server: new images of one kind, as many in flight, as many
tokens.

    python -m benchmarks.vllm_bench --vllm V/bin/vllm --model FOLDER

vLLM's own tool has every request ready in memory before its clock starts, and keeps nothing. captionqa's clock runs
from the start of the session (walk the folder, find the model, read and encode each image) to the written exports. They
take turns; every run has pictures that the server has never met.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.real_vllm import SERVED_NAME, Server, draw_photographs, free_port, vllm

PROMPT = "Describe this image in detail."
SIDE_PX = 448
CLIENTS = {"bench": "`vllm bench serve`", "captionqa": "`captionqa caption`", "auto": "`captionqa caption`, auto"}


@dataclass(frozen=True)
class Load:
    """What every client sends."""

    images: int
    tokens: int
    concurrency: int


@dataclass(frozen=True)
class Result:
    per_s: float
    server_cpu_ms: float | None
    """Of all the server's processes, per image."""


def measure(server: Server, command: Path, model: Path, load: Load, rounds: int) -> str:
    """A markdown table: medians over the rounds; ratios are medians of the ratios within a round."""
    results: dict[str, list[Result]] = {client: [] for client in CLIENTS}
    for number in range(rounds):
        for client in CLIENTS if number % 2 == 0 else reversed(CLIENTS):
            results[client].append(_run(client, server, command, model, load))
            print(f"round {number + 1}, {CLIENTS[client]}: {results[client][-1]}", file=sys.stderr, flush=True)
    lines = [
        f"{load.images} images of {SIDE_PX} px, {load.tokens} tokens each, {load.concurrency} in flight, "
        f"{rounds} rounds",
        "",
        "| client | images/s | ratio | server CPU, ms an image |",
        "| --- | ---: | ---: | ---: |",
    ]
    for client, name in CLIENTS.items():
        pairs = zip(results[client], results["bench"], strict=True)
        ratio = statistics.median(own.per_s / base.per_s for own, base in pairs)
        cpu = [result.server_cpu_ms for result in results[client] if result.server_cpu_ms is not None]
        per_s = statistics.median(result.per_s for result in results[client])
        lines.append(f"| {name} | {per_s:.1f} | {ratio:.3f} | {f'{statistics.median(cpu):.1f}' if cpu else '–'} |")
    return "\n".join(lines)


def _run(client: str, server: Server, command: Path, model: Path, load: Load) -> Result:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        draw_photographs(folder / "images", load.images, SIDE_PX, random.Random())
        before = server.cpu_s()
        per_s = (
            _bench(folder, server, command, model, load) if client == "bench" else _own(client, folder, server, load)
        )
        after = server.cpu_s()
    cpu_ms = None if before is None or after is None else 1000 * (after - before) / load.images
    return Result(per_s, cpu_ms)


def _bench(folder: Path, server: Server, command: Path, model: Path, load: Load) -> float:
    lines = [
        json.dumps({"prompt": PROMPT, "image_files": [str(path)]}) for path in sorted((folder / "images").iterdir())
    ]
    (folder / "prompts.jsonl").write_text("\n".join(lines))
    options = {
        "--backend": "openai-chat",
        "--base-url": server.url,
        "--endpoint": "/v1/chat/completions",
        "--model": str(model),
        "--served-model-name": SERVED_NAME,
        "--dataset-name": "custom_image",
        "--dataset-path": str(folder / "prompts.jsonl"),
        "--custom-output-len": str(load.tokens),
        "--num-prompts": str(load.images),
        "--max-concurrency": str(load.concurrency),
        "--temperature": "0",
        "--result-dir": str(folder),
        "--result-filename": "result.json",
    }
    flags = ["--custom-ensure-client-side-data", "--disable-shuffle", "--ignore-eos", "--save-result"]
    arguments = [str(command), "bench", "serve", *(word for pair in options.items() for word in pair), *flags]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    result = json.loads((folder / "result.json").read_text())
    assert result["completed"] == load.images, result
    return float(result["request_throughput"])


def _own(client: str, folder: Path, server: Server, load: Load) -> float:
    limit = "auto" if client == "auto" else str(load.concurrency)
    command = [sys.executable, "-m", "benchmarks.vllm_bench", "--one", limit, "--folder", str(folder)]
    command += ["--url", server.url, "--tokens", str(load.tokens)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    return float(ended.stdout.split()[-1])


# --- one run, in its own process --------------------------------------------------------------------------------------


def one(limit: str, folder: Path, url: str, tokens: int) -> None:
    """Print images per second of the whole session; imports are not counted."""
    from captionqa.core.replies import Completion
    from captionqa.core.requests import CAPTION_SAMPLING
    from captionqa.core.vision import ImagePolicy
    from captionqa.data.prompt_files import caption_styles, load_style
    from captionqa.report.progress import LogProgress
    from captionqa.run.connection import ChatConnection
    from captionqa.run.discovery import FixedServers
    from captionqa.run.session import Settings, run_session
    from captionqa.run.tasks import Asking, CaptionTask

    complete = ChatConnection.complete

    async def whole(self: ChatConnection, body: bytes) -> Completion:
        return await complete(self, body[:-1] + b',"ignore_eos":true}')  # as many tokens for every image

    ChatConnection.complete = whole  # type: ignore[method-assign]
    style = load_style("SIMPLE", caption_styles(Path("/")))
    sampling = replace(CAPTION_SAMPLING, max_tokens=tokens, temperature=0, presence_penalty=0)
    task = CaptionTask(folder / "images", Asking(style, None, sampling, ImagePolicy()))
    settings = Settings(
        FixedServers((f"{url}/v1",)), folder / "output", max_concurrency=None if limit == "auto" else int(limit)
    )
    started = time.perf_counter()
    report = run_session(task, settings, LogProgress())
    seconds = time.perf_counter() - started
    # Whatever the tiny model says: to some pictures only signs that are no text. They cost as much.
    assert report.summary is not None
    assert set(report.summary["failed_by_reason"]) <= {"failed: empty"}, report.summary
    print(report.items / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, help="the vllm command: starts a server, and is the other client")
    parser.add_argument("--model", type=Path, help="the model's folder")
    parser.add_argument("--url", help="a server that serves it already")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="where the started server's output goes")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    load = Load(options.images, options.tokens, options.concurrency)
    if options.one:
        one(options.one, options.folder, options.url, options.tokens)
    elif not (options.vllm and options.model):
        parser.error("give --vllm and --model")
    elif options.url:
        print(measure(Server(options.url.rstrip("/")), options.vllm, options.model, load, options.rounds))
    else:
        with vllm(options.vllm, options.model, free_port(), options.log) as server:
            print(measure(server, options.vllm, options.model, load, options.rounds))


if __name__ == "__main__":
    main()
