from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from captionqa.errors import UsageError
from captionqa.slurm.options import (
    DEFAULTS,
    SETTINGS,
    JobOptions,
    Kind,
    directive_argument,
    id_ranges,
    job_options,
    shorter_time,
)


def lines(kind: Kind = Kind.CAPTION, **given: Any) -> list[str]:
    options = job_options(kind, {name.replace("_", "-"): value for name, value in given.items()})
    return [directive_argument(one) for one in options.directives()]


def test_every_setting_is_a_field_of_the_options() -> None:
    names = {field.name for field in fields(JobOptions)}
    assert [setting.name for setting in SETTINGS if setting.field not in names] == []


@pytest.mark.parametrize("kind", Kind)
def test_without_a_word_a_job_has_its_kinds_defaults(kind: Kind) -> None:
    asked = lines(kind)
    assert asked[:2] == [f"--job-name=captionqa-{kind}", f"--comment=captionqa-{kind}"]
    assert f"--time={DEFAULTS[kind].time}" in asked
    assert ("--gres=gpu:1" in asked) == (kind is Kind.SERVER)
    assert ("--signal=B:USR1@120" in asked) == (kind is not Kind.FINALIZE)
    assert {"--open-mode=append", "--requeue", "--output=%x-%j.out"} <= set(asked)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"partition": "gpu"}, "--partition=gpu"),
        ({"account": "my project"}, "--account=my project"),
        ({"qos": "long"}, "--qos=long"),
        ({"constraint": "a100|h100"}, "--constraint=a100|h100"),
        ({"nodes": "1-2"}, "--nodes=1-2"),
        ({"gres": "gpu:h100:2,lscratch:10"}, "--gres=gpu:h100:2,lscratch:10"),
        ({"gpus": "h100:2"}, "--gpus=h100:2"),
        ({"cpus": "16"}, "--cpus-per-task=16"),
        ({"cpus": 16}, "--cpus-per-task=16"),
        ({"mem": "64000"}, "--mem=64000"),
        ({"mem": "1T"}, "--mem=1T"),
        ({"mem": "8GB"}, "--mem=8GB"),
        ({"time": 90}, "--time=90"),
        ({"time": "2-00"}, "--time=2-00"),
        ({"time": "UNLIMITED"}, "--time=UNLIMITED"),
        ({"array": "0-7"}, "--array=0-7"),
        ({"array": "1,3-9:2%4"}, "--array=1,3-9:2%4"),
        ({"array": "0-7", "throttle": "2"}, "--array=0-7%2"),
        ({"signal_seconds": "300"}, "--signal=B:USR1@300"),
        ({"sbatch": ["exclude=gpu3,gpu4"]}, "--exclude=gpu3,gpu4"),
        ({"sbatch": ["--exclude=gpu3"]}, "--exclude=gpu3"),
        ({"sbatch": ["exclusive"]}, "--exclusive"),
        ({"sbatch": {"mail-type": "END", "exclusive": True}}, "--mail-type=END"),
        ({"sbatch": ["export=A=1,B=2"]}, "--export=A=1,B=2"),
    ],
)
def test_a_setting_becomes_its_directive(given: dict[str, Any], expected: str) -> None:
    assert expected in lines(**given)


