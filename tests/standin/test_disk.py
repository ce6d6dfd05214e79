"""A disk that is full, a limit on file sizes, a folder that is none: nothing answered is lost, nothing is torn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from captionqa.server.standin import StandInServer
    from tests.standin.conftest import Cli, Drawn, RunFiles

SMALL_DISK = 'mount -t tmpfs -o size=32k none "$1" && saved=$2 && small=$1 && shift 2 && { "$@"; code=$?; }'
KEEP = '; cp -a "$small/." "$saved" && exit $code'


def limited(max_file_bytes: int) -> tuple[str, ...]:
    """A command line that starts another one whose files cannot grow beyond ``max_file_bytes``."""
    code = "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); "
    return sys.executable, "-c", code + "os.execv(sys.argv[2], sys.argv[2:])", str(max_file_bytes)


def assert_healthy(files: RunFiles) -> list[dict[str, Any]]:
    """Every line is whole, no temporary file is left, and every export is whole JSON. Returns the outcomes."""
    assert files.journal.read_bytes().endswith(b"\n")
    names = files.snapshot()
    assert not [name for name in names if name.endswith((".tmp", ".claim"))]
    for name, content in names.items():
        if name.endswith(".json"):
            json.loads(content)
    return files.records()


def test_a_journal_that_cannot_grow_stops_the_run_and_keeps_what_was_answered(
    cli: Cli, drawn: Drawn, server: StandInServer
) -> None:
    command = (*drawn.qa.arguments, "--server-url", server.url, "--max-concurrency", 4)
    ended = cli.run(*command, wrapper=limited(12_000), code=1)
    assert "journal.jsonl: cannot save (File too large)" in ended.err
    assert "Nothing answered so far is lost" in ended.err
    saved = assert_healthy(drawn.qa.files(cli.folder))
    assert 0 < len(saved) < drawn.qa.size
    sent = server.stats()["requests"]
    assert sent <= len(saved) + 4, "nothing more is sent when nothing more can be saved"
    cli.run(*command)
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)
    assert server.stats()["repeated"] <= sent - len(saved)


def test_an_export_that_cannot_be_written_leaves_the_last_good_one(cli: Cli, drawn: Drawn) -> None:
    shutil.copytree(drawn.folder.parent / "output", cli.folder / "output")
    files = drawn.qa.files(cli.folder)
    before = files.snapshot()
    ended = cli.run("export", files.path(".run.json"), wrapper=limited(8_000), code=1)
    assert "_qa_results.json: cannot be written (File too large)" in ended.err
    assert "captionqa export" in ended.err
    assert files.snapshot() == before


def test_a_full_disk_stops_the_run_which_goes_on_when_there_is_room(
    cli: Cli, drawn: Drawn, server: StandInServer
) -> None:
    small, saved = cli.folder / "output", cli.folder / "saved"
    small.mkdir()
    saved.mkdir()
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(small)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    in_namespace = ("unshare", "-rm", "sh", "-c", SMALL_DISK + KEEP, "sh", str(small), str(saved))
    command = (*drawn.qa.arguments, "--server-url", server.url, "--max-concurrency", 4)
    ended = cli.run(*command, wrapper=in_namespace, code=1)
    assert "No space left on device" in ended.err
    small.rmdir()
    saved.rename(small)
    kept = assert_healthy(drawn.qa.files(cli.folder))
    assert 0 < len(kept) < drawn.qa.size
    cli.run(*command)
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)
    assert server.stats()["repeated"] <= 4


def test_an_output_folder_that_is_a_file_is_refused(cli: Cli, drawn: Drawn, server: StandInServer) -> None:
    (cli.folder / "taken").write_text("mine")
    command = (*drawn.qa.arguments, "--server-url", server.url, "--output-dir")
    assert "taken" in cli.run(*command, "taken", code=2).err
    ended = cli.run(*command, "taken/below", code=1)
    assert "cannot be made (Not a directory)" in ended.err
    assert "--output-dir" in ended.err
    assert (cli.folder / "taken").read_text() == "mine"
    assert server.stats()["requests"] == 0
