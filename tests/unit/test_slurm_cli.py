"""`captionqa slurm` from the command line: what is submitted, what is refused before, and what status shows.

sbatch, squeue and scancel are fakes at the process boundary; the real cluster is in tests/slurm/.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from captionqa.cli.main import commands
from captionqa.core.keys import facts_key, shard_of
from captionqa.errors import CaptionQAError
from captionqa.process import Process
from captionqa.server.lease import Lease, LeaseState, PublishedLease, make_private_folder

NAMES = [f"img{number}.png" for number in range(12)]
MODEL = "Qwen/Qwen3-VL-4B-Instruct"


class Lab:
    """A folder to work in, with images, and a pretended cluster on the PATH."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.capsys = capsys
        self.bin.mkdir()
        (folder / "images").mkdir()
        for name in NAMES:
            Image.new("RGB", (32, 32)).save(folder / "images" / name)
        (self.bin / "next").write_text("101")
        self.command("sbatch", 'cat "${@: -1}" >> scripts; env > env; n=$(cat next); echo $((n + 1)) > next; echo $n')
        self.command("scancel", "exit 0")
        self.command("sacct", "echo Slurm accounting storage is disabled >&2; exit 1")
        self.jobs()
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.chdir(folder)
        for name in ("CAPTIONQA_SERVER_URL", "VLLM_BASE_URL", "OPENAI_BASE_URL", "CAPTIONQA_CONFIG", "SLURM_JOB_ID"):
            monkeypatch.delenv(name, raising=False)

    def command(self, name: str, body: str) -> None:
        script = self.bin / name
        script.write_text(f'#!/bin/bash\ncd {self.bin} || exit\necho "{name} $*" >> calls\n{body}\n')
        script.chmod(0o755)

    def jobs(self, *rows: tuple[str, str, str, str]) -> None:
        """What squeue knows: id, state, reason, comment."""
        records = "".join(
            "\x1e"
            + "\x1f".join(
                [i, i.partition("_")[0], "n", state, reason, "", "", "0:10", "", "", str(self.folder), comment]
            )
            for i, state, reason, comment in rows
        )
        (self.bin / "queue").write_text(records)
        self.command("squeue", 'case "$*" in *RestartCnt*) echo "102_0|1|";; *) cat queue;; esac')

    def run(self, *arguments: str) -> tuple[int, str, str]:
        return self.call("slurm", *arguments)

    def call(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, what stdout shows, what stderr (and an error's message) shows."""
        code, message = 0, ""
        try:
            code = commands.main(list(arguments), standalone_mode=False, prog_name="captionqa") or 0
        except CaptionQAError as error:
            code, message = error.exit_code, str(error)
        except click.ClickException as error:
            code, message = error.exit_code, error.format_message()
        captured = self.capsys.readouterr()
        return int(code), captured.out, captured.err + message

    def submitted(self) -> list[str]:
        """Lines of calls to sbatch."""
        path = self.bin / "calls"
        return [line for line in path.read_text().splitlines() if line.startswith("sbatch")] if path.exists() else []

    def scripts(self) -> str:
        return (self.bin / "scripts").read_text()

    def record(self) -> dict[str, Any]:
        (path,) = (self.folder / "output" / "slurm").glob("*/submission.json")
        content: dict[str, Any] = json.loads(path.read_text())
        return content

    def answer(self, *names: str, model: str = MODEL, shards: int = 1) -> None:
        """Leave a run behind in which these images have an answer."""
        from captionqa.cli.slurm_client import read_client_command
        from captionqa.run.store import RunStore, Shard

        client = read_client_command("caption", ["--dataset-path", "images"])
        client.task.check(lambda _: True)
        paths = client.paths(model)
        items = {item.id: item for item in client.task.items()}
        for index in range(shards):
            with RunStore.open(paths, client.task.identity(model), shard=Shard(index, shards)) as store:
                store.append_session({"items": len(items)})
                for name in names:
                    if shard_of(name, shards) == index:
                        fields = {
                            "ordinal": items[name].ordinal,
                            "facts_key": facts_key({}),
                            "facts": {},
                            "output": "x",
                        }
                        store.append({"id": name, "key": items[name].key, "outcome": "answered", **fields})


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    return Lab(tmp_path, monkeypatch, capsys)


CAPTION = ("submit", "caption", "--dataset-path", "images")


def test_a_run_is_servers_then_clients_then_one_last_job(lab: Lab) -> None:
    code, out, err = lab.run(
        *CAPTION, "--servers", "2", "--shards", "3", "--partition", "cpu", "--server-partition", "gpu"
    )
    assert code == 0, err
    server, client, last = lab.submitted()
    assert "--partition=gpu" in server
    assert "--array=0-1" in server
    assert "--partition=cpu" in client
    assert "--array=0-2" in client
    assert "--dependency=after:101_0?after:101_1" in client
    assert "--dependency=afterany:102" in last
    assert f"comment=captionqa-server output={lab.folder}/output" in server
    for shown in ("101", "102", "103", "captionqa slurm status", "tail -F", "scancel 101 102 103"):
        assert shown in out
    scripts = lab.scripts()
    assert f"exec captionqa serve --requeue-limit 50 {MODEL} --output-dir {lab.folder}/output --engine vllm" in scripts
    assert f"--dataset-path images --model {MODEL}" in scripts
    assert "captionqa servers stop --job 101" in scripts


def test_the_record_has_ids_scripts_and_the_run_and_is_private(lab: Lab) -> None:
    lab.run(*CAPTION, "--shards", "3")
    record = lab.record()
    assert [(job["kind"], job["id"]) for job in record["jobs"]] == [
        ("server", "101"),
        ("caption", "102"),
        ("finalize", "103"),
    ]
    assert record["run"] == f"{lab.folder}/output/captions/Qwen3-VL-4B-Instruct/Qwen3-VL-4B-Instruct_simple.run.json"
    assert sum(record["shard_items"].values()) == len(NAMES)
    (path,) = (lab.folder / "output" / "slurm").glob("*/submission.json")
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_shard_is_no_array(lab: Lab) -> None:
    lab.run(*CAPTION)
    assert "--array" not in " ".join(lab.submitted())
    assert "--num-shards" not in lab.scripts()


def test_a_dry_run_prints_the_scripts_and_submits_nothing(lab: Lab) -> None:
    code, out, err = lab.run(*CAPTION, "--shards", "3", "--dry-run")
    assert code == 0, err
    assert out.count("#!/bin/bash") == 3
    assert lab.submitted() == []
    assert not (lab.folder / "output").exists()


def test_the_last_job_writes_the_report_unless_it_is_told_not_to(lab: Lab) -> None:
    for arguments, wanted in (([], False), (["--no-report"], True)):
        code, out, _ = lab.run(*CAPTION, "--dry-run", *arguments)
        (export,) = [line for line in out.splitlines() if line.startswith("captionqa export ")]
        assert (code, export.endswith(" --no-report")) == (0, wanted)


def test_a_dry_run_needs_no_slurm(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(lab.folder / "empty"))
    code, out, err = lab.run(*CAPTION, "--dry-run")
    assert (code, out.count("#!/bin/bash")) == (0, 3)
    assert "squeue: no such command" in err


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["submit", "caption", "--dataset-path", "imagess"], "data set folder imagess: not there"),
        (["submit", "caption"], "--dataset-path"),
        ([*CAPTION, "--nope"], "--nope"),
        ([*CAPTION, "--prompt-style", "LOMG"], "Known: LONG, SHORT, SIMPLE"),
        ([*CAPTION, "--max-tokens", "0"], "--max-tokens"),
        ([*CAPTION, "--run-name", "a/b"], "--run-name 'a/b': must be a plain name"),
        ([*CAPTION, "--num-shards", "3"], "--shards says how many"),
        ([*CAPTION, "--overwrite"], "start over each time"),
        ([*CAPTION, "--serve", MODEL], "--servers starts server jobs"),
        ([*CAPTION, "--time", "5x"], "job option time '5x'"),
        ([*CAPTION, "--server-time", "5x"], "job option time '5x'"),
        ([*CAPTION, "--serve-option", "--nope"], "--nope"),
        ([*CAPTION, "--sbatch", "array=3"], "--shards and --servers"),
        ([*CAPTION, "--servers", "0"], "no server is there for"),
        ([*CAPTION, "--servers", "1", "--server-url", "http://gpu1:8000"], "never the new servers"),
        ([*CAPTION, "--server-url", "http://gpu1:8000"], "Give --model NAME"),
        ([*CAPTION, "--log-dir", "a\\b"], "backslash"),
        (["submit", "server", "--array", "x"], "array 'x'"),
        (["submit", "server", "--tensor-parallel-size", "x"], "--tensor-parallel-size"),
    ],
)
def test_a_mistake_is_told_before_anything_is_submitted(lab: Lab, arguments: list[str], fragment: str) -> None:
    code, _, err = lab.run(*arguments)
    assert code == 2
    assert fragment in err
    assert lab.submitted() == []
    assert not (lab.folder / "output").exists()


