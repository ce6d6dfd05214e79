"""Leases on disk: private, whole or not there, and believed only from oneself."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.errors import SaveFailed, UsageError
from captionqa.process import Process
from captionqa.server.lease import (
    Lease,
    LeaseState,
    PublishedLease,
    key_path,
    lease_path,
    make_private_folder,
    read_key,
    read_leases,
    remove_lease,
    servers_folder,
    write_private,
)

LEASE = Lease(
    name="one",
    state=LeaseState.READY,
    url="http://gpu1:8000/v1",
    model="org/model",
    node="gpu1",
    engine="vllm",
    process=Process("gpu1", "boot", "pid:[1]", 7, "123"),
    started_at=1.0,
    heartbeat_at=2.5,
    job="101_3",
    restarts=1,
    key_file="/o/servers/one.key",
    detail="é «» \u2028",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = servers_folder(tmp_path)
    make_private_folder(made)
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_lease_is_read_as_it_was_written() -> None:
    assert Lease.parse(LEASE.to_json().encode()) == LEASE
    assert (LEASE.job_array, replace(LEASE, job="7").job_array, replace(LEASE, job=None).job_array) == (
        "101",
        "7",
        None,
    )


def test_fields_of_later_releases_are_passed_over() -> None:
    fields = json.loads(LEASE.to_json()) | {"format": 2, "gpus": 8}
    assert Lease.parse(json.dumps(fields).encode()) == LEASE


@given(st.integers(0, len(LEASE.to_json()) - 3))
def test_a_lease_that_is_cut_anywhere_is_none(length: int) -> None:
    with pytest.raises(ValueError, match="not a whole lease"):
        Lease.parse(LEASE.to_json().encode()[:length])


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"{}", b"\xff", b'{"state": "ready"}', b'{"state": "flying"}'])
def test_other_things_are_no_leases(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a whole lease"):
        Lease.parse(text)


def test_a_published_lease_is_private_and_always_whole(folder: Path) -> None:
    published = PublishedLease(folder, LEASE)
    before = os.umask(0)
    try:
        for state in LeaseState:
            published.update(state=state)
            assert read_leases(folder.parent).found == {"one": replace(LEASE, state=state)}
            assert mode(lease_path(folder, "one")) == 0o600
    finally:
        os.umask(before)
    assert [path.name for path in folder.iterdir()] == ["one.json"]


@pytest.mark.parametrize("umask", [0, 0o777])
def test_folders_and_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    folder = servers_folder(tmp_path)
    before = os.umask(umask)
    try:
        make_private_folder(folder)
        write_private(folder / "x", "secret")
    finally:
        os.umask(before)
    assert (mode(folder), mode(folder / "x"), (folder / "x").read_text()) == (0o700, 0o600, "secret")


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    folder = servers_folder(tmp_path)
    folder.mkdir()
    folder.chmod(0o755)
    make_private_folder(folder)
    assert mode(folder) == 0o700


def test_removing_takes_the_key_along_and_leaves_the_log(folder: Path) -> None:
    published = PublishedLease(folder, LEASE)
    published.update()
    write_private(key_path(folder, "one"), "k")
    (folder / "one.log").touch()
    published.remove()
    published.remove()
    assert [path.name for path in folder.iterdir()] == ["one.log"]


def test_a_lease_that_another_server_has_taken_over_stays(folder: Path) -> None:
    published = PublishedLease(folder, LEASE)
    assert not published.is_taken_over()  # not there yet
    published.update()
    assert not published.is_taken_over()
    other = PublishedLease(folder, replace(LEASE, process=replace(LEASE.process, pid=8)))
    other.update()
    assert published.is_taken_over()
    published.remove()
    assert read_leases(folder.parent).found == {"one": other.lease}
    lease_path(folder, "one").write_text("{")
    assert not published.is_taken_over()  # unreadable just now


def test_what_lies_between_the_leases_is_ignored_and_named(folder: Path) -> None:
    write_private(lease_path(folder, "good"), LEASE.to_json())
    write_private(lease_path(folder, "torn"), LEASE.to_json()[:50])
    lease_path(folder, "folder").mkdir()
    lease_path(folder, "link").symlink_to(lease_path(folder, "good"))
    os.mkfifo(lease_path(folder, "pipe"))
    (folder / ".good.json.abc.tmp").write_text("{")
    (folder / "good.log").touch()
    leases = read_leases(folder.parent)
    assert leases.found == {"good": replace(LEASE, name="good")}
    assert sorted(leases.ignored) == ["folder", "link", "pipe", "torn"]


def test_no_folder_has_no_leases_and_an_unreadable_one_is_an_error(tmp_path: Path) -> None:
    assert read_leases(tmp_path / "nowhere").found == {}
    (tmp_path / "servers").write_text("a file")
    assert read_leases(tmp_path).found == {}
    with pytest.raises(SaveFailed, match="cannot be made private"):
        make_private_folder(tmp_path / "servers")


def test_a_save_that_fails_says_so_and_leaves_nothing(folder: Path) -> None:
    target = folder / "one.json"
    target.mkdir()
    with pytest.raises(SaveFailed, match=r"one\.json: cannot be written"):
        write_private(target, "x")
    assert [path.name for path in folder.iterdir()] == ["one.json"]


def test_the_key_is_read_from_its_file(folder: Path) -> None:
    lease = replace(LEASE, key_file=str(key_path(folder, "one")))
    write_private(key_path(folder, "one"), "secret\n")
    assert read_key(lease) == "secret"
    assert read_key(replace(LEASE, key_file=None)) is None
    key_path(folder, "one").chmod(0o640)
    with pytest.raises(UsageError, match="others may read it"):
        read_key(lease)
    remove_lease(folder, "one")
    with pytest.raises(UsageError, match="No such file"):
        read_key(lease)


def test_another_users_files_are_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = replace(LEASE, key_file=str(key_path(folder, "one")))
    write_private(lease_path(folder, "one"), lease.to_json())
    write_private(key_path(folder, "one"), "k")
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)  # seen by somebody else who may read it, as root may
    leases = read_leases(folder.parent)
    assert (leases.found, f"belongs to user id {owner}" in leases.ignored["one"]) == ({}, True)
    with pytest.raises(UsageError, match=f"belongs to user id {owner}"):
        read_key(lease)
    with pytest.raises(UsageError, match=f"belongs to user id {owner}, not to you"):
        make_private_folder(folder)
