"""The command line of an engine: what `captionqa serve` runs, as a pure function of its settings.

In: `EngineSettings`, an address. Out: an `EngineCommand`: argv and what is added to and taken from the environment. The
API key is in neither: it goes by VLLM_API_KEY (see `engine_environment`), because argv can be read by everybody on the
node. Only options that vLLM 0.11 to 0.33 know are rendered; ``--disable-log-requests`` and the like are gone from it.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from captionqa.errors import UsageError

KEY_VARIABLE = "VLLM_API_KEY"


class Engine(StrEnum):
    VLLM = "vllm"
    STANDIN = "standin"


DEFAULT_MODELS = {Engine.VLLM: "Qwen/Qwen3-VL-4B-Instruct", Engine.STANDIN: "standin/pixel-reader"}


class ContainerRuntime(StrEnum):
    APPTAINER = "apptainer"
    SINGULARITY = "singularity"
    PYXIS = "pyxis"


@dataclass(frozen=True, slots=True)
class Container:
    """The image that vLLM runs in."""

    image: str
    runtime: ContainerRuntime
    hf_home: Path
    """Folder of Hugging Face's cache on the host; it has the same path inside."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What decides the command line; the names are vLLM's. None: the engine's default."""

    model: str
    engine: Engine = Engine.VLLM
    served_model_name: str | None = None
    tensor_parallel_size: int | None = None
    data_parallel_size: int | None = None
    quantization: str | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    max_num_seqs: int | None = None
    limit_mm_per_prompt: Mapping[str, int] = field(default_factory=dict)
    chat_template: str | None = None
    """A file, or the template itself."""
    allowed_local_media_path: Path | None = None
    extra: tuple[str, ...] = ()
    """Passed on as they are."""
    vllm_command: tuple[str, ...] = ("vllm",)
    container: Container | None = None

    def __post_init__(self) -> None:
        check_extra(self.extra)

    @property
    def served(self) -> str:
        """The name that requests must give."""
        return self.served_model_name or self.model


@dataclass(frozen=True, slots=True)
class EngineCommand:
    """What is run."""

    argv: tuple[str, ...]
    added: Mapping[str, str] = field(default_factory=dict)
    """To the environment."""
    dropped: tuple[str, ...] = ()
    """From the environment."""
    unused: tuple[str, ...] = ()
    """Options that were given and that this engine does not have."""

    def shown(self, key_file: Path | None) -> str:
        """The command as one could type it into a shell; without the key, which is read from its file."""
        words = [f"{name}={shlex.quote(value)}" for name, value in self.added.items()]
        if key_file is not None:
            words.insert(0, f'{KEY_VARIABLE}="$(cat {shlex.quote(str(key_file))})"')
        return " ".join([*words, shlex.join(self.argv)])


_OURS = {
    "--host": "give --host before the --",
    "--port": "give --port before the --",
    "--served-model-name": "give --served-model-name before the --",
    "--model": "give the model as the argument of `captionqa serve`",
    "--uds": "captionqa reaches its server over TCP",
    "--root-path": "captionqa expects the server at /v1",
}


def check_extra(extra: Sequence[str]) -> None:
    """Raises: UsageError for engine options that would lead the server away from where its lease says it is."""
    for word in extra:
        name = word.partition("=")[0].replace("_", "-")
        if name.startswith("--api-k"):
            raise UsageError(
                f"{name}: a key on a command line can be read by everybody on the node (ps). Put it into a file that "
                "only you can read and give that: --api-key-file FILE. Without one, a fresh key is made."
            )
        if name.startswith("--ssl-"):
            raise UsageError(
                f"{name}: captionqa serve speaks plain HTTP with its server. Start vLLM with TLS by yourself, and give "
                "clients its --server-url."
            )
        if name in _OURS:
            raise UsageError(f"{name} among the engine's options: {_OURS[name]}.")


def parse_limits(text: str) -> dict[str, int]:
    """Items per prompt, from ``image=4,video=0`` or JSON; today's vLLM takes only the latter, as ``{"image": 4}``.

    Raises: UsageError.
    """
    if text.lstrip().startswith("{"):
        try:
            limits = json.loads(text)
        except ValueError as error:
            raise _bad_limits(text) from error
    else:
        limits = {name.strip(): number.strip() for name, _, number in (one.partition("=") for one in text.split(","))}
    parsed: dict[str, int] = {}
    for name, number in limits.items():
        if not name or isinstance(number, bool) or not re.fullmatch(r"\d+", str(number)):
            raise _bad_limits(text)
        parsed[name] = int(number)
    return parsed


def _bad_limits(text: str) -> UsageError:
    return UsageError(f"--limit-mm-per-prompt {text!r}: not understood. Write image=4 or '{{\"image\": 4}}'.")


