"""A claim: one writer per journal, whoever died, slept or came at the same time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from captionqa.errors import JournalBusy, SaveFailed
from captionqa.run import claim as claim_module
from captionqa.run.claim import Claim, Holder, this_process

HOLDING = """
import sys
from pathlib import Path
from captionqa.run import claim
claim.DYING_S = 0.2
claim.Claim.acquire(Path(sys.argv[1]))
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "run.journal.jsonl"


@pytest.fixture(autouse=True)
def _short_patience_with_the_dying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_module, "DYING_S", 0.2)


@contextmanager
def other_process(journal: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the claim for as long as it lives."""
    command = [sys.executable, "-c", HOLDING, str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "holding\n"
            yield process
        finally:
            process.kill()


def claim_file(journal: Path) -> Path:
    return journal.with_name(journal.name + ".claim")


def held_by(journal: Path, **changes: object) -> Holder:
    """Writes a claim of somebody else."""
    holder = replace(this_process(), token="somebody", **changes)
    claim_file(journal).write_text(json.dumps(asdict(holder)))
    return holder


def quick(journal: Path, **settings: object) -> Claim:
    """Acquires without patience: a claim that is watched at all is watched for an hour, and the test fails."""
    return Claim.acquire(journal, **{"stale_s": 3600.0, "poll_s": 3600.0, **settings})


@contextmanager
def beating(journal: Path) -> Iterator[None]:
    """Another host that lives: the claim's modification time moves."""
    stop = threading.Event()

    def beat() -> None:
        for tick in range(1, 1_000_000):
            if stop.wait(0.005):
                return
            os.utime(claim_file(journal), ns=(tick, tick))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(beat)
        try:
            yield
        finally:
            stop.set()


def test_a_second_writer_is_refused_while_the_first_lives_and_let_in_when_it_is_dead(journal: Path) -> None:
    heard: list[str] = []
    with other_process(journal) as first:
        with pytest.raises(JournalBusy, match=rf"process {first.pid} on .* is writing this run.*--run-name"):
            quick(journal)
        first.kill()
        first.wait()
        claim = quick(journal, say=heard.append)
    assert len(heard) == 1
    assert heard[0].startswith(f"took over the claim of process {first.pid} on ")
    claim.heartbeat()


def test_a_killed_writer_that_nobody_waited_for_is_dead(journal: Path) -> None:
    with other_process(journal) as first:
        first.kill()
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        quick(journal).heartbeat()


def test_a_process_that_got_the_pid_of_a_dead_writer_is_not_the_writer(journal: Path) -> None:
    held_by(journal, started="1")
    quick(journal)


def test_a_host_of_the_same_name_that_was_started_another_time_may_be_another_host(journal: Path) -> None:
    held_by(journal, boot="another boot", started="1")
    with beating(journal), pytest.raises(JournalBusy):
        Claim.acquire(journal, stale_s=3600, poll_s=0.02)
    Claim.acquire(journal, stale_s=0.1, poll_s=0.01)


def test_a_pid_of_another_container_on_this_host_says_nothing(journal: Path) -> None:
    held_by(journal, started="1", namespace="pid:[1]")
    with beating(journal), pytest.raises(JournalBusy):
        Claim.acquire(journal, stale_s=3600, poll_s=0.02)


def test_an_earlier_start_of_the_same_slurm_job_is_dead_wherever_it_ran(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    held_by(journal, host="node-17", boot="other", restarts=1)
    claim = quick(journal)
    assert (claim.holder.job, claim.holder.restarts) == ("77", 2)


@pytest.mark.parametrize("changes", [{"job": "78", "restarts": 0}, {"job": "77", "restarts": 2}, {"job": None}])
def test_another_job_or_another_task_of_this_start_is_not_dead(
    journal: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    held_by(journal, host="node-17", boot="other", **changes)
    with beating(journal), pytest.raises(JournalBusy, match="on node-17"):
        Claim.acquire(journal, stale_s=3600, poll_s=0.02)


def test_a_claim_of_another_host_whose_heartbeat_moves_is_refused(journal: Path) -> None:
    heard: list[str] = []
    held_by(journal, host="node-17", boot="other")
    with beating(journal), pytest.raises(JournalBusy, match="on node-17"):
        Claim.acquire(journal, stale_s=3600, poll_s=0.02, say=heard.append)
    assert len(heard) <= 1  # however long it watches


def test_a_claim_of_another_host_whose_heartbeat_stands_still_is_taken_over_after_a_while(journal: Path) -> None:
    heard: list[str] = []
    held_by(journal, host="node-17", boot="other")
    os.utime(claim_file(journal), (4e9, 4e9))  # far in the future: clocks are not compared
    started = time.monotonic()
    claim = Claim.acquire(journal, stale_s=0.1, poll_s=0.01, say=heard.append)
    assert time.monotonic() - started >= 0.1
    claim.heartbeat()
    assert [line.split()[0] for line in heard] == [claim_file(journal).name, "took"]


def test_a_claim_that_is_given_back_while_it_is_watched_is_free(journal: Path) -> None:
    held_by(journal, host="node-17", boot="other")
    claim = Claim.acquire(journal, stale_s=3600, poll_s=0.01, say=lambda _: claim_file(journal).unlink())
    claim.heartbeat()


def test_watching_ends_when_it_is_given_up(journal: Path) -> None:
    held_by(journal, host="node-17", boot="other")
    give_up = threading.Event()
    with pytest.raises(JournalBusy):
        quick(journal, give_up=give_up, say=lambda _: give_up.set())
    assert claim_file(journal).exists()


@pytest.mark.parametrize("content", [b"", b'{"token": "some', b"[]", b'{"other": 1}', b"\xff"])
def test_an_unreadable_claim_is_watched_like_any_other_and_then_taken_over(journal: Path, content: bytes) -> None:
    claim_file(journal).write_bytes(content)
    with beating(journal), pytest.raises(JournalBusy, match="another process is writing"):
        Claim.acquire(journal, stale_s=3600, poll_s=0.02)
    claim = Claim.acquire(journal, stale_s=0.03, poll_s=0.01)
    claim.heartbeat()


def test_who_was_taken_over_while_asleep_learns_of_it_at_its_heartbeat_and_leaves_the_new_claim_alone(
    journal: Path,
) -> None:
    sleeper = quick(journal)
    sleeper.heartbeat()
    held_by(journal, host="node-17")
    with pytest.raises(JournalBusy, match=r"taken over by process \d+ on node-17"):
        sleeper.heartbeat()
    sleeper.release()
    assert json.loads(claim_file(journal).read_bytes())["host"] == "node-17"
    claim_file(journal).unlink()
    with pytest.raises(JournalBusy, match="taken over by someone"):
        sleeper.heartbeat()
    sleeper.release()


def test_a_heartbeat_moves_the_modification_time_and_a_release_leaves_nothing(journal: Path) -> None:
    claim = quick(journal)
    os.utime(claim.path, (1, 1))
    claim.heartbeat()
    assert claim.path.stat().st_mtime > 1
    claim.release()
    assert list(journal.parent.iterdir()) == []
    quick(journal)


def test_a_heartbeat_that_cannot_be_written_is_a_failed_save(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale_handle(path: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    claim = quick(journal)
    monkeypatch.setattr(claim_module.os, "utime", stale_handle)
    with pytest.raises(SaveFailed, match=r"cannot be written any more \(Stale file handle\)"):
        claim.heartbeat()


def test_a_claim_says_who_holds_it_and_no_secrets_to_others(journal: Path) -> None:
    claim = quick(journal)
    assert Holder(**json.loads(claim.path.read_bytes())) == claim.holder
    assert claim.holder.pid == os.getpid()
    assert claim.path.stat().st_mode & 0o777 == 0o600
    assert str(replace(claim.holder, pid=3, host="n1", job="9")) == "process 3 on n1, SLURM job 9"


def test_a_folder_that_cannot_be_written_is_a_failed_save(tmp_path: Path) -> None:
    with pytest.raises(SaveFailed, match="cannot be written"):
        quick(tmp_path / "missing" / "run.journal.jsonl")


@pytest.mark.parametrize("left_behind", [None, b"stale", b""])
@pytest.mark.parametrize("challengers", [2, 8])
def test_of_challengers_at_the_same_time_exactly_one_has_the_claim(
    tmp_path: Path, challengers: int, left_behind: bytes | None
) -> None:
    for attempt in range(25):
        journal = tmp_path / f"{attempt}.jsonl"
        if left_behind == b"stale":
            held_by(journal, started="1")
        elif left_behind is not None:
            claim_file(journal).write_bytes(left_behind)
        assert contend(journal, challengers) == 1
        assert [path.name for path in tmp_path.glob(f"{attempt}.*")] == [claim_file(journal).name]


def contend(journal: Path, challengers: int) -> int:
    """How many of several threads have the claim in the end, and know it."""
    line = threading.Barrier(challengers)

    def challenge() -> Claim | None:
        line.wait()
        with suppress(JournalBusy):
            return Claim.acquire(journal, stale_s=0.01, poll_s=0.003)
        return None

    with ThreadPoolExecutor(challengers) as pool:
        claims = [future.result() for future in [pool.submit(challenge) for _ in range(challengers)]]
    # Two may come out of the race of three; all but one of them learn of it at their first heartbeat.
    return sum(holds(claim) for claim in claims if claim is not None)


def holds(claim: Claim) -> bool:
    with suppress(JournalBusy):
        claim.heartbeat()
        return True
    return False


def test_of_two_processes_that_find_a_stale_claim_one_takes_it_over(journal: Path) -> None:
    held_by(journal, started="1")
    command = [sys.executable, "-c", HOLDING, str(journal)]
    with ExitStack() as running:
        started = [
            running.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
            for _ in range(2)
        ]
        first_lines = [process.stdout.readline() for process in started if process.stdout]
        assert sorted(first_lines) == ["", "holding\n"]
        for process in started:
            process.communicate(timeout=30)


@pytest.mark.parametrize(
    ("set_aside", "stays"),
    [
        (lambda stale: json.dumps(asdict(stale)).encode(), False),
        (lambda stale: json.dumps(asdict(replace(stale, token="fresh"))).encode(), True),
        (lambda stale: b"", True),  # another challenger has made its claim and not yet written its name into it
    ],
)
def test_only_the_claim_that_was_found_stale_is_removed(
    journal: Path, set_aside: Callable[[Holder], bytes], stays: bool
) -> None:
    stale = held_by(journal, started="1")
    content = set_aside(stale)
    claim_file(journal).write_bytes(content)
    claim_module._set_aside(claim_file(journal), stale, this_process())
    assert [path.read_bytes() for path in journal.parent.iterdir()] == ([content] if stays else [])
