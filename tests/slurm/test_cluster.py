"""The cluster that other tests stand on is a real one: what a job, a node, a user and a failure are there."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import captionqa

from .cluster import CPU_NODES, LOGIN, NODES, Cluster, ClusterBroke, User, has_freezer

LIMIT_S = 150.0
"""A time limit of one minute fires after 82 to 88 s."""
CRASH_S = 90.0
"""A crashed node is noticed after 16 to 19 s, and its job starts elsewhere 32 s after the crash."""

RECORDER = """\
import os, signal, sys, time
def say(*words): print(os.environ["SLURMD_NODENAME"], os.environ.get("SLURM_RESTART_COUNT", "0"), *words, flush=True)
for name in sys.argv[1:]: signal.signal(getattr(signal, name), lambda number, frame: say(signal.Signals(number).name))
say("starts")
while True: time.sleep(0.1)
"""
"""Prints node, restarts and what happens: its start and the signals that it is told to survive."""


def record(user: User, *argv: object, signals: str = "") -> tuple[str, Path]:
    """Submits the recorder and waits until it runs. Returns the job and the file it prints to."""
    user.write("recorder.py", RECORDER)
    script = user.write("job.sh", f"#!/bin/bash\nexec python recorder.py {signals}\n")
    job = user.sbatch("--open-mode=append", "--requeue", "--output=%j.out", *argv, script)
    until_said(user.cluster, user.home / f"{job}.out", " starts")
    return job, user.home / f"{job}.out"


def said(output: Path) -> list[str]:
    """The lines of a job's output that are not SLURM's own."""
    lines = output.read_text().splitlines() if output.is_file() else []
    return [line for line in lines if not line.startswith("slurmstepd")]


def until_said(cluster: Cluster, output: Path, end: str, times: int = 1, timeout_s: float = 60.0) -> None:
    """Waits until so many lines of a job's output end with ``end``."""

    def holds() -> bool:
        return sum(line.endswith(end) for line in said(output)) >= times

    cluster.wait_until(holds, timeout_s, f"{end!r} is printed {times} times", files=[output])


def fetch(cluster: Cluster, node: str, url: str) -> subprocess.CompletedProcess[str]:
    code = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=5).status)"
    return cluster.on_node(node, [cluster.venv / "bin" / "python", "-c", code], "alice", check=False)


def serve(user: User, node: str, bind: str) -> None:
    """Serves HTTP in a job on a node, port 8000."""
    user.sbatch("--partition=spot", f"--nodelist={node}", f"--wrap=python -m http.server 8000 --bind {bind}")
    url = "http://localhost:8000"
    user.cluster.wait_until(lambda: fetch(user.cluster, node, url).stdout == "200\n", 30.0, f"{node} serves")


@pytest.mark.parametrize("node", NODES)
def test_a_job_runs_on_the_node_it_asked_for_as_the_user_who_submitted_it(
    cluster: Cluster, alice: User, node: str
) -> None:
    job = alice.sbatch("--partition=spot", f"--nodelist={node}", "--wrap=hostname; id -un; pwd")
    cluster.until_state(job, "COMPLETED")
    output = alice.home / f"slurm-{job}.out"
    assert output.read_text().splitlines() == [node, "alice", str(alice.home)]
    assert output.stat().st_uid == alice.uid


def test_a_job_runs_the_checkouts_captionqa(cluster: Cluster, alice: User, installed: Path) -> None:
    job = alice.sbatch("--wrap=which captionqa; captionqa --version")
    cluster.until_state(job, "COMPLETED")
    where, version = (alice.home / f"slurm-{job}.out").read_text().splitlines()
    assert where == str(installed)
    assert captionqa.__version__ in version
    found = alice.run("python", "-c", "import captionqa; print(captionqa.__file__)").stdout
    assert found.startswith(str(cluster.venv))


