"""Why an engine did not start: known causes in what it printed, each with a way out. Pure.

In: the end of a log and an exit status. Out: a `Cause` or None. What is quoted are the words of vLLM (0.11 to 0.33),
torch, Hugging Face and shells.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    what: str
    """One line, for the lease as well."""
    way_out: str


_PORT_TAKEN = re.compile(r"address already in use|errno 98\b", re.IGNORECASE)

_KNOWN: tuple[tuple[str, Cause], ...] = (
    (
        r"KV cache is needed|than the maximum number of tokens that can be stored in KV cache|"
        r"No available memory for the cache blocks|Available KV cache memory: -",
        Cause(
            "the context does not fit into the GPU memory that is left beside the model",
            "Give a smaller --max-model-len (8192, say), a larger --gpu-memory-utilization, or more GPUs "
            "(--tensor-parallel-size).",
        ),
    ),
    (
        r"out of memory|OutOfMemoryError|Free memory on device .* is less than desired",
        Cause(
            "out of GPU memory",
            "See with nvidia-smi whether another process has the GPU. Otherwise give a smaller --max-model-len or "
            "--gpu-memory-utilization, --quantization fp8, or more GPUs (--tensor-parallel-size).",
        ),
    ),
    (
        r"No CUDA GPUs are available|Failed to infer device type|no CUDA-capable device|Found no NVIDIA driver|"
        r"device_count.*= ?0\b|NVML Shared Library Not Found",
        Cause(
            "no GPU here",
            "Run it on a GPU node: ask SLURM for one (--gres=gpu:1). In a container, see that GPUs are passed in.",
        ),
    ),
    (
        r"larger than the number of available GPUs|world size .* is (larger|greater)",
        Cause(
            "fewer GPUs than --tensor-parallel-size times --data-parallel-size",
            "Ask SLURM for more (--gres=gpu:N), or lower those.",
        ),
    ),
    (
        r"gated repo|GatedRepoError|401 Client Error|403 Client Error|awaiting a review from the repo authors",
        Cause(
            "the model is gated",
            "Accept its licence on huggingface.co and log in (`hf auth login`, or HF_TOKEN in the environment).",
        ),
    ),
    (
        r"RepositoryNotFound|not a valid model identifier|LocalEntryNotFoundError|OfflineModeIsEnabled|"
        r"outgoing traffic has been disabled|couldn't connect to 'https://huggingface\.co'|"
        r"Can't load the configuration|Max retries exceeded with url|Invalid repository ID or local directory",
        Cause(
            "the model is not in the cache, and could not be fetched",
            "Check its name. Compute nodes often have no internet: download it first on a login node (`hf download "
            "MODEL`) with the same HF_HOME, and set HF_HUB_OFFLINE=1 in the job.",
        ),
    ),
    (
        r"unrecognized arguments|no such option|invalid choice:|error: argument |ambiguous option",
        Cause(
            "an option that this engine does not know",
            "Look it up with `vllm serve --help=all`: releases rename and drop options.",
        ),
    ),
    (
        _PORT_TAKEN.pattern,
        Cause("the port is taken by another process", "Leave --port out (a free one is found), or give another."),
    ),
    (
        r"No space left on device|Disk quota exceeded",
        Cause("no space left", "Free some, or put HF_HOME and --output-dir on another file system."),
    ),
    (
        r"ModuleNotFoundError|command not found|executable file not found|No module named",
        Cause(
            "the engine is not (wholly) installed here",
            "Install it with pip install 'captionqa[server]', name it with --vllm-command, or give a --container.",
        ),
    ),
)


def port_was_taken(log: str) -> bool:
    return _PORT_TAKEN.search(log) is not None


def find_cause(log: str, status: int | None) -> Cause | None:
    """The most telling cause in the log's end; ``status`` as asyncio gives it (negative: a signal)."""
    for pattern, cause in _KNOWN:
        if re.search(pattern, log, re.IGNORECASE):
            return cause
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return Cause("killed from outside, as when the node's or the job's memory is full", "Ask for more: --mem.")
    return None


def describe_status(status: int) -> str:
    """«exit code 1», «SIGKILL»."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def tail(log: str, lines: int) -> str:
    """The last lines, indented, none longer than a screen's few rows."""
    kept = [line.rstrip()[:500] for line in log.splitlines() if line.strip()][-lines:]
    return "\n".join(f"    {line}" for line in kept) or "    (it printed nothing)"
