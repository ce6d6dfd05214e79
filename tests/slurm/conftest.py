"""A SLURM cluster for each pytest worker, with the checkout's wheel installed for its users.

One cluster per worker rather than one for all: 17 MB, 2 ms of CPU per second and 0.5 s to bring it up (2 s with the
wheel) buy that a test may crash nodes and controllers without a thought for its neighbours. Most of these tests wait,
for a time limit or a requeue: more workers than cores pay.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import INSTALL, Cluster, User, missing

CHECKOUT = Path(__file__).parents[2]


def pytest_runtest_setup() -> None:
    """Skips what is in this folder. Here rather than in a fixture: so the summary has one line, not one per test."""
    if why := missing():
        pytest.skip(f"SLURM tests need root, slurm-wlm and munge ({why}): {INSTALL}")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A wheel of this checkout, built by whichever worker is first. Built with what is installed: no network."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent  # of all workers
    folder = folder / "slurm-wheel"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(folder.glob("*.whl")):
            build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
            subprocess.run([*build, "--disable-pip-version-check", "--wheel-dir", folder, CHECKOUT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def lab(wheel: Path) -> Iterator[Cluster]:
    """This worker's cluster, as long as its tests run."""
    cluster = Cluster()
    try:
        cluster.up()
        cluster.install(wheel)
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def cluster(lab: Cluster) -> Iterator[Cluster]:
    """The cluster: every node idle, nothing queued, homes empty."""
    yield lab
    lab.reset()


@pytest.fixture
def alice(cluster: Cluster) -> User:
    return cluster.users["alice"]


@pytest.fixture
def bob(cluster: Cluster) -> User:
    return cluster.users["bob"]


@pytest.fixture
def installed(cluster: Cluster) -> Path:
    """The command of the installed wheel; it is on the PATH of users and jobs as well."""
    return cluster.venv / "bin" / "captionqa"