@pytest.mark.parametrize(
    ("given", "fragments"),
    [
        ({"partiton": "gpu"}, ["unknown job option 'partiton'. Known: account, array, "]),
        ({"time": "5x"}, ["time '5x'", "08:00:00"]),
        ({"time": "1:2:3:4"}, ["time"]),
        ({"mem": "8Gi"}, ["mem '8Gi': looks like 8G"]),
        ({"cpus": "0"}, ["cpus '0': is a whole number from 1 on"]),
        ({"cpus": "four"}, ["cpus 'four'"]),
        ({"gpus": "many"}, ["gpus 'many'"]),
        ({"gres": "gpu 1"}, ["gres 'gpu 1'"]),
        ({"array": "a-b"}, ["array 'a-b'"]),
        ({"signal_seconds": "70000"}, ["goes from 1 to 65535"]),
        ({"partition": "a\nb"}, ["partition 'a\\nb'", "one line"]),
        ({"partition": "  "}, ["is empty"]),
        ({"partition": ["a"]}, ["must be a text"]),
        ({"offline": "yes"}, ["offline 'yes': is true or false"]),
        ({"setup": 3}, ["setup 3"]),
        ({"gres": "gpu:1", "gpus": "1"}, ["gres 'gpu:1' and gpus '1'", "Give one"]),
        ({"array": "0-7%2", "throttle": "2"}, ["has its throttle already"]),
        ({"sbatch": ["x"]}, ["'x' is no long option of sbatch"]),
        ({"sbatch": ["time=3"]}, ["time is not for --sbatch: use --time"]),
        ({"sbatch": ["cpus-per-task=3"]}, ["use --cpus"]),
        ({"sbatch": ["output=x"]}, ["use --log-dir"]),
        ({"sbatch": ["wait"]}, ["captionqa calls sbatch"]),
        ({"sbatch": ["comment=x"]}, ["finds its jobs by their comments"]),
        ({"sbatch": ["exclude=a\n#SBATCH"]}, ["one line"]),
    ],
)
def test_what_sbatch_could_not_read_is_refused_with_its_value(given: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        lines(**given)
    assert [fragment for fragment in fragments if fragment not in str(caught.value)] == []


def test_gpus_take_the_place_of_the_servers_default_gres() -> None:
    assert "--gpus=2" in lines(Kind.SERVER, gpus="2")
    assert "--gres=gpu:1" not in lines(Kind.SERVER, gpus="2")


def test_set_up_lines_may_come_one_by_one_or_as_one_text() -> None:
    assert job_options(Kind.QA, {"setup": ["a", "b\nc "]}).setup == ("a", "b", "c")
    assert job_options(Kind.QA, {"setup": "a\nb\n"}).setup == ("a", "b")


def test_only_what_was_said_is_put_on_sbatchs_line_so_that_a_users_variables_can_change_defaults() -> None:
    arguments = job_options(Kind.SERVER, {"time": "1:00:00", "sbatch": ["exclusive"]}).arguments()
    assert {"--time=1:00:00", "--exclusive", "--requeue", "--job-name=captionqa-server"} <= set(arguments)
    assert [one for one in arguments if one.startswith(("--mem", "--cpus", "--gres"))] == []


@pytest.mark.parametrize(
    ("ids", "text"), [([], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([0, 2, 3, 7], "0,2-3,7"), ([1, 3, 5], "1,3,5")]
)
def test_task_ids_are_written_as_ranges(ids: list[int], text: str) -> None:
    assert id_ranges(ids) == text


@pytest.mark.parametrize(
    ("limit", "shorter"),
    [
        ("30", "30"),
        ("30:00", "30:00"),
        ("0:59:59", "0:59:59"),
        ("8:00:00", "01:00:00"),
        ("1-0", "01:00:00"),
        ("0-0:30", "0-0:30"),
        ("0", "01:00:00"),
        ("UNLIMITED", "01:00:00"),
    ],
)
def test_the_shorter_of_two_limits(limit: str, shorter: str) -> None:
    assert shorter_time(limit, "01:00:00") == shorter


@pytest.mark.parametrize(
    ("given", "signal_s"),
    [({}, 120), ({"time": "1"}, 15), ({"time": "00:00:30"}, 10), ({"time": "unlimited"}, 120), ({"time": "8"}, 120),
     ({"time": "1", "signal-seconds": 50}, 50)],
)  # fmt: skip
def test_a_short_job_is_told_late_enough_to_have_done_something(given: dict[str, Any], signal_s: int) -> None:
    assert job_options(Kind.CAPTION, given).signal_s == signal_s
