"""Several clients: one writer per journal, shards that together make one run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from captionqa.server.standin import Faults, StandInServer

if TYPE_CHECKING:
    from tests.standin.conftest import Cli, Drawn, Work

SHARDS = 3


@pytest.fixture(params=["caption", "qa"])
def work(request: pytest.FixtureRequest, drawn: Drawn) -> Work:
    return getattr(drawn, request.param)


def test_a_second_writer_is_told_who_writes_and_the_first_finishes(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=Faults(latency_s=0.3))
    command = (*drawn.qa.arguments, "--server-url", server.url, "--max-concurrency")
    first = cli.start(*command, 3)
    first.until(lambda: server.stats()["answered"] > 0)
    second = cli.run(*command, 2, code=1)
    assert first.runs, "the test must overlap"
    assert f"process {first.process.pid} on" in second.err
    assert "is writing this run" in second.err
    assert "--run-name" in second.err
    assert first.ended().code == 0
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)
    assert server.stats()["requests"] == drawn.qa.size


def test_an_export_may_be_made_while_a_client_writes(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=Faults(latency_s=0.15))
    first = cli.start(*drawn.qa.arguments, "--server-url", server.url, "--max-concurrency", 3)
    first.until(lambda: server.stats()["answered"] >= 5)
    partial = cli.call("export", cli.folder / "output/qa/pixel-reader", code=3)
    assert 1 <= partial["n"] < drawn.qa.size
    assert partial["n"] + partial["pending"] == drawn.qa.size
    assert first.ended().code == 0
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)


def test_shards_in_turn_make_the_run_of_one_client(cli: Cli, drawn: Drawn, work: Work, server: StandInServer) -> None:
    answered = 0
    for index in range(SHARDS):
        shard = ("--num-shards", SHARDS, "--shard-index", index)
        report = cli.call(*work.arguments, *shard, "--server-url", server.url)
        assert report["summary"] is None
        answered += report["outcomes"]["answered"]
        exported = cli.call("export", work.files(cli.folder).path(".run.json"), code=3 if index < SHARDS - 1 else 0)
        assert exported["n"] == answered
    assert answered == work.size
    assert server.stats()["repeated"] == 0
    assert work.exports(cli.folder) == drawn.expect(work)


def test_the_tasks_of_a_slurm_array_share_the_work_at_the_same_time(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=Faults(latency_s=0.02))
    array = {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_MAX": "9"}
    tasks = [
        cli.start(*drawn.qa.arguments, "--server-url", server.url, env={**array, "SLURM_ARRAY_TASK_ID": str(task_id)})
        for task_id in (5, 7, 9)
    ]
    for rank, task in enumerate(tasks):
        ended = task.ended()
        assert ended.code == 0
        assert f"shard {rank} of 3 (from the SLURM array)" in ended.err
        assert "captionqa export" in ended.out
    files = drawn.qa.files(cli.folder)
    assert len(list(files.folder.glob("*.journal.*-of-0003.jsonl"))) == SHARDS
    ended = cli.run("export", "qa/pixel-reader")
    assert "written: " in ended.out
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)
    assert server.stats()["requests"] == drawn.qa.size


def test_a_run_may_go_on_with_another_number_of_shards(cli: Cli, drawn: Drawn, server: StandInServer) -> None:
    command = (*drawn.qa.arguments, "--server-url", server.url)
    cli.call(*command, "--num-shards", 3, "--shard-index", 1)
    cli.call(*command, "--num-shards", 2, "--shard-index", 0)
    cli.call(*command)
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)
    assert server.stats()["requests"] == drawn.qa.size


def test_two_writers_of_one_shard_are_kept_apart_too(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=Faults(latency_s=0.4))
    shard = ("--num-shards", 2, "--shard-index", 1, "--max-concurrency", 2, "--server-url", server.url)
    first = cli.start(*drawn.qa.arguments, *shard)
    first.until(lambda: server.stats()["answered"] > 0)
    assert f"process {first.process.pid} on" in cli.run(*drawn.qa.arguments, *shard, code=1).err
    assert first.runs, "the test must overlap"
    first.kill()


@pytest.mark.parametrize(
    "arguments",
    [("--num-shards", 3), ("--shard-index", 1), ("--num-shards", 3, "--shard-index", 3)],
)
def test_half_a_shard_is_a_usage_error(
    cli: Cli, drawn: Drawn, server: StandInServer, arguments: tuple[object, ...]
) -> None:
    ended = cli.run(*drawn.qa.arguments, *arguments, "--server-url", server.url, code=2)
    assert "--shard-index" in ended.err
    assert server.stats()["requests"] == 0


def test_an_export_of_a_finished_run_writes_the_same_files_again(cli: Cli, drawn: Drawn, work: Work) -> None:
    shutil.copytree(drawn.folder.parent / "output", cli.folder / "output")
    files = work.files(cli.folder)
    before = files.snapshot()
    for suffix in (work.main, work.counts, "_failed.json"):
        files.path(suffix).unlink()
    cli.call("export", files.path(".journal.jsonl"))
    assert files.snapshot() == before


def test_exporting_what_is_no_run_says_what_a_run_is(cli: Cli) -> None:
    assert "A run is a *.run.json file" in cli.run("export", "nothing", code=2).err