def test_the_login_node_is_no_compute_node_and_knows_the_others(alice: User) -> None:
    assert alice.run("hostname").stdout.strip() == LOGIN
    assert alice.run("id", "-un").stdout.strip() == "alice"
    for node in NODES:
        assert alice.run("getent", "hosts", node).stdout.split()[1] == node


def test_gpus_are_given_to_jobs_and_those_that_are_not_there_refused(cluster: Cluster, alice: User) -> None:
    job = alice.sbatch("--partition=gpu", "--gres=gpu:h100:2", "--wrap=echo $CUDA_VISIBLE_DEVICES")
    cluster.until_state(job, "COMPLETED")
    assert (alice.home / f"slurm-{job}.out").read_text() == "0,1\n"
    refused = alice.run("sbatch", "--partition=gpu", "--gres=gpu:h100:5", "--wrap=true", code=1)
    assert "Requested node configuration is not available" in refused.stderr


def test_nodes_reach_each_other_by_name_and_two_of_them_serve_on_one_port(cluster: Cluster, alice: User) -> None:
    for node in ("gpu1", "gpu2"):
        serve(alice, node, "0.0.0.0")
        assert fetch(cluster, "cpu1", f"http://{node}:8000").stdout == "200\n"


def test_a_server_on_the_loopback_of_a_node_is_out_of_reach(cluster: Cluster, alice: User) -> None:
    serve(alice, "gpu1", "127.0.0.1")
    assert "refused" in fetch(cluster, "cpu1", "http://gpu1:8000").stderr


def test_tmp_belongs_to_a_node_and_the_home_to_all(cluster: Cluster, alice: User) -> None:
    for node, expected in (("cpu1", "both"), ("cpu2", "home")):
        look = "touch ~/seen /tmp/seen" if node == "cpu1" else "true"
        found = f"{look}; ls ~/seen /tmp/seen 2>/dev/null | wc -l"
        count = cluster.on_node(node, ["bash", "-c", found], "alice").stdout.strip()
        assert {"2": "both", "1": "home"}[count] == expected


def test_a_user_can_neither_read_nor_signal_nor_cancel_what_is_anothers(
    cluster: Cluster, alice: User, bob: User
) -> None:
    alice.home.chmod(0o755)
    secret = alice.write("key", "secret", mode=0o600)
    job, _ = record(alice, "--nodelist=cpu1", signals="SIGTERM")
    assert "Permission denied" in bob.run("cat", secret, code=1).stderr
    killed = cluster.on_node("cpu1", ["bash", "-c", "kill -KILL $(pgrep -f recorder.py)"], "bob", check=False)
    assert "not permitted" in killed.stderr
    assert "denied" in bob.run("scancel", job, code=None).stderr
    assert cluster.job(job).state == "RUNNING"


def test_a_requeued_job_starts_again_under_its_number_and_appends_to_its_output(cluster: Cluster, alice: User) -> None:
    job, output = record(alice)
    alice.run("scontrol", "requeue", job)
    until_said(cluster, output, "1 starts")
    assert [line.split(maxsplit=1)[1] for line in said(output)] == ["0 starts", "1 starts"]
    assert cluster.job(job).restarts == 1


def test_the_job_of_a_crashed_node_starts_again_on_another(cluster: Cluster, alice: User) -> None:
    job, output = record(alice)
    node = cluster.job(job).nodes
    cluster.crash(node)
    assert not cluster.processes(node, "alice")
    until_said(cluster, output, "1 starts", timeout_s=CRASH_S)
    assert cluster.job(job).nodes != node
    assert cluster.node_states()[node].startswith("down")


def test_a_node_that_slurm_is_told_is_down_loses_its_job_at_once(cluster: Cluster, alice: User) -> None:
    job, output = record(alice, "--nodelist=cpu2")
    cluster.node_down("cpu2")
    assert cluster.job(job).restarts == 1
    assert cluster.node_states()["cpu2"] == "down"
    cluster.node_resume("cpu2")
    until_said(cluster, output, "1 starts")


