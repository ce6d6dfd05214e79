"""Command lines of engines."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from captionqa.errors import UsageError
from captionqa.server.engines import (
    Container,
    ContainerRuntime,
    Engine,
    EngineSettings,
    engine_environment,
    parse_limits,
    render_command,
)

VLLM = ("vllm", "serve", "org/model", "--host", "0.0.0.0", "--port", "8000", "--served-model-name")


def rendered(host: str = "0.0.0.0", port: int = 8000, **settings: Any) -> tuple[str, ...]:
    return render_command(EngineSettings(**{"model": "org/model", **settings}), host, port).argv


@pytest.mark.parametrize(
    ("settings", "behind"),
    [
        ({}, ("org/model",)),
        ({"served_model_name": "mine"}, ("mine",)),
        ({"tensor_parallel_size": 4}, ("org/model", "--tensor-parallel-size", "4")),
        ({"data_parallel_size": 2}, ("org/model", "--data-parallel-size", "2")),
        ({"quantization": "fp8"}, ("org/model", "--quantization", "fp8")),
        ({"max_model_len": 8192}, ("org/model", "--max-model-len", "8192")),
        ({"gpu_memory_utilization": 0.9}, ("org/model", "--gpu-memory-utilization", "0.9")),
        ({"max_num_seqs": 16}, ("org/model", "--max-num-seqs", "16")),
        ({"chat_template": "/t.jinja"}, ("org/model", "--chat-template", "/t.jinja")),
        ({"allowed_local_media_path": Path("/data")}, ("org/model", "--allowed-local-media-path", "/data")),
        (
            {"limit_mm_per_prompt": {"image": 4, "video": 0}},
            ("org/model", "--limit-mm-per-prompt", '{"image":4,"video":0}'),
        ),
        ({"extra": ("--enforce-eager", "-O3")}, ("org/model", "--enforce-eager", "-O3")),
    ],
)
def test_settings_become_options_of_vllm(settings: dict[str, Any], behind: tuple[str, ...]) -> None:
    assert rendered(**settings) == (*VLLM, *behind)


def test_vllm_may_be_called_in_another_way() -> None:
    assert rendered(vllm_command=("python3", "-m", "vllm"))[:4] == ("python3", "-m", "vllm", "serve")


def test_the_stand_in_gets_what_it_has_and_the_rest_is_named() -> None:
    settings = EngineSettings(
        "standin/pixel-reader",
        Engine.STANDIN,
        max_model_len=100,
        tensor_parallel_size=2,
        quantization="fp8",
        limit_mm_per_prompt={"image": 3},
        extra=("--latency", "1"),
    )
    command = render_command(settings, "127.0.0.1", 9)
    assert command.argv[:4] == (sys.executable, "-m", "captionqa", "standin")
    assert " ".join(command.argv[4:]) == (
        "--host 127.0.0.1 --port 9 --model standin/pixel-reader --max-model-len 100 --max-images 3 --latency 1"
    )
    assert command.unused == ("--tensor-parallel-size", "--quantization")


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("image=4", {"image": 4}),
        (" image = 4 , video=0", {"image": 4, "video": 0}),
        ('{"image": 4, "video": 0}', {"image": 4, "video": 0}),
    ],
)
def test_limits_are_read_in_both_ways(text: str, limits: dict[str, int]) -> None:
    assert parse_limits(text) == limits


@pytest.mark.parametrize(
    "text", ["", "image", "image=", "image=-1", "=4", "{image: 4}", '{"image": true}', '{"image": {}}']
)
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Write image=4"):
        parse_limits(text)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--api-key", "K"), "--api-key-file"),
        (("--api_key=K",), "--api-key-file"),
        (("--port", "1"), "before the --"),
        (("--host=x",), "before the --"),
        (("--served-model-name", "x"), "before the --"),
        (("--ssl-keyfile", "x"), "plain HTTP"),
        (("--uds", "x"), "TCP"),
    ],
)
def test_options_that_would_hide_the_server_or_show_its_key_are_refused(extra: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        EngineSettings("m", extra=extra)
    assert "K" not in str(raised.value).replace("Key", "").split()


def container(runtime: ContainerRuntime, **settings: Any) -> str:
    inside = Container("vllm.sif", runtime, Path("/hf"))
    return shlex.join(rendered(container=inside, **settings)).partition(" vllm serve ")[0]


def test_a_container_gets_the_gpus_and_every_path_that_is_named() -> None:
    assert container(ContainerRuntime.APPTAINER) == "apptainer exec --nv --bind /hf vllm.sif"
    named = {"model": "/m", "chat_template": "/t.jinja", "allowed_local_media_path": Path("/data")}
    assert container(ContainerRuntime.SINGULARITY, **named) == (
        "singularity exec --nv --bind /hf --bind /m --bind /t.jinja --bind /data vllm.sif"
    )
    assert container(ContainerRuntime.PYXIS, model="/m") == (
        "srun --nodes=1 --ntasks=1 --overlap --export=ALL --container-image=vllm.sif --container-mounts=/hf:/hf,/m:/m"
    )


def test_a_path_that_no_container_can_be_given_is_refused() -> None:
    with pytest.raises(UsageError, match="/a,b"):
        container(ContainerRuntime.APPTAINER, model="/a,b")


@pytest.mark.parametrize("inside", [None, *ContainerRuntime])
def test_the_key_goes_by_the_environment_alone(inside: ContainerRuntime | None) -> None:
    image = Container("i", inside, Path("/hf")) if inside else None
    command = render_command(EngineSettings("m", container=image), "h", 1)
    environment = engine_environment(command, {"PATH": "/bin", "VLLM_API_KEY": "old"}, "secret")
    assert environment["VLLM_API_KEY"] == "secret"
    assert environment["PATH"] == "/bin"
    shown = command.shown(Path("/o/x y.key"))
    assert "secret" not in shown
    assert shown.startswith("VLLM_API_KEY=\"$(cat '/o/x y.key')\" PYTHONUNBUFFERED=1 ")
    assert shown.endswith(shlex.join(command.argv))
    assert "VLLM_API_KEY" not in engine_environment(command, {"VLLM_API_KEY": "old"}, None)
    assert "VLLM_API_KEY" not in command.shown(None)


def test_what_a_container_is_told_by_name_reaches_it_also_with_a_clean_environment() -> None:
    command = render_command(
        EngineSettings("m", container=Container("i", ContainerRuntime.APPTAINER, Path("/hf"))), "h", 1
    )
    environment = engine_environment(command, {"PYTHONPATH": "/host"}, "secret")
    assert environment["APPTAINERENV_VLLM_API_KEY"] == "secret"
    assert environment["HF_HOME"] == "/hf"
    assert "PYTHONPATH" not in environment


def test_a_step_gets_the_jobs_cpus() -> None:
    settings = EngineSettings("m", container=Container("i", ContainerRuntime.PYXIS, Path("/hf")))
    environment = engine_environment(render_command(settings, "h", 1), {"SLURM_CPUS_PER_TASK": "8"}, None)
    assert environment["SRUN_CPUS_PER_TASK"] == "8"
