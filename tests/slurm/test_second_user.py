"""What another user of the same cluster can get at: nothing. And what he plants is not believed.

Alice submits with secrets in her environment and umask 000; her home and her output folder are open to everybody. The
key of her server is looked for wherever bob could find it.
"""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .cluster import Cluster, User
from .runs import CLIENTS, QUESTIONS, SERVERS, Run

SECRETS = {"CAPTIONQA_API_KEY": "own-key-of-alice", "OPENAI_API_KEY": "sk-alice-0815", "HF_TOKEN": "hf_alice4711"}
DRAW = """\
from pathlib import Path
from captionqa.data.drawn import draw_dataset
draw_dataset(Path("data"), images=60, questions_per_image=4)
"""
AS_VLLM = '"${@/--served-model-name/--model}"'
"""Options of vLLM, as the stand-in calls them, in bash."""
SUBMIT = 'umask 000; exec captionqa slurm submit qa "$@"'
ASK = """\
import sys, urllib.error, urllib.request
url, key, body = sys.argv[1:]
headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
try:
    print(urllib.request.urlopen(urllib.request.Request(url, body.encode() or None, headers), timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
PEEK = """\
from pathlib import Path
for process in Path("/proc").glob("[0-9]*"):
    for name in ("cmdline", "environ"):
        try:
            text = (process / name).read_bytes().replace(b"\\0", b" ").decode(errors="replace")
        except OSError as error:
            text = type(error).__name__
        print(process.stat().st_uid if process.exists() else "gone", name, repr(text))
"""
"""Prints the command lines and environments of all processes, as far as the kernel shows them."""
LISTENER = """\
import pathlib, socket
listener = socket.create_server(("0.0.0.0", 0))
pathlib.Path("port").write_text(str(listener.getsockname()[1]))
while True:
    connection, _ = listener.accept()
    with open("heard", "ab") as file: file.write(connection.recv(65536) + b"\\n")
    connection.close()
"""
"""Writes down whatever anybody sends to it."""


@dataclass(frozen=True)
class Scene:
    """Alice's run while it goes on."""

    run: Run
    said: str
    """By her submission, on stderr."""
    lease: dict[str, str]
    key: str

    @property
    def cluster(self) -> Cluster:
        return self.run.cluster

    @property
    def alice(self) -> User:
        return self.cluster.users["alice"]

    @property
    def bob(self) -> User:
        return self.cluster.users["bob"]


@pytest.fixture(scope="module")
def scene(lab: Cluster) -> Iterator[Scene]:
    """One submission for all tests of this file, because its start takes 10 s. No test may reset the cluster."""
    alice = lab.users["alice"]
    alice.home.chmod(0o755)
    alice.run("python", "-c", DRAW)
    submitted = alice.run(
        "bash", "-c", SUBMIT, "bash", *QUESTIONS, *SERVERS, *CLIENTS, "--serve-option", "-- --latency 1",
        "--max-concurrency", 1, "--setup", "umask 000; env > env-$SLURM_JOB_ID.txt", env=SECRETS,
    )  # fmt: skip
    run = Run(alice, {})
    (lease,) = run.until_ready().values()
    run.until_answered(1)
    key = Path(lease["key_file"]).read_text().strip()
    assert len(key) >= 32
    yield Scene(run, submitted.stderr, lease, key)
    lab.reset()


@pytest.fixture
def shared(scene: Scene) -> Iterator[Path]:
    """A folder in which everybody may write, as a group's scratch space."""
    folder = scene.cluster.lab / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def ask(scene: Scene, user: str, path: str, key: str = "", body: str = "") -> str:
    """The status of a request from a node on which nothing of alice's server runs."""
    url = scene.lease["url"].removesuffix("/v1") + path
    python = scene.cluster.venv / "bin" / "python"
    return scene.cluster.on_node("cpu3", [python, "-c", ASK, url, key, body], user).stdout.strip()


def listener(scene: Scene) -> str:
    """Starts bob's server on the login node and returns its base URL. What it hears is in the file «heard»."""
    scene.bob.run("rm", "-f", "port", "heard")
    scene.bob.start("python", "-c", LISTENER)
    port = scene.bob.home / "port"
    scene.cluster.wait_until(lambda: port.is_file() and port.read_text() != "", 20, "bob listens")
    return f"http://login1:{port.read_text()}/v1"


def plant(scene: Scene, folder: Path, url: str) -> None:
    """Bob copies alice's lease with his own URL in it."""
    forged = {**scene.lease, "name": "better", "url": url, "job": None}
    scene.bob.write("better.json", json.dumps(forged))
    scene.bob.run("cp", "better.json", folder / "better.json")