@pytest.mark.parametrize(("silent", "seen"), [(False, "refused"), (True, "timed out|No route")])
def test_what_peers_see_of_a_crash(cluster: Cluster, alice: User, silent: bool, seen: str) -> None:
    serve(alice, "gpu1", "0.0.0.0")
    cluster.crash("gpu1", silent=silent)
    assert any(words in fetch(cluster, "cpu1", "http://gpu1:8000").stderr for words in seen.split("|"))


def test_a_job_is_warned_and_then_stopped_at_its_time_limit(cluster: Cluster, alice: User) -> None:
    job, output = record(alice, "--partition=short", "--signal=B:USR1@30", signals="SIGUSR1 SIGTERM")
    cluster.until_state(job, "TIMEOUT", timeout_s=LIMIT_S, files=[output])
    assert [line.split()[2] for line in said(output)] == ["starts", "SIGUSR1", "SIGTERM"]


def test_a_spot_job_makes_way_and_comes_back(cluster: Cluster, alice: User, bob: User) -> None:
    job, output = record(alice, "--partition=spot", "--nodelist=cpu1", "--exclusive", signals="SIGTERM")
    other = bob.sbatch("--nodelist=cpu1", "--exclusive", "--wrap=sleep 1")
    until_said(cluster, output, "0 SIGTERM")
    cluster.until_state(other, "COMPLETED")
    until_said(cluster, output, "1 starts")
    assert cluster.job(job).restarts == 1


def test_a_cancelled_job_leaves_no_process_behind_not_even_a_daemonised_one(cluster: Cluster, alice: User) -> None:
    if not has_freezer():
        pytest.skip("without the freezer control group SLURM can't track daemonised processes")
    job = alice.sbatch("--nodelist=cpu1", "--wrap=(setsid sleep 1000 &) ; (sleep 2000 & disown) ; sleep 3000")
    sleeps = {"sleep 1000", "sleep 2000", "sleep 3000"}
    cluster.wait_until(lambda: sleeps <= set(cluster.processes("cpu1", "alice")), 30.0, "three sleeps run")
    alice.run("scancel", job)
    cluster.until_state(job, "CANCELLED")
    cluster.wait_until(lambda: not cluster.processes("cpu1", "alice"), 30.0, "nothing of alice runs on cpu1")


def test_without_a_controller_commands_fail_and_jobs_go_on(cluster: Cluster, alice: User) -> None:
    job, output = record(alice, signals="SIGUSR2")
    node = cluster.job(job).nodes
    cluster.stop_controller()
    for command in (("squeue",), ("sbatch", "--wrap=true")):
        assert "Unable to contact slurm controller" in alice.run(*command, code=1).stderr
    assert any("recorder.py" in line for line in cluster.processes(node, "alice"))
    cluster.start_controller()
    alice.run("scancel", "--batch", "--signal=USR2", job)
    until_said(cluster, output, "0 SIGUSR2")


def test_there_is_no_accounting(alice: User) -> None:
    assert "accounting storage is disabled" in alice.run("sacct", code=1).stderr


THROTTLE = {"JobSubmitPlugins": "throttle", "SchedulerParameters": "jobs_per_user_per_hour=1"}


@pytest.mark.parametrize(
    ("settings", "argv", "words"),
    [
        ({}, ["--partition=nope"], "Invalid partition name specified"),
        ({}, ["--partition=closed"], "Required partition not available"),
        ({}, ["--array=0-1001"], "Invalid job array specification"),
        ({"EnforcePartLimits": "ANY"}, ["--partition=short", "--time=2"], "Requested time limit is invalid"),
        (THROTTLE, [], "Job violates accounting/QOS policy"),
    ],
    ids=["no such partition", "closed partition", "array too big", "over the time limit", "too many jobs"],
)
def test_a_job_can_be_made_to_be_refused(
    cluster: Cluster, alice: User, settings: dict[str, str], argv: list[str], words: str
) -> None:
    with cluster.configured(**settings):
        alice.sbatch("--wrap=true")
        assert words in alice.run("sbatch", *argv, "--wrap=true", code=1).stderr
    alice.sbatch("--wrap=true")


