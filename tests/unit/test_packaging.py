"""What is installed: the wheel holds the prompts and the job scripts, and both installations find them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import captionqa
from captionqa.data.shipped import shipped_folder
from captionqa.server.models import catalogue

CHECKOUT = Path(captionqa.__file__).parent.parent

pytestmark = pytest.mark.skipif(not (CHECKOUT / "pyproject.toml").is_file(), reason="not run from a checkout")


def shipped_files(root: Path) -> set[str]:
    """The templates and scripts below a folder, by their name relative to it."""
    patterns = ("prompts/*.jinja", "prompts/qa/*.jinja", "slurm/*.sh", "slurm/*.jinja")
    return {path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern)}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, unpacked. Built with what is installed: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run(
        [*build, "--disable-pip-version-check", "--wheel-dir", str(folder), str(CHECKOUT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("captionqa-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def ask(site: Path, code: str) -> str:
    """What a Python prints that sees captionqa in ``site`` and nowhere else."""
    lines = f"import sys; sys.path.insert(0, {str(site)!r})\n{code}"
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", lines], cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_wheel_holds_every_prompt_and_script_of_the_checkout(unpacked: Path) -> None:
    expected = shipped_files(CHECKOUT)
    assert {"prompts/LONG.jinja", "prompts/qa/default.jinja", "slurm/server.sh", "slurm/_job.sh.jinja"} <= expected
    assert shipped_files(unpacked / "captionqa" / "shipped") == expected
    for name in expected:
        assert (unpacked / "captionqa" / "shipped" / name).read_bytes() == (CHECKOUT / name).read_bytes()


def test_the_wheel_holds_every_module_and_nothing_else(unpacked: Path) -> None:
    modules = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "captionqa").rglob("*.py")}
    assert {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*.py")} == modules
    assert {path.name.partition("-")[0] for path in unpacked.iterdir()} == {"captionqa"}


def test_an_installed_wheel_has_the_presets_and_their_templates(unpacked: Path) -> None:
    code = (
        "from captionqa.server.models import catalogue\n"
        "print(sum(preset.chat_template is None or preset.chat_template.is_file() for preset in catalogue().presets))"
    )
    assert int(ask(unpacked, code)) == len(catalogue().presets)


def test_an_installed_wheel_has_the_page_of_reports(unpacked: Path) -> None:
    page = CHECKOUT / "captionqa" / "report" / "page"
    names = {path.name for path in page.iterdir()}
    assert {"base.html.jinja", "report.css", "report.js"} <= names
    for name in names:
        assert (unpacked / "captionqa" / "report" / "page" / name).read_bytes() == (page / name).read_bytes()


@pytest.mark.parametrize("name", ["prompts", "slurm"])
def test_an_installed_wheel_finds_its_own_files(unpacked: Path, name: str) -> None:
    code = f"from captionqa.data.shipped import shipped_folder; print(shipped_folder({name!r}))"
    assert ask(unpacked, code) == str(unpacked / "captionqa" / "shipped" / name)


@pytest.mark.parametrize("name", ["prompts", "slurm"])
def test_a_checkout_finds_the_files_beside_the_package(name: str) -> None:
    code = f"from captionqa.data.shipped import shipped_folder; print(shipped_folder({name!r}))"
    assert ask(CHECKOUT, code) == str(CHECKOUT / name)


def test_the_wheel_has_the_packages_version_and_its_command(unpacked: Path) -> None:
    (info,) = unpacked.glob("captionqa-*.dist-info")
    assert f"Version: {captionqa.__version__}\n" in (info / "METADATA").read_text(encoding="utf-8")
    assert "captionqa = captionqa.cli.main:main" in (info / "entry_points.txt").read_text(encoding="utf-8")


def test_a_broken_installation_says_where_it_looked() -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder nope/ of captionqa is in neither .*shipped/nope and "):
        shipped_folder("nope")
