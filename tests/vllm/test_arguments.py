"""Every command line that `captionqa serve` and the job scripts can render is one that this vLLM's own parser takes."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import captionqa.server.supervisor
from captionqa.cli.main import commands
from captionqa.errors import ExitCode
from captionqa.server.engines import render_command
from captionqa.server.preset_options import every_vllm_line
from captionqa.server.settings import ServeSettings
from captionqa.server.supervisor import Ending
from tests.serving import ROOT, TINY_MODEL

LINES = (
    "",
    "Qwen/Qwen3-VL-8B-Instruct",
    "Qwen/Qwen3-VL-32B-Instruct --tensor-parallel-size 4",
    "Qwen/Qwen3-VL-30B-A3B-Instruct --data-parallel-size 2 --max-num-seqs 256",
    "Qwen/Qwen3-VL-4B-Instruct --max-model-len 8192 --gpu-memory-utilization 0.85 --limit-mm-per-prompt image=4",
    'Qwen/Qwen3-VL-4B-Instruct --limit-mm-per-prompt \'{"image": 2, "video": 0}\' --quantization fp8',
    "Qwen/Qwen2.5-VL-7B-Instruct-AWQ --quantization awq --served-model-name qwen",
    f"{TINY_MODEL} --allowed-local-media-path /tmp --chat-template {TINY_MODEL}/chat_template.jinja --no-api-key",
    "Qwen/Qwen3-VL-4B-Instruct --host 0.0.0.0 --port 8123 --container vllm.sif",
    "Qwen/Qwen3-VL-4B-Instruct --container vllm.sqsh --container-runtime pyxis",
    "-- --enforce-eager --mm-processor-kwargs '{\"max_pixels\": 1003520}'",
    "-- --max-num-queued-reqs 64 --enable-request-id-headers --shutdown-timeout 20 --mm-processor-cache-gb 8",
)
"""Behind ``captionqa serve``."""
JOBS = (
    "render server",
    "render server --gres gpu:4 Qwen/Qwen3-VL-32B-Instruct --tensor-parallel-size 4 --max-model-len 32768",
    "render server -- --enforce-eager",
    "submit server --dry-run Qwen/Qwen3-VL-8B-Instruct --max-num-seqs 64 --limit-mm-per-prompt image=4",
    "submit server --dry-run --container vllm.sif --container-runtime apptainer --serve-option '--max-model-len 8192'",
)
"""Behind ``captionqa slurm``."""
REJECTED = (
    "--disable-log-requests",
    "--guided-decoding-backend outlines",
    "--swap-space 4",
    "--limit-mm-per-prompt image=2",
    "--max-model-len many",
)
"""vLLM options of earlier versions, or in their spelling: gone from 0.32."""


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("SLURM_JOB_ID", "CAPTIONQA_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def rendered(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `captionqa serve` with these words would give to ``vllm serve``: all of the command but the supervision."""
    taken: list[ServeSettings] = []

    class Recorder:
        def __init__(self, settings: ServeSettings, *_: object) -> None:
            taken.append(settings)

        async def run(self) -> Ending:
            return Ending(ExitCode.COMPLETE)

    monkeypatch.setattr(captionqa.server.supervisor, "Supervisor", Recorder)
    assert call("serve", *words)[0] == 0
    (settings,) = taken
    argv = render_command(settings.engine, settings.host, settings.port or 8000).argv
    at = argv.index("serve")
    assert argv[at - 1] == "vllm"
    return list(argv[at + 1 :])


def call(*words: str) -> tuple[Any, str]:
    """A command in this process: its exit code and what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = commands.main(list(words), "captionqa", standalone_mode=False)
    return code, out.getvalue()


def job_words(options: str) -> list[str]:
    """The words of `captionqa serve` in a rendered job script."""
    _, script = call("slurm", *shlex.split(options))
    (line,) = re.findall(r"^exec captionqa serve (.*)$", script, re.MULTILINE)
    return [word for word in shlex.split(line) if word != "$@"]


def documented() -> list[str]:
    """Every `captionqa serve` line of the documentation and the help that is meant for vLLM."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = [page.read_text(encoding="utf-8") for page in pages] + [commands.get_command(None, "serve").help or ""]
    lines = [line for text in texts for line in re.findall(r"^ *captionqa serve\b(.*)$", text, re.MULTILINE)]
    return [line.partition("  #")[0] for line in lines if "standin" not in line and "…" not in line]


def parse(lines: Sequence[Sequence[str]], pytestconfig: pytest.Config) -> list[dict[str, Any]]:
    """What vLLM's parser says to each, all in one process: the import alone takes 4 s."""
    command = pytestconfig.getoption("vllm_command")
    program = shutil.which(command)
    assert program is not None, f"{command}: no such program"
    python = Path(program).read_text(encoding="utf-8").partition("\n")[0].removeprefix("#!")
    script = Path(__file__).with_name("parse_arguments.py")
    done = subprocess.run(
        [python, script], input=json.dumps(lines), capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    replies: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    assert len(replies) == len(lines)
    return replies


def test_all_that_we_render_is_taken_and_what_is_gone_is_not(
    quiet: None, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    asked = [shlex.split(line) for line in (*LINES, *documented())] + [job_words(options) for options in JOBS]
    ours = [rendered(words, monkeypatch) for words in asked]
    gone = [["some/model", *shlex.split(line)] for line in REJECTED]
    replies = parse([*ours, *gone], pytestconfig)
    wrong = {shlex.join(line): reply["error"] for line, reply in zip(ours, replies, strict=False) if reply["error"]}
    assert wrong == {}
    taken = [shlex.join(line) for line, reply in zip(gone, replies[len(ours) :], strict=True) if not reply["error"]]
    assert taken == []


def test_every_preset_on_every_card_is_taken(pytestconfig: pytest.Config) -> None:
    lines = {words[1:]: where for where, words in every_vllm_line()}
    replies = parse(list(lines), pytestconfig)
    wrong = {where: reply["error"] for where, reply in zip(lines.values(), replies, strict=True) if reply["error"]}
    assert wrong == {}


def test_what_is_parsed_is_what_was_meant(
    quiet: None, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    words = rendered(shlex.split(LINES[4]), monkeypatch)
    (reply,) = parse([words], pytestconfig)
    meant = {"model_tag": "Qwen/Qwen3-VL-4B-Instruct", "max_model_len": 8192, "gpu_memory_utilization": 0.85}
    assert {name: reply["parsed"].get(name) for name in meant} == meant
    assert reply["parsed"]["limit_mm_per_prompt"]["image"] in (4, {"count": 4})
    assert reply["parsed"]["served_model_name"] == ["Qwen/Qwen3-VL-4B-Instruct"]