def test_a_signal_to_a_command_on_the_login_node_reaches_the_command(cluster: Cluster, alice: User) -> None:
    alice.write("recorder.py", RECORDER)
    with open(alice.home / "out", "wb") as out:
        command = alice.start("python", "recorder.py", "SIGINT", env={"SLURMD_NODENAME": LOGIN}, stdout=out)
    until_said(cluster, alice.home / "out", "starts")
    command.send_signal(signal.SIGINT)
    until_said(cluster, alice.home / "out", "SIGINT")
    command.terminate()
    assert command.wait(10) == -signal.SIGTERM


def test_waiting_in_vain_tells_what_the_cluster_says(cluster: Cluster, alice: User) -> None:
    note = alice.write("note", "last words\n")
    job = alice.sbatch("--partition=short", "--time=2", "--job-name=too-long", "--wrap=true")
    with pytest.raises(ClusterBroke, match=r"(?s)in vain until it runs.*too-long.*slurmctld\.log.*last words"):
        cluster.wait_until(lambda: cluster.job(job).state == "RUNNING", 0.3, "it runs", files=[note])


def test_a_reset_cluster_has_no_jobs_and_every_node(cluster: Cluster, alice: User, bob: User) -> None:
    alice.sbatch("--array=0-2", "--wrap=sleep 1000")
    bob.sbatch("--hold", "--wrap=true")
    cluster.node_down("cpu1")
    cluster.crash("cpu2")
    cluster.stop_controller()
    cluster.reset()
    assert cluster.squeue() == []
    assert cluster.node_states() == dict.fromkeys(NODES, "idle")
    assert not any(cluster.processes(node, "alice") for node in CPU_NODES)
    assert list(alice.home.iterdir()) == []


def test_two_clusters_do_not_get_in_each_others_way(cluster: Cluster, alice: User) -> None:
    daemonise = "--wrap=(setsid sleep 1000 &) ; sleep 2000"
    sleeps = {"sleep 1000", "sleep 2000"}
    other = Cluster()
    try:
        other.up()
        jobs = [lab.users["alice"].sbatch("--nodelist=cpu1", daemonise) for lab in (cluster, other)]
        cluster.wait_until(lambda: sleeps <= set(cluster.processes("cpu1", "alice")), 30.0, "both sleeps run")
        other.wait_until(lambda: sleeps <= set(other.processes("cpu1", "alice")), 30.0, "both sleeps run")
        alice.run("scancel", jobs[0])
        cluster.wait_until(lambda: not cluster.processes("cpu1", "alice"), 30.0, "nothing of alice runs on cpu1")
        assert sleeps <= set(other.processes("cpu1", "alice"))
    finally:
        other.down()
    assert not other.lab.exists()
    assert len(cluster.node_states()) == len(NODES)


KILLED = """\
import sys
sys.path.insert(0, sys.argv[1])
from cluster import Cluster
cluster = Cluster()
cluster.up()
alice = cluster.users["alice"]
alice.start("sleep", sys.argv[2])
cluster.until_state(alice.sbatch(f"--wrap=sleep {sys.argv[2]}"), "RUNNING")
print(cluster.lab, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_survives_the_process_that_brought_a_cluster_up(number: signal.Signals) -> None:
    nap = f"4321.{number}"
    argv = [sys.executable, "-c", KILLED, str(Path(__file__).parent), nap]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        lab = Path(process.stdout.readline().strip())
        assert lab.is_dir()
        assert processes_naming(f"sleep {nap}")
        process.send_signal(number)
    deadline = time.monotonic() + 30
    while lab.exists() or processes_naming(str(lab), f"sleep {nap}"):
        assert time.monotonic() < deadline, processes_naming(str(lab), f"sleep {nap}")
        time.sleep(0.05)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{lab.name}"))


def processes_naming(*words: str) -> list[str]:
    """The command lines on this machine in which one of the words occurs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [line] if any(word in line for word in words) else []
    return found
