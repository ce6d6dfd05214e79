"""What a submission that cannot work is told, that nothing of it stays in the queue, and what an outage leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Cluster, User
from .runs import CLIENTS, LONG_S, QUESTIONS, SERVERS, Run

NAPKIN = """\
from pathlib import Path
from captionqa.data.drawn import draw_dataset
draw_dataset(Path("data"), images=20, questions_per_image=2)
"""
IMPATIENT = """\
import captionqa.slurm.commands
from captionqa.cli.main import main
captionqa.slurm.commands.TIMEOUT_S = 2.0
main()
"""
"""captionqa that gives sbatch 2 s instead of 60: with a full queue sbatch itself tries for 120 s."""
FULL = {"JobSubmitPlugins": "throttle", "SchedulerParameters": "jobs_per_user_per_hour=2"}
"""Refuses a user's third job, which is the last one of a pipeline."""


@pytest.fixture(scope="session")
def drawn(lab: Cluster) -> Iterator[Path]:
    """20 pictures and 40 questions, drawn once."""
    alice = lab.users["alice"]
    alice.run("python", "-c", NAPKIN, cwd=Path("/tmp"))
    kept = Path(shutil.move(lab.lab / "tmp" / "login1" / "data", lab.lab / "napkin"))
    yield kept
    shutil.rmtree(kept)


@pytest.fixture
def run(alice: User, drawn: Path) -> Run:
    alice.run("cp", "-r", drawn, "data")
    return Run(alice, {})


def submit(run: Run, *options: object, code: int, captionqa: tuple[object, ...] = ("captionqa",)) -> str:
    """Submits one server and what ``options`` say. Returns what was said on stderr."""
    argv = (*captionqa, "slurm", "submit", "qa", *QUESTIONS, *SERVERS, *CLIENTS, *options)
    return run.user.run(*argv, code=code, timeout_s=LONG_S).stderr


def assert_nothing_left(run: Run, said: str) -> None:
    run.until(lambda: not run.cluster.squeue(), f"the queue is empty after «{said}»", timeout_s=20)
    assert not list(run.output.glob("slurm/*/submission.json")), "what was not submitted is recorded as submitted"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--partitoin", "gpu"),
            ("no such option --partitoin", "Did you mean --partition?", "--account, --qos", "--sbatch"),
        ),
        (("--server-tiem", "1"), ("no such option --server-tiem", "Did you mean --server-time")),
        (("--config", "job.toml"), ("job.toml: unknown name 'partitoin' in [slurm]", "Known: partition, account, qos")),
        (("--dataset-path", "nowhere"), ("data set folder nowhere: not there",)),
        (("--prompt-style", "defualt"), ("unknown prompt style 'defualt'. Known: blind, captions, default",)),
        (("--serve-option", "--tensor-paralel-size 2"), ("--tensor-paralel-size",)),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_what_can_be_known_before_is_refused_before_anything_is_submitted(
    run: Run, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    run.user.write("job.toml", '[slurm]\npartitoin = "gpu"\n')
    before = run.cluster.squeue("--states=all")
    said = submit(run, *options, code=2)
    for word in words:
        assert word in said
    assert run.cluster.squeue("--states=all") == before, "SLURM got to see a job"
    assert not run.output.exists(), "a refused command left files"


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        (("--server-partition", "nope"), {}, ("Invalid partition name specified", "`sinfo -s`", "--server-partition")),
        (("--server-gres", "gpu:a100:1"), {}, ("Requested node configuration is not available", "sinfo -o")),
        (("--partition", "closed"), {}, ("Required partition not available", "were cancelled")),
        (("--sbatch", "nonsense=3"), {}, ("unrecognized option '--nonsense=3'", "--sbatch", "were cancelled")),
        (
            ("--partition", "short", "--time", "5"),
            {"EnforcePartLimits": "ANY"},
            ("qa.sh: sbatch refused it", "Requested time limit is invalid", "Ask for less time", "were cancelled"),
        ),
        (
            ("--shards", "6"),
            {"MaxArraySize": 4},
            ("Invalid job array specification", "fewer --shards (4 at most)", "were cancelled"),
        ),
        ((), FULL, ("finalize.sh: sbatch refused it", "Job violates accounting/QOS policy", "wait until some end")),
    ],
    ids=["no partition", "no such gpu", "closed", "sbatch", "time", "array", "last job"],
)  # fmt: skip
def test_what_slurm_refuses_is_said_in_its_words_and_nothing_of_it_stays(
    run: Run, options: tuple[str, ...], settings: dict[str, object], words: tuple[str, ...]
) -> None:
    with run.cluster.configured(**settings):
        said = submit(run, *options, code=1)
        for word in words:
            assert word in said
        assert "Traceback" not in said
        assert_nothing_left(run, said)


