"""Which GPUs this machine has, asked of nvidia-smi: no torch, no vLLM, no CUDA context.

In: the environment (CUDA_VISIBLE_DEVICES). Out: `Cards`, or None where that cannot be known: no driver, a slice of a
GPU (MIG), GPUs of another maker.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from captionqa.core.gpu_memory import MIB
from captionqa.server.preset_options import Cards

QUERY = ("--query-gpu=index,uuid,memory.total,compute_cap,name", "--format=csv,noheader,nounits")
PATIENCE_S = 20.0
"""A driver that starts up takes seconds; one that hangs must not hold up a server."""


@dataclass(frozen=True, slots=True)
class Gpu:
    index: str
    uuid: str
    memory_mib: int
    capability: float | None
    name: str


def found_cards(environment: Mapping[str, str]) -> Cards | None:
    """The GPUs that a process with this environment may use; None when there is nothing to be known."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return None
    try:
        asked = subprocess.run(
            [program, *QUERY], capture_output=True, text=True, timeout=PATIENCE_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if asked.returncode != 0:
        return None
    return visible_cards(parse_gpus(asked.stdout), environment.get("CUDA_VISIBLE_DEVICES"))


def parse_gpus(text: str) -> list[Gpu]:
    """The lines of nvidia-smi's CSV. A line that is of another form, such as an error message, is no GPU."""
    gpus = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",", 4)]
        if len(parts) == 5 and parts[2].isdecimal():
            index, uuid, memory, capability, name = parts
            number = float(capability) if capability.replace(".", "", 1).isdecimal() else None
            gpus.append(Gpu(index, uuid, int(memory), number, name))
    return gpus


def visible_cards(gpus: list[Gpu], visible: str | None) -> Cards | None:
    """Those that CUDA_VISIBLE_DEVICES leaves, None of them being set: all. CUDA reads it up to the first unknown name
    (CUDA C++ Programming Guide, environment variables); a prefix of a UUID names a GPU as well."""
    source = "nvidia-smi"
    if visible is not None:
        source = f"nvidia-smi, CUDA_VISIBLE_DEVICES={visible}"
        chosen = []
        for name in visible.split(","):
            one = [gpu for gpu in gpus if gpu.index == name.strip() or (name and gpu.uuid.startswith(name.strip()))]
            if len(one) != 1:
                break
            chosen += one
        gpus = chosen
    if not gpus:
        return None
    smallest = min(gpus, key=lambda gpu: gpu.memory_mib)
    capabilities = [gpu.capability for gpu in gpus if gpu.capability is not None]
    least = min(capabilities) if len(capabilities) == len(gpus) else None
    return Cards(smallest.memory_mib * MIB, len(gpus), source, smallest.name, least)