def test_with_an_outside_server_no_server_is_submitted(lab: Lab) -> None:
    code, _, err = lab.run(*CAPTION, "--server-url", "http://gpu1:8000", "--model", "m")
    assert code == 0, err
    client, last = lab.submitted()
    assert "--dependency" not in client
    assert "--dependency=afterany:101" in last
    assert "http://gpu1:8000/v1 (from --server-url)" in err
    assert "servers stop" not in lab.scripts()


def test_a_server_job_that_is_in_the_queue_is_used(lab: Lab) -> None:
    lab.jobs(("77", "PENDING", "Priority", "captionqa-server"))
    code, _, err = lab.run(*CAPTION, "--model", "m")
    assert code == 0, err
    assert len(lab.submitted()) == 2
    assert "no new server: job 77" in err


def test_the_model_of_a_server_job_that_was_submitted_is_known_before_it_begins(lab: Lab) -> None:
    lab.run("submit", "server", "Qwen/x", "--tensor-parallel-size", "2")
    lab.jobs(("101", "PENDING", "Priority", f"captionqa-server output={lab.folder}/output"))
    code, _, err = lab.run(*CAPTION)
    assert code == 0, err
    assert "--model Qwen/x " in lab.scripts()
    assert "servers: no new server: job 101 (Qwen/x, PENDING)" in err