def test_a_full_queue_is_told_from_a_controller_that_does_not_answer(run: Run) -> None:
    # One more than there are, the finished ones included: the server's job fits, the client's does not.
    room = len(run.cluster.squeue("--states=all")) + 2
    with run.cluster.configured(MaxJobCount=room):
        said = submit(run, code=1, captionqa=("python", "-c", IMPATIENT))
        assert "qa.sh: sbatch could not submit it" in said
        assert "Slurm temporarily unable to accept job" in said
        assert "SLURM's queue is full" in said
        assert "were cancelled" in said
        assert_nothing_left(run, said)


def test_a_time_limit_that_slurm_lets_wait_for_ever_is_explained_by_status(run: Run) -> None:
    submit(run, "--partition", "short", "--time", "5", "--log-dir", "logs/made/for me", code=0)
    shown = ""

    def explained() -> bool:
        nonlocal shown
        shown = run.user.run("captionqa", "slurm", "status").stdout
        return "PartitionTimeLimit: asks for more time than the partition gives" in shown

    run.until(explained, "status explains why the clients wait", timeout_s=60)
    (log,) = (run.user.home / "logs" / "made" / "for me").glob("captionqa-server-*.out")
    assert log.stat().st_uid == run.user.uid


def test_an_outage_of_the_controller_stops_no_work_and_makes_nothing_dead(run: Run) -> None:
    with open(run.user.home / "said", "wb") as said:
        follower = run.user.start(
            "captionqa", "slurm", "submit", "qa", *QUESTIONS, *SERVERS, *CLIENTS, "--serve-option", "-- --latency 0.25",
            "--max-concurrency", 1, "--wait", stdout=said, stderr=said,
        )  # fmt: skip
        run.until_answered(4)
        run.cluster.stop_controller()
        before = run.answered()
        run.until(lambda: run.answered() >= before + 4, "the client goes on", timeout_s=30)
        # At once, because each waits for the controller a few seconds.
        list_, status, submit_, stop = started = [
            run.user.start("captionqa", *command)
            for command in (
                ("servers", "--json"),
                ("slurm", "status"),
                ("slurm", "submit", "qa", *QUESTIONS, "--run-name", "x"),
                ("servers", "stop", "--all"),
            )
        ]
        listed, shown, refused, not_told = [process.communicate(timeout=60) for process in started]
        assert list_.returncode == 0
        assert [one["state"] for one in json.loads(listed[0])["servers"]] == ["ready"]
        assert b"the queue is not known just now" in listed[1]
        assert status.returncode == 0
        assert b"Nothing is known about the jobs; those that run go on." in shown[0]
        assert b"of 40 items answered" in shown[0]
        assert b"not known to SLURM any more" not in shown[0]
        assert submit_.returncode == 1
        assert b"SLURM's controller does not answer" in refused[1]
        assert stop.returncode == 1
        assert b"are not stopped. Try it on a login node, or again" in not_told[1]
        run.cluster.start_controller()
        assert follower.wait(LONG_S) == 0, (run.user.home / "said").read_text()
    told = (run.user.home / "said").read_text()
    assert "SLURM's controller does not answer" in told, "who follows is not told of the outage"
    assert ["all", "40"] in [line.split()[:2] for line in told.splitlines()], told
    assert run.leases() == {}


def test_wait_returns_3_when_an_image_is_broken(run: Run) -> None:
    image = next(path for path in sorted((run.user.home / "data" / "images").rglob("*")) if path.is_file())
    image.write_bytes(b"garbage")
    said = submit(run, "--wait", "--shards", 2, code=3)
    (failed,) = run.output.glob("qa/*/*_failed.json")
    outcomes = {entry["outcome"] for entry in json.loads(failed.read_bytes()).values()}
    assert outcomes == {"bad_image"}, said
    assert run.answered() == 38


def test_when_every_job_fails_wait_says_where_their_logs_are(run: Run) -> None:
    said = submit(run, "--wait", "--setup", "echo no module here; exit 1", "--log-dir", "logs", code=1)
    assert "none has begun the run" in said
    assert f"{run.user.home}/logs/*.out" in said
    logs = list((run.user.home / "logs").glob("*.out"))
    assert len(logs) == 3
    assert all("no module here" in log.read_text() for log in logs)
    assert run.cluster.squeue() == []