def render_command(settings: EngineSettings, host: str, port: int) -> EngineCommand:
    """Raises: UsageError for a path that the container's runtime cannot be given."""
    if settings.engine is Engine.STANDIN:
        return _standin(settings, host, port)
    # Its output goes to a file, where Python would hold back what it prints until its buffer is full.
    added = {"PYTHONUNBUFFERED": "1", "VLLM_NO_USAGE_STATS": "1"}
    argv = (*settings.vllm_command, "serve", settings.model, *_vllm_options(settings, host, port), *settings.extra)
    if settings.container is None:
        return EngineCommand(argv, added)
    mounts = [str(path) for path in _mounts(settings, settings.container)]
    for path in mounts:
        if "," in path or ":" in path:
            raise UsageError(f"{path}: a path with ',' or ':' cannot be mounted into a container. Rename or link it.")
    # The host's Python packages mean nothing inside; ~/.local, which is mounted with the home, least of all.
    added |= {"HF_HOME": str(settings.container.hf_home), "PYTHONNOUSERSITE": "1"}
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return EngineCommand((*_container(settings.container, mounts), *argv), added, dropped)


def engine_environment(command: EngineCommand, environment: Mapping[str, str], key: str | None) -> dict[str, str]:
    """The environment that the engine gets, its key included."""
    kept = {name: value for name, value in environment.items() if name not in (*command.dropped, KEY_VARIABLE)}
    kept |= command.added
    # 22.05 and later: srun no longer takes this over from sbatch by itself (srun(1), --cpus-per-task).
    if command.argv[0] == "srun" and "SLURM_CPUS_PER_TASK" in kept:
        kept.setdefault("SRUN_CPUS_PER_TASK", kept["SLURM_CPUS_PER_TASK"])
    if key is not None:
        kept[KEY_VARIABLE] = key
        # The host's environment is passed into the container, unless a site sets APPTAINER_CLEANENV; these always are.
        if command.argv[0] in (ContainerRuntime.APPTAINER, ContainerRuntime.SINGULARITY):
            kept[f"{command.argv[0].upper()}ENV_{KEY_VARIABLE}"] = key
    return kept


def _vllm_options(settings: EngineSettings, host: str, port: int) -> Iterator[str]:
    limits = json.dumps(dict(settings.limit_mm_per_prompt), separators=(",", ":"))
    given: dict[str, object] = {
        "--host": host,
        "--port": port,
        "--served-model-name": settings.served,
        "--tensor-parallel-size": settings.tensor_parallel_size,
        "--data-parallel-size": settings.data_parallel_size,
        "--quantization": settings.quantization,
        "--max-model-len": settings.max_model_len,
        "--gpu-memory-utilization": settings.gpu_memory_utilization,
        "--max-num-seqs": settings.max_num_seqs,
        "--limit-mm-per-prompt": limits if settings.limit_mm_per_prompt else None,
        "--chat-template": settings.chat_template,
        "--allowed-local-media-path": settings.allowed_local_media_path,
    }
    for name, value in given.items():
        if value is not None:
            yield from (name, str(value))


def _standin(settings: EngineSettings, host: str, port: int) -> EngineCommand:
    given: dict[str, object] = {
        "--host": host,
        "--port": port,
        "--model": settings.served,
        "--max-model-len": settings.max_model_len,
        "--max-num-seqs": settings.max_num_seqs,
        "--max-images": settings.limit_mm_per_prompt.get("image"),
        "--allowed-local-media-path": settings.allowed_local_media_path,
    }
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    absent = (
        "tensor_parallel_size",
        "data_parallel_size",
        "quantization",
        "gpu_memory_utilization",
        "chat_template",
        "container",
    )
    unused = tuple("--" + name.replace("_", "-") for name in absent if getattr(settings, name) is not None)
    argv = (sys.executable, "-m", "captionqa", "standin", *options, *settings.extra)
    return EngineCommand(argv, {"PYTHONUNBUFFERED": "1"}, unused=unused)


def _mounts(settings: EngineSettings, container: Container) -> list[Path]:
    """Folders and files that the engine must find inside the container, under the same paths."""
    named = [settings.model, settings.chat_template or "", str(settings.allowed_local_media_path or "")]
    local = [Path(name) for name in named if name.startswith("/")]
    return list(dict.fromkeys([container.hf_home, *local]))


def _container(container: Container, mounts: Sequence[str]) -> list[str]:
    if container.runtime is not ContainerRuntime.PYXIS:
        binds = [word for path in mounts for word in ("--bind", path)]
        return [container.runtime.value, "exec", "--nv", *binds, container.image]
    return [
        "srun",
        "--nodes=1",
        "--ntasks=1",
        "--overlap",  # beside whatever else the job runs; without it the step waits for its resources (20.11 and later)
        "--export=ALL",  # a job submitted with --export=NONE hands on nothing otherwise, not even the key
        f"--container-image={container.image}",
        f"--container-mounts={','.join(f'{path}:{path}' for path in mounts)}",
    ]