def test_a_server_job_of_another_model_is_not_used(lab: Lab) -> None:
    lab.run("submit", "server", "Qwen/x")
    lab.jobs(("101", "PENDING", "Priority", f"captionqa-server output={lab.folder}/output"))
    _, _, err = lab.run(*CAPTION, "--model", "Qwen/y")
    assert "1 new server job: Qwen/y" in err


def test_a_server_that_another_run_will_stop_is_not_counted_on(lab: Lab) -> None:
    lab.run(*CAPTION, "--run-name", "first")
    lab.jobs(("101", "RUNNING", "None", f"captionqa-server output={lab.folder}/output"))
    code, _, err = lab.run(*CAPTION, "--run-name", "second")
    assert code == 0, err
    assert len(lab.submitted()) == 6


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_stopped_server_that_was_killed_before_is_not_waited_for(lab: Lab, state: str) -> None:
    """Killed while it drained: SLURM put its job back into the queue, or lost the node and forgets the job."""
    folder = lab.folder / "output" / "servers"
    make_private_folder(folder)
    now = time.time()
    lease = Lease(
        name="killed",
        state=LeaseState.DRAINING,
        url="http://node7:1/v1",
        model=MODEL,
        node="node7",
        engine="vllm",
        process=replace(Process.this(), host="node7"),
        started_at=now,
        heartbeat_at=now,
        job="7",
    )
    PublishedLease(folder, lease).update()
    lab.jobs(("7", state, "Priority", ""))
    lab.command("scancel", ": > queue")
    code, out, err = lab.call("servers", "stop", "--all")
    assert code == 0, err
    assert "job 7" in out
    assert list(folder.glob("*.json")) == []
    calls = [line for line in (lab.bin / "calls").read_text().splitlines() if line.startswith("scancel")]
    assert calls == ["scancel --state=PENDING 7" if state == "PENDING" else "scancel --batch --signal=USR2 7"]