def assert_unheard(scene: Scene, url: str) -> None:
    """Nobody has sent anything to bob, and he would have heard it."""
    heard = scene.bob.home / "heard"
    assert not heard.exists(), heard.read_text()
    scene.alice.run("python", "-c", ASK, url, "", "", code=None)
    scene.cluster.wait_until(lambda: heard.exists() and b"GET /v1" in heard.read_bytes(), 20, "bob hears a request")


def test_everything_in_the_servers_folder_is_private_although_the_umask_was_000(scene: Scene) -> None:
    folder = scene.run.output / "servers"
    assert mode(folder) == 0o700
    files = list(folder.iterdir())
    assert {path.suffix for path in files} >= {".json", ".key", ".log"}
    assert {path.name: mode(path) for path in files} == dict.fromkeys((path.name for path in files), 0o600)
    for path in (folder, *files):
        refused = scene.bob.run("cat", path, code=1)
        assert "Permission denied" in refused.stderr
    submissions = list((scene.run.output / "slurm").iterdir())
    assert [mode(path) for path in submissions] == [0o700]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions"])
def test_another_user_can_reach_the_server_but_not_use_it(scene: Scene, path: str) -> None:
    body = "" if path == "/v1/models" else json.dumps({"model": scene.lease["model"], "messages": []})
    assert ask(scene, "bob", "/health") == "200", "the server cannot be reached, so this test says nothing"
    assert ask(scene, "bob", path, body=body) == "401"
    assert ask(scene, "bob", path, "a-guess", body) == "401"
    assert ask(scene, "bob", path, SECRETS["CAPTIONQA_API_KEY"], body) == "401"
    assert ask(scene, "alice", path, scene.key, body) != "401"


def test_no_process_shows_the_key_or_a_secret_to_another_user(scene: Scene) -> None:
    python = scene.cluster.venv / "bin" / "python"
    client = next(job.nodes for job in scene.cluster.squeue() if "-qa" in job.name)
    alices = ""
    for node in {scene.lease["node"], client}:
        seen = scene.cluster.on_node(node, [python, "-c", PEEK], "bob").stdout
        alices += "\n".join(line for line in seen.splitlines() if line.startswith(str(scene.alice.uid)))
        for secret in (scene.key, *SECRETS.values()):
            assert secret not in seen
    assert "standin --host" in alices, "bob does not even see the engine, so this test says nothing"
    assert "captionqa qa" in alices
    assert "environ 'PermissionError'" in alices


def test_slurm_tells_nobody_the_key_or_a_secret(scene: Scene) -> None:
    bob, alice = scene.bob, scene.alice
    told = ""
    for job in scene.cluster.squeue():
        denied = bob.run("scontrol", "write", "batch_script", job.id, "-", code=None)  # 0 in 22.05
        assert denied.stdout == ""
        assert "Invalid user id" in denied.stderr
        told += bob.run("scontrol", "show", "job", "--details", job.id).stdout
        told += alice.run("scontrol", "write", "batch_script", job.id, "-").stdout
    assert "JobName=captionqa-server" in told
    assert "exec captionqa serve" in told
    for secret in (scene.key, *SECRETS.values()):
        assert secret not in told


def test_the_key_is_in_one_file_and_the_secrets_are_in_none(scene: Scene) -> None:
    """Of all that alice, the jobs and SLURM itself have written: homes, logs, the controller's state, every /tmp."""
    lab = scene.cluster.lab
    folders = [lab / name for name in ("home", "log", "spool", "tmp", "run")]

    def holding(text: str) -> list[str]:
        argv = [
            "grep",
            "--recursive",
            "--files-with-matches",
            "--fixed-strings",
            "--devices=skip",
            "-e",
            text,
            *folders,
        ]
        found = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert found.returncode < 2, found.stderr
        return found.stdout.splitlines()

    assert holding(scene.key) == [scene.lease["key_file"]]
    state = [path for path in holding("SLURM_SUBMIT_DIR") if "/spool/controller/" in path]
    assert state, "the environment that SLURM stores is not where this test looks"
    for secret in SECRETS.values():
        assert holding(secret) == []


def test_secrets_of_the_submitting_shell_stay_out_of_the_jobs_and_that_is_said(scene: Scene) -> None:
    stored = [path.read_text() for path in scene.alice.home.glob("env-*.txt")]
    assert len(stored) == 2, "the server's and the client's set-up line"
    for text in stored:
        assert "SLURM_JOB_ID=" in text
        assert not [name for name in SECRETS if f"{name}=" in text]
    (left_out,) = [line for line in scene.said.splitlines() if line.startswith("left out of the jobs' environment")]
    assert all(name in left_out for name in SECRETS)
    assert not any(secret in scene.said for secret in SECRETS.values())
    assert "--api-key-file" in left_out


