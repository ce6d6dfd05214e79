"""Rendered job scripts: equal to the committed ones, correct bash whatever the values, and quoted as sbatch reads."""

from __future__ import annotations

import itertools
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from captionqa.data.shipped import shipped_folder
from captionqa.errors import UsageError
from captionqa.slurm.options import Kind, job_options
from captionqa.slurm.render import directive_quoted, render, shell_quoted

TEMPLATES = shipped_folder("slurm")
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
UNHEEDED = "--exclude=SC1091,SC2016"
"""SC1091: a sourced file that is not here. SC2016: a $ in single quotes; a user's $ is to stay what it is."""
NASTY = [
    "plain",
    "two words",
    "it's",
    'say "hi"',
    "$HOME",
    "`id`",
    "a\\b",
    "größe 中",
    "x;rm -rf /",
    "#no",
    "*?[a]",
    "!e",
    "-n",
    "",
]


def rendered(kind: Kind, given: dict[str, Any] | None = None, **values: Any) -> str:
    return render(kind, job_options(kind, given or {}), TEMPLATES, **values)


@pytest.mark.parametrize("kind", Kind)
def test_the_committed_script_is_what_its_template_renders(kind: Kind) -> None:
    """After a change of a template: captionqa slurm render KIND > slurm/KIND.sh"""
    assert (TEMPLATES / f"{kind}.sh").read_text(encoding="utf-8") == rendered(kind)


def test_every_template_has_its_committed_script() -> None:
    templates = {path.name.removesuffix(".jinja") for path in TEMPLATES.glob("*.jinja") if path.name[0] != "_"}
    assert templates == {path.name for path in TEMPLATES.glob("*.sh")} == {f"{kind}.sh" for kind in Kind}


GIVEN: list[dict[str, Any]] = [
    {},
    {"partition": "gpu", "account": "it's a \"project\"", "qos": "a\\b", "constraint": "a&(b|c)", "nodes": "1"},
    {"gpus": "h100:2", "cpus": "3", "mem": "9G", "time": "2-0", "array": "0-7%2", "signal-seconds": "60"},
    {"hf-home": "/cache of $USER/`x`/größe", "offline": True, "sbatch": ["exclude=g[3-4]", "exclusive", "wckey=a#b"]},
    {"setup": ["module load cuda/12", "echo \"it's $SLURM_JOB_ID\" 'a b'", "source \"$HOME\"/venv/bin/activate"]},
]  # fmt: skip
VALUES: dict[Kind, list[dict[str, Any]]] = {
    Kind.SERVER: [{"arguments": ["Qwen/x", "--served-model-name", "a b'c", "--", "--mm", '{"k": "$v"}']}],
    Kind.CAPTION: [
        {"arguments": ["--dataset-path", "we ird $d `x`", "--system-prompt", "a\nb 'c' \"d\""], "num_shards": 8},
        {"arguments": ["--dataset-path", "größe"]},
    ],
    Kind.QA: [{"arguments": ["--question-path", "q's.parquet", "--dataset-path", "d"], "num_shards": 3}],
    Kind.FINALIZE: [
        {"run": "/o d/m'x.run.json", "output_dir": "/o $d", "server_jobs": ["101", "102"]},
        {"run": "/o/m.run.json", "output_dir": "/o"},
    ],
}


def combinations() -> list[Any]:
    every = [
        (kind, given, {**values, "fallback_bin": fallback})
        for kind in Kind
        for given, values, fallback in itertools.product(GIVEN, [{}, *VALUES[kind]], [None, "/v env's/bin"])
    ]
    return [pytest.param(*one, id=f"{one[0]}-{number}") for number, one in enumerate(every)]


@pytest.mark.parametrize(("kind", "given", "values"), combinations())
def test_every_script_is_correct_bash(
    tmp_path: Path, kind: Kind, given: dict[str, Any], values: dict[str, Any]
) -> None:
    script = tmp_path / "job.sh"
    script.write_text(rendered(kind, given, **values), encoding="utf-8")
    for check in (["bash", "-n", str(script)], [str(SHELLCHECK), UNHEEDED, str(script)]):
        done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{script.read_text()}"


@pytest.mark.parametrize("word", NASTY)
def test_a_word_reaches_the_command_as_it_is(tmp_path: Path, word: str) -> None:
    """The script is run, with a captionqa that prints its arguments, in a folder of its own."""
    fake = tmp_path / "bin" / "captionqa"
    fake.parent.mkdir()
    fake.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    fake.chmod(0o755)
    script = tmp_path / "job.sh"
    script.write_text(
        rendered(Kind.CAPTION, {"setup": ["cd /", "echo $NOT_SET >/dev/null"]}, arguments=["--a", word]),
        encoding="utf-8",
    )
    environ = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", script, "more", word], env=environ, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\0")[:-1] == ["caption", "--requeue-limit", "50", "--a", word, "more", word]