def test_a_run_that_is_being_worked_on_is_not_submitted_again(lab: Lab) -> None:
    lab.run(*CAPTION, "--shards", "2")
    lab.jobs(("102_1", "RUNNING", "None", "captionqa-caption"))
    code, _, err = lab.run(*CAPTION, "--shards", "2")
    assert code == 2
    assert "jobs submitted before still work on this run" in err
    assert "scancel 101 102 103" in err
    assert len(lab.submitted()) == 3


def test_only_incomplete_shards_are_submitted_again(lab: Lab) -> None:
    open_shard = shard_of(NAMES[0], 4)
    lab.answer(*(name for name in NAMES if shard_of(name, 4) != open_shard), shards=4)
    code, _, err = lab.run(*CAPTION, "--shards", "4")
    assert code == 0, err
    assert f"--array={open_shard}" in lab.submitted()[1]
    assert '--num-shards 4 --shard-index "$SLURM_ARRAY_TASK_ID"' in lab.scripts()


def test_a_complete_run_is_not_submitted(lab: Lab) -> None:
    lab.answer(*NAMES)
    code, _, err = lab.run(*CAPTION, "--shards", "4")
    assert (code, lab.submitted()) == (0, [])
    assert f"all {len(NAMES)} items have an answer" in err


def test_an_item_that_is_gone_from_the_data_set_is_something_to_do(lab: Lab) -> None:
    lab.answer(*NAMES)
    (lab.folder / "images" / NAMES[3]).unlink()
    lab.run(*CAPTION, "--shards", "4")
    assert f"--array={shard_of(NAMES[3], 4)}" in lab.submitted()[1]


def test_the_files_of_another_run_are_refused_now_and_not_in_the_job(lab: Lab) -> None:
    lab.answer(NAMES[0])
    code, _, err = lab.run(*CAPTION, "--max-tokens", "7")
    assert code == 2
    assert "belongs to another run; nothing was touched. What differs:\n  sampling.max_tokens: " in err
    assert lab.submitted() == []


def test_secrets_stay_out_of_the_jobs_environment_and_that_is_said_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf-4711")
    monkeypatch.setenv("CAPTIONQA_API_KEY", "k-4711")
    _, out, err = lab.run(*CAPTION)
    assert err.count("CAPTIONQA_API_KEY, HF_TOKEN") == 1
    everything = (lab.bin / "env").read_text() + lab.scripts() + out + err + json.dumps(lab.record())
    assert "4711" not in everything


def test_the_config_file_has_a_table_for_slurm(lab: Lab) -> None:
    (lab.folder / "c.toml").write_text(
        'prompt-style = "LONG"\noutput-dir = "results"\n[slurm]\npartition = "cpu"\ncpus = 2\n'
        'server-partition = "gpu"\nserver-sbatch = { exclude = "gpu3", exclusive = true }\n'
        'setup = """\nmodule load a\nmodule load b\n"""\n'
        'engine = "standin"\nserver-mem = "3G"\n'
    )
    code, _, err = lab.run(*CAPTION, "--config", "c.toml", "--mem", "2G")
    assert code == 0, err
    server, client, last = lab.submitted()
    assert [
        part for part in ("--partition=gpu", "--exclude=gpu3", "--exclusive", "--mem=3G") if part not in server
    ] == []
    assert [part for part in ("--partition=cpu", "--cpus-per-task=2", "--mem=2G") if part not in client] == []
    assert "--partition=cpu" in last
    assert lab.scripts().count("module load a\nmodule load b\n") == 3
    assert "--config c.toml" in lab.scripts()
    assert (lab.folder / "results" / "slurm").is_dir()


