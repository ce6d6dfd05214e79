"""Whole runs on the cluster, with what happens to jobs there: every one ends as an undisturbed run in one process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .cluster import Cluster, User
from .runs import MODEL, QUESTIONS, SLOW, Prepared, Run, Submitted, prepare

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def prepared(lab: Cluster) -> Prepared:
    return prepare(lab.users["alice"])


@pytest.fixture
def run(alice: User, prepared: Prepared) -> Run:
    return prepared.run(alice)


def test_one_submit_brings_up_servers_answers_merges_and_cleans_up(run: Run) -> None:
    # Two nodes have four GPUs each: the third server never starts, and must not stay in the queue.
    submitted = run.submit("--server-gres", "gpu:4", "--wait", servers=3, shards=3)
    run.until_done()
    run.assert_complete()
    assert ["all", "120"] in [line.split()[:2] for line in submitted.out.splitlines()], "no summary at the end"


def test_the_shipped_scripts_need_no_url_and_the_client_waits_for_a_pending_server(run: Run) -> None:
    user = run.user
    for name in ("server", "qa"):
        user.write(f"slurm/{name}.sh", (CHECKOUT / "slurm" / f"{name}.sh").read_text())
    server = user.sbatch(
        "--hold", "--partition=gpu", "--mem=2G", "--cpus-per-task=1", "slurm/server.sh", MODEL, "--engine", "standin"
    )
    client = user.sbatch("--mem=1G", "--cpus-per-task=1", "slurm/qa.sh", *QUESTIONS)
    log = user.home / f"captionqa-qa-{client}.out"
    run.until(
        lambda: log.exists() and f"waiting for a server: SLURM job {server} is PENDING, JobHeldUser" in log.read_text(),
        "the client says what it waits for",
    )
    user.run("scontrol", "release", server)
    run.until(lambda: run.cluster.job(client).state == "COMPLETED", "the client has ended")
    user.run("captionqa", "servers", "stop", "--all")
    run.until_done()
    run.assert_complete()


def test_a_server_in_the_queue_is_listed_counted_on_and_taken_out(run: Run) -> None:
    run.user.write("c.toml", 'output-dir = "elsewhere"\n[slurm]\nserver-partition = "gpu"\nserver-mem = "2G"\n')
    small = ("--cpus", 1, "--sbatch", "hold", "--engine", "standin", MODEL)
    run.user.run("captionqa", "servers", "start", "--config", "c.toml", *small)
    (server,) = json.loads(run.user.run("captionqa", "servers", "--config", "c.toml", "--json").stdout)["servers"]
    assert (server["state"], server["detail"]) == ("queued", f"SLURM job {server['job']} is PENDING, JobHeldUser")
    assert "one for" in run.user.run("captionqa", "qa", *QUESTIONS, code=2).stderr, "the other folder is not named"

    ended = run.user.run(
        "captionqa", "slurm", "submit", "qa", *QUESTIONS, "--output-dir", "elsewhere", "--mem", "1G", "--cpus", 1
    )  # fmt: skip
    client = Submitted(run, ended.stdout, ended.stderr).job("qa")
    run.until(lambda: run.cluster.job(client).reason == "Dependency", "the client waits in the queue, not on a node")
    run.user.run("scancel", client)
    run.user.run("captionqa", "servers", "--config", "c.toml", "stop", "--all")
    assert run.cluster.job(server["job"]).state == "CANCELLED"


def test_a_server_that_is_requeued_onto_another_node_is_followed(run: Run) -> None:
    submitted = run.submit(*SLOW)
    (lease,) = run.until_ready().values()
    run.until_answered(8)
    run.cluster.node_down(lease["node"])
    run.until_done()
    run.assert_complete()
    assert run.cluster.job(submitted.job("server")).restarts == 1
    assert f"{lease['url']} is asked no more" in submitted.logs("qa")


def test_a_server_whose_node_loses_its_power_is_followed_when_it_is_back(run: Run) -> None:
    submitted = run.submit(*SLOW, shards=1)
    (lease,) = run.until_ready().values()
    run.until_answered(8)
    run.cluster.crash(lease["node"], silent=True)
    run.until_done()
    run.assert_complete()
    assert run.cluster.job(submitted.job("server")).restarts == 1


def test_a_client_whose_node_crashes_goes_on_elsewhere(run: Run) -> None:
    submitted = run.submit(*SLOW)
    run.until_answered(8)
    task = run.cluster.job(f"{submitted.job('qa')}_0")
    run.cluster.crash(task.nodes)
    run.until(lambda: run.cluster.job(task.id).restarts == 1, "the task was put back into the queue")
    run.until_done()
    run.assert_complete()
    assert run.cluster.job(task.id).nodes != task.nodes


def test_at_the_time_limit_client_and_server_drain_and_go_on_in_another_round(run: Run) -> None:
    slow = ("--serve-option", "-- --latency 1 --max-num-seqs 2")  # two answers a second: it takes several rounds
    submitted = run.submit(
        *slow, "--partition", "short", "--server-partition", "short", "--time", "1", "--server-time", "1",
        "--server-gres", "none:0", "--signal-seconds", 20, shards=1,
    )  # fmt: skip
    run.until(lambda: run.cluster.job(submitted.job("qa")).restarts >= 1, "the client was put back into the queue")
    run.until(lambda: run.cluster.job(submitted.job("server")).restarts >= 1, "so was the server")
    run.until_done()
    run.assert_complete()


def test_a_preempted_server_comes_back_and_is_followed(run: Run) -> None:
    submitted = run.submit(*SLOW, "--server-partition", "spot", "--server-gres", "gpu:4")
    (lease,) = run.until_ready().values()
    run.until_answered(8)
    script = run.user.write("urgent.sh", "#!/bin/bash\nsleep 600\n")
    urgent = run.user.sbatch("--partition=gpu", "--gres=gpu:4", f"--nodelist={lease['node']}", script)
    run.until(lambda: run.cluster.job(submitted.job("server")).restarts == 1, "the server was preempted")
    run.until(lambda: run.leases() or run.answered() == 120, "the server publishes itself anew")
    run.until(lambda: [job.id for job in run.cluster.squeue()] == [urgent], "the run has ended")
    run.assert_complete()


def test_a_preempted_client_goes_on(run: Run) -> None:
    submitted = run.submit(
        *SLOW, "--partition", "spot", "--sbatch", "nodelist=cpu1", "--server-partition", "gpu", shards=1
    )
    run.until_answered(8)
    script = run.user.write("urgent.sh", "#!/bin/bash\nsleep 1\n")
    run.user.sbatch("--partition=cpu", "--nodelist=cpu1", "--exclusive", script)
    run.until(lambda: run.cluster.job(submitted.job("qa")).restarts == 1, "the client was preempted")
    run.until_done()
    run.assert_complete()


def test_what_was_cancelled_stays_cancelled_and_the_next_submit_goes_on_with_the_incomplete_shards(run: Run) -> None:
    submitted = run.submit(*SLOW, shards=3)
    run.until_answered(20)
    run.user.run("scancel", f"{submitted.job('qa')}_1")
    run.until_done()
    before = run.answered()
    assert 20 <= before < 120
    state = run.cluster.job(f"{submitted.job('qa')}_1").state
    assert state != "PENDING", "a cancelled task went back into the queue"

    again = run.submit(shards=3)
    assert "1 of 3 shards are incomplete: 1" in again.err
    run.until_done()
    run.assert_complete()
    assert "all 120 items have an answer: nothing to submit" in run.submit(shards=3).err


def test_scancel_of_everything_leaves_files_that_the_next_submit_goes_on_from(run: Run) -> None:
    submitted = run.submit(*SLOW)
    run.until_answered(20)
    run.user.run("scancel", *(submitted.job(kind) for kind in ("server", "qa", "finalize")))
    run.until_done()
    before = run.answered()
    # What killed jobs left behind must not mislead the next ones, here in another number of shards.
    run.submit("--wait", shards=1)
    run.until_done()
    assert before < 120
    run.user.run("captionqa", "servers", "prune")
    run.assert_complete()


def test_two_servers_then_three(run: Run) -> None:
    run.submit("--serve-option", "-- --latency 1 --max-num-seqs 2", servers=2, shards=2)
    run.until_ready(2)
    run.until_answered(4)
    run.user.run(
        "captionqa", "servers", "start", "--engine", "standin", "--partition", "gpu", "--mem", "2G", "--cpus", 1, MODEL
    )  # fmt: skip
    leases = run.until_ready(3)
    newest = max(leases.values(), key=lambda lease: lease["started_at"])
    run.until(
        lambda: f"{newest['url']} is there" in "".join(p.read_text() for p in run.output.rglob("captionqa-qa-*.out")),
        "the clients take in the third",
    )
    run.until(lambda: (run.output / "qa" / "pixel-reader" / "pixel-reader_qa_metrics.json").exists(), "it is merged")
    # Servers that the submission did not start go on: they may be somebody else's.
    run.until(lambda: list(run.leases()) == [newest["name"]], "its own servers are stopped")
    run.user.run("captionqa", "servers", "stop", "--all")
    run.until_done()
    run.assert_complete()