def test_a_node_without_captionqa_says_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(rendered(Kind.QA), encoding="utf-8")
    environ = {"PATH": str(tmp_path), "SLURMD_NODENAME": "gpu7"}
    done = subprocess.run(["/bin/bash", script], env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 127
    assert "captionqa is not on the PATH of node gpu7" in done.stderr
    assert "--setup" in done.stderr


def test_a_shards_number_is_its_tasks_id_so_that_some_tasks_alone_do_the_same_parts() -> None:
    assert '--num-shards 8 --shard-index "$SLURM_ARRAY_TASK_ID"' in rendered(Kind.CAPTION, num_shards=8)
    assert "--num-shards" not in rendered(Kind.CAPTION)


def test_the_process_that_slurm_signals_is_captionqa() -> None:
    for kind in (Kind.SERVER, Kind.CAPTION, Kind.QA):
        assert rendered(kind).splitlines()[-1].startswith("exec captionqa ")


def finalized(tmp_path: Path, captionqa: str, **given: Any) -> tuple[int, list[str]]:
    """Run a finalize script with these fake commands. Returns its exit code and what was called."""
    log = tmp_path / "calls"
    for name, body in (("captionqa", captionqa), ("scancel", "exit 0")):
        fake = tmp_path / name
        fake.write_text(f'#!/bin/bash\necho "{name} $*" >> {shlex.quote(str(log))}\n{body}\n')
        fake.chmod(0o755)
    script = tmp_path / "job.sh"
    script.write_text(rendered(Kind.FINALIZE, given, run="/o/r.run.json", output_dir="/o", server_jobs=["101"]))
    done = subprocess.run(
        ["/bin/bash", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, timeout=20, check=False
    )
    return done.returncode, log.read_text().splitlines()


@pytest.mark.parametrize("code", [0, 3, 1])
def test_the_last_job_ends_as_the_export_did_and_stops_the_servers_whatever_it_was(tmp_path: Path, code: int) -> None:
    ended, calls = finalized(tmp_path, f'[ "$1" = export ] && exit {code}; exit 0')
    assert ended == code
    assert calls == [
        "captionqa export /o/r.run.json --output-dir /o",
        "captionqa servers stop --job 101 --output-dir /o",
    ]


def test_the_servers_are_stopped_too_when_a_line_of_the_users_own_ends_the_script(tmp_path: Path) -> None:
    ended, calls = finalized(tmp_path, "exit 0", setup=["exit 7"])
    assert (ended, calls) == (7, ["captionqa servers stop --job 101 --output-dir /o"])


def test_servers_that_cannot_be_drained_are_cancelled(tmp_path: Path) -> None:
    ended, calls = finalized(tmp_path, '[ "$1" = export ] && exit 0; exit 1')
    assert (ended, calls[-1]) == (0, "scancel 101")


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("gpu:h100:2", "--x=gpu:h100:2"),
        ("a|b&(c)", "--x=a|b&(c)"),
        ("two words", '--x="two words"'),
        ("a#b", '--x="a#b"'),
        ("it's", '--x="it\'s"'),
        ('say "hi"', '--x="say \\"hi\\""'),
        ("a\\b", '--x="a\\\\b"'),
        ("größe", "--x=größe"),
        ("", '--x=""'),
    ],
)
def test_a_directive_is_quoted_as_sbatch_reads_it(value: str, line: str) -> None:
    """Seen on SLURM 22.05: each of these lines gives back its value."""
    assert directive_quoted(("x", value)) == line


def test_a_flag_has_no_value() -> None:
    assert directive_quoted(("exclusive", None)) == "--exclusive"


def test_a_line_break_cannot_stand_in_a_directive() -> None:
    with pytest.raises(UsageError, match=r"line break cannot stand in an #SBATCH line"):
        directive_quoted(("comment", "captionqa-server output=/a\nb"))


def test_a_list_is_its_words_and_nothing_else_is_quoted() -> None:
    assert shell_quoted(["a b", "c", 3, Path("/x y")]) == "'a b' c 3 '/x y'"
    with pytest.raises(TypeError):
        shell_quoted(None)


def test_what_is_wrong_with_a_template_is_said_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "qa.sh.jinja").write_text("#!/bin/bash\n{{ nope }}\n")
    with pytest.raises(UsageError, match=r"qa\.sh\.jinja: 'nope' is undefined"):
        render(Kind.QA, job_options(Kind.QA, {}), tmp_path)
    (tmp_path / "qa.sh.jinja").write_text("#!/bin/bash\n{% if %}\n")
    with pytest.raises(UsageError, match=r"qa\.sh\.jinja, line 2: "):
        render(Kind.QA, job_options(Kind.QA, {}), tmp_path)