def test_another_user_is_told_that_he_may_not_read_the_servers(scene: Scene) -> None:
    for command in (("servers",), ("servers", "stop", "--all"), ("servers", "prune")):
        refused = scene.bob.run("captionqa", *command, "--output-dir", scene.run.output, code=2)
        assert f"{scene.run.output}/servers: cannot be read (Permission denied)" in refused.stderr
        assert "--output-dir of your own" in refused.stderr
    assert scene.cluster.job(scene.lease["job"]).state == "RUNNING"


def test_a_running_client_does_not_believe_a_lease_that_another_user_puts_beside_its_servers(scene: Scene) -> None:
    """In a servers folder that alice has opened to everybody, against all advice."""
    url = listener(scene)
    folder = scene.run.output / "servers"
    folder.chmod(0o777)
    try:
        plant(scene, folder, url)
        scene.run.until_answered(scene.run.answered() + 5)  # one a second, and a look at the folder every two
        listed = scene.alice.run("captionqa", "servers")
        assert [line.split()[0] for line in listed.stdout.splitlines()[2:]] == [scene.lease["name"]]
        assert f"better.json is ignored: belongs to user id {scene.bob.uid}, not to you" in listed.stderr
        assert_unheard(scene, url)
    finally:
        (folder / "better.json").unlink()
        folder.chmod(0o700)


def test_a_client_that_finds_only_another_users_lease_has_no_server(scene: Scene, shared: Path) -> None:
    """In a servers folder of bob's, in a folder for everybody."""
    url = listener(scene)
    scene.bob.run("mkdir", shared / "servers")
    plant(scene, shared / "servers", url)
    ended = scene.alice.run("captionqa", "qa", *QUESTIONS, "--output-dir", shared, code=2)
    assert "no server: none is published in" in ended.stderr
    assert f"better.json there is ignored: belongs to user id {scene.bob.uid}, not to you" in ended.stderr
    assert_unheard(scene, url)


def test_a_servers_folder_of_another_user_is_refused_and_an_open_one_of_ours_closed(scene: Scene, shared: Path) -> None:
    opened, bobs = shared / "opened", shared / "bobs"
    scene.bob.run("mkdir", "-p", bobs / "servers")
    scene.bob.run("chmod", "777", bobs, bobs / "servers")
    serve = ("captionqa", "serve", "--engine", "standin", "--host", "127.0.0.1")
    refused = scene.alice.run(*serve, "--output-dir", bobs, code=2)
    assert f"{bobs}/servers: belongs to user id {scene.bob.uid}, not to you" in refused.stderr
    assert list((bobs / "servers").iterdir()) == []
    scene.alice.run("mkdir", "-p", opened / "servers")
    scene.alice.run("chmod", "777", opened, opened / "servers")
    server = scene.alice.start(*serve, "--output-dir", opened, "--name", "mine")
    scene.cluster.wait_until((opened / "servers" / "mine.json").exists, 30, "the server is published")
    assert mode(opened / "servers") == 0o700
    server.terminate()
    assert server.wait(60) == 0


def test_a_server_without_a_key_is_refused_unless_that_is_said(scene: Scene) -> None:
    alice = scene.alice
    serve = ("captionqa", "serve", "--host", "127.0.0.1", "--output-dir", "keyless", "--name", "open")
    alice.write("empty.key", "\n", mode=0o600)
    refused = alice.run(*serve, "--engine", "standin", "--api-key-file", "empty.key", code=2)
    assert "empty.key: no key in it" in refused.stderr
    assert "--no-api-key" in refused.stderr
    refused = alice.run(*serve, "--", "--api-key", "sk-visible", code=2)
    assert "can be read by everybody on the node" in refused.stderr
    # As a container that clears the environment: the engine starts without the key that it was to ask for.
    forgetful = alice.write(
        "vllm", f"#!/bin/bash\nshift 2\nexec env -u VLLM_API_KEY captionqa standin {AS_VLLM}\n", 0o755
    )
    refused = alice.run(*serve, "m", "--vllm-command", forgetful, code=1)
    assert "the engine serves everybody, also without its key" in refused.stderr
    assert "--no-api-key" in refused.stderr
    assert not list((alice.home / "keyless" / "servers").glob("*.key"))
    server = alice.start(*serve, "m", "--vllm-command", forgetful, "--no-api-key")
    lease = alice.home / "keyless" / "servers" / "open.json"
    scene.cluster.wait_until(lambda: '"ready"' in (lease.read_text() if lease.exists() else ""), 60, "it is ready")
    assert json.loads(lease.read_text())["key_file"] is None
    server.terminate()
    out, _ = server.communicate(timeout=60)
    assert b"--no-api-key: everybody who can reach this node can use the server" in out
