"""Abilities: believed only where a server without them would have been caught."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from captionqa.core.abilities import Abilities
from captionqa.core.replies import NoAnswer, Verdict
from captionqa.run.abilities import Probe, finding_out, image_references, local_files
from tests.unit.picture_server import PictureServer, refused


def found(server: PictureServer, *probes: Probe) -> Abilities:
    return asyncio.run(finding_out(probes)(server, "org/model", 4096))


def test_nothing_is_asked_that_nobody_wants() -> None:
    server = PictureServer()
    assert found(server) == Abilities(4096)
    assert server.seen == []


def test_references_are_found_where_an_unknown_one_is_refused_and_a_known_one_answered() -> None:
    server = PictureServer()
    assert found(server, image_references) == Abilities(4096, image_references=True)
    assert server.seen == ["miss", "whole", "reference"]


def without_uuids(server: PictureServer) -> None:
    server.refers = False


def without_cache(server: PictureServer) -> None:
    server.capacity = 0


def without_eyes(server: PictureServer) -> None:
    server.blind = True


def without_patience(server: PictureServer) -> None:
    server.down = refused(400, "unknown field uuid")


@pytest.mark.parametrize("lacking", [without_uuids, without_cache, without_eyes, without_patience])
def test_references_are_not_believed_of_servers_that_only_look_as_if(lacking: object) -> None:
    server = PictureServer()
    lacking(server)  # type: ignore[operator]
    assert not found(server, image_references).image_references


def test_a_server_that_goes_away_meanwhile_is_greeted_again() -> None:
    server = PictureServer()
    server.down = NoAnswer(Verdict.TRANSIENT, "connection", "refused")
    with pytest.raises(NoAnswer):
        found(server, image_references)


def test_files_are_believed_where_the_server_sees_what_was_just_written(tmp_path: Path) -> None:
    said: list[str] = []
    server = PictureServer()
    server.folder = tmp_path.resolve().parent
    probe = local_files(tmp_path, said.append, wanted=True)
    assert found(server, image_references, probe) == Abilities(4096, image_references=True, local_files=True)
    assert (said, list(tmp_path.iterdir())) == ([], [])


def test_files_of_another_host_under_the_same_path_are_not_believed(tmp_path: Path) -> None:
    said: list[str] = []
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "1.png").write_bytes(b"other bytes")
    server = PictureServer()
    server.folder, server.elsewhere = here.resolve(), there
    assert not found(server, local_files(here, said.append, wanted=True)).local_files
    (words,) = said
    assert "does not see this host's" in words
    assert sorted(path.name for path in here.iterdir()) == ["1.png"]


def test_a_server_that_may_read_no_files_costs_one_request_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        raise AssertionError("nothing is to be written")

    monkeypatch.setattr("captionqa.run.abilities._write", write)
    said: list[str] = []
    for wanted in (False, True):
        assert not found(PictureServer(), local_files(tmp_path, said.append, wanted=wanted)).local_files
    (words,) = said
    assert f"--allowed-local-media-path {tmp_path.resolve()}" in words


def test_a_folder_that_cannot_be_written_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("captionqa.run.abilities._write", write)
    said: list[str] = []
    server = PictureServer()
    server.folder = tmp_path.resolve().parent
    assert not found(server, local_files(tmp_path, said.append, wanted=True)).local_files
    assert "Permission denied" in said[0]


def test_a_server_that_looks_at_no_picture_is_not_believed_to_read_files(tmp_path: Path) -> None:
    server = PictureServer()
    server.blind = True
    assert not found(server, local_files(tmp_path, lambda _: None, wanted=True)).local_files