def test_a_server_alone_takes_the_files_server_names(lab: Lab) -> None:
    (lab.folder / "c.toml").write_text('[slurm]\npartition = "cpu"\naccount = "a"\nserver-partition = "gpu"\n')
    code, _, err = lab.run(
        "submit", "server", "--config", "c.toml", "--array", "0-1", "Qwen/x", "--max-model-len", "99"
    )
    assert code == 0, err
    (server,) = lab.submitted()
    assert [part for part in ("--partition=gpu", "--account=a", "--array=0-1") if part not in server] == []
    assert "--engine vllm Qwen/x --max-model-len 99 " in lab.scripts()


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("[slurm]\npartiton = 'x'", "unknown name 'partiton' in [slurm]. Known: partition, account, "),
        ("[slurm]\ntime = 'x'", "job option time 'x'"),
        ("slurm = 3", "slurm is no table"),
        ("[slurm", "c.toml"),
    ],
)
def test_a_mistake_in_the_file_is_named(lab: Lab, text: str, fragment: str) -> None:
    (lab.folder / "c.toml").write_text(text)
    code, _, err = lab.run(*CAPTION, "--config", "c.toml")
    assert code == 2
    assert fragment in err


def test_what_stands_behind_two_dashes_stays_behind_them(lab: Lab) -> None:
    _, out, err = lab.run("render", "server", "Qwen/x", "--max-model-len", "9", "--", "--enforce-eager")
    assert (
        out.splitlines()[-1]
        == 'exec captionqa serve --requeue-limit 50 Qwen/x --max-model-len 9 -- --enforce-eager "$@"'
    ), err


def test_a_rendered_script_with_a_log_folder_says_that_it_must_be_made(lab: Lab) -> None:
    _, out, err = lab.run("render", "qa", "--log-dir", "logs/100%")
    assert "#SBATCH --output=logs/100%%/%x-%j.out" in out
    assert "mkdir -p logs/100%" in err


def test_status_shows_jobs_with_reasons_and_how_far_the_run_is(lab: Lab) -> None:
    lab.run(*CAPTION, "--shards", "2")
    lab.answer(*NAMES[:5])
    lab.jobs(
        ("101", "RUNNING", "None", ""),
        ("102_0", "PENDING", "BeginTime", ""),
        ("102_1", "TELEPORTING", "None", ""),
        ("103", "PENDING", "Dependency", ""),
    )
    code, out, err = lab.run("status")
    assert code == 0, err
    for shown in (
        "RUNNING",
        "restarted 1×",
        "BeginTime: was put back",
        "TELEPORTING",
        "does not know",
        "5 of 12 items",
    ):
        assert shown in out
    _, out, _ = lab.run("status", "--json")
    (status,) = json.loads(out)
    assert status["progress"]["answered"] == 5
    assert [len(job["tasks"]) for job in status["jobs"]] == [1, 2, 1]


def test_status_says_when_slurm_does_not_answer_and_does_not_take_jobs_for_gone(lab: Lab) -> None:
    lab.run(*CAPTION)
    lab.command("squeue", "echo Unable to contact slurm controller >&2; exit 1")
    code, out, _ = lab.run("status")
    assert code == 0
    assert "controller does not answer" in out
    assert "not known to SLURM any more" not in out


def test_status_finds_a_submission_by_its_folder_its_record_and_its_run(lab: Lab) -> None:
    lab.run(*CAPTION)
    lab.answer(NAMES[0])
    (folder,) = (lab.folder / "output" / "slurm").iterdir()
    for what in (str(folder), f"{folder}/submission.json", "captions/Qwen3-VL-4B-Instruct"):
        code, out, err = lab.run("status", what)
        assert (code, "1 of 12 items" in out) == (0, True), err
    code, _, err = lab.run("status", "--output-dir", "elsewhere")
    assert (code, "nothing was submitted from there" in err) == (2, True)


def test_waiting_ends_with_the_jobs_and_with_the_runs_exit_code(lab: Lab) -> None:
    lab.answer(*NAMES[:-1])
    lab.jobs(("102", "COMPLETED", "None", ""), ("103", "COMPLETED", "None", ""))
    code, out, err = lab.run(*CAPTION, "--wait")
    assert (code, "11 images captioned" in out) == (3, True), err
    assert "caption 102: COMPLETED" in err


def test_waiting_for_jobs_that_never_began_the_run_is_an_error_that_names_their_logs(lab: Lab) -> None:
    code, _, err = lab.run(*CAPTION, "--wait")
    assert code == 1
    assert "none has begun the run" in err
