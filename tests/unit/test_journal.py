"""The journal: what was appended is read back, whatever happened to the file's end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.errors import JournalCorrupt, SaveFailed
from captionqa.run import journal as journal_module
from captionqa.run.journal import JournalIndex, JournalWriter, Record, encode_line


def record(item_id: str, **changes: Any) -> Record:
    fields = {"id": item_id, "key": "00000000000000aa", "facts_key": "00000000000000bb", "ordinal": 0, "at": 1.0}
    return {**fields, "outcome": "answered", "output": f"answer to {item_id}", **changes}


def removal(item_id: str, at: float) -> Record:
    return {"id": item_id, "removed": True, "at": at}


def write(path: Path, records: Iterable[Record]) -> Path:
    writer = JournalWriter(path)
    for one in records:
        writer.append(one)
    writer.close()
    return path


def read(*paths: Path) -> JournalIndex:
    index = JournalIndex()
    for path in paths:
        index.read_file(path)
    return index


def outputs(index: JournalIndex) -> dict[str, str | None]:
    return {one["id"]: one.get("output") for one in index.records()}


THREE = [record("one", ordinal=0), record("två 图像 🖼", ordinal=1, output='says "hi"\n'), record("three", ordinal=2)]


def test_what_was_appended_is_read_back_in_the_order_of_the_data_set(tmp_path: Path) -> None:
    index = read(write(tmp_path / "j.jsonl", reversed(THREE)))
    assert list(index.records()) == THREE
    assert len(index) == 3
    assert index.read("three") == THREE[2]


def test_an_index_that_took_part_in_the_writing_equals_one_that_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    writer, index = JournalWriter(path), JournalIndex()
    for one in (*THREE, record("one", output="second thoughts"), removal("three", 2.0)):
        index.add(one, path, writer.append(one))
    writer.close()
    assert list(index.records()) == list(read(path).records())
    assert outputs(index) == {"one": "second thoughts", "två 图像 🖼": 'says "hi"\n'}


def test_the_last_record_of_an_item_wins_within_a_journal_whatever_it_says(tmp_path: Path) -> None:
    records = [record("a"), record("a", outcome="failed", output=None, key="00000000000000cc"), record("b")]
    index = read(write(tmp_path / "j.jsonl", records))
    entry = index.find("a")
    assert entry is not None
    assert (entry.key, entry.answered) == ("00000000000000cc", False)
    assert len(index) == 2


def test_a_removed_item_is_gone_until_it_is_recorded_again(tmp_path: Path) -> None:
    path = write(tmp_path / "j.jsonl", [record("a"), record("b"), removal("a", 2.0)])
    index = read(path)
    gone = index.find("a")
    assert gone is not None
    assert (gone.removed, gone.answered) == (True, True)  # should it come back, it need not be asked again
    assert index.read("a")["output"] == "answer to a"
    assert (outputs(index), len(index)) == ({"b": "answer to b"}, 1)
    assert [one["id"] for one in index.unseen()] == ["b"]
    write(path, [record("a", at=3.0)])
    assert set(outputs(read(path))) == {"a", "b"}


def test_a_session_is_remembered_with_the_name_of_its_journal(tmp_path: Path) -> None:
    index = read(write(tmp_path / "j.jsonl", [{"session": {"items": 7}, "at": 1.0}, record("a")]))
    assert index.sessions == [{"session": {"items": 7}, "at": 1.0, "journal": "j.jsonl"}]
    assert len(index) == 1


def test_a_journal_torn_at_every_byte_keeps_its_whole_lines_and_goes_on(tmp_path: Path) -> None:
    lines = [encode_line(one) for one in THREE]
    whole = b"".join(lines)
    ends = [sum(map(len, lines[: count + 1])) for count in range(3)]
    path = tmp_path / "j.jsonl"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        # A line is whole without its newline too: nothing of it is missing.
        kept = [one for one, end in zip(THREE, ends, strict=True) if cut >= end - 1]
        lost = 0 if cut + 1 in ends else cut - max([0, *(end for end in ends if end <= cut)])
        index = JournalIndex()
        assert index.read_file(path) == lost, cut
        assert list(index.records()) == kept, cut
        writer = JournalWriter(path)
        assert writer.healed_bytes == lost, cut
        writer.append(record("after", ordinal=9))
        writer.close()
        assert path.read_bytes() == b"".join(map(encode_line, [*kept, record("after", ordinal=9)])), cut


def test_a_torn_line_longer_than_a_block_is_cut_off_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    torn = encode_line(record("b", output="x" * 200_000))[:-10]
    path.write_bytes(encode_line(record("a")) + torn)
    writer = JournalWriter(path)
    assert writer.healed_bytes == len(torn)
    writer.close()
    assert path.read_bytes() == encode_line(record("a"))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"id": "b", "key": "00',
        b"\0\0\0\0\0\0\0\0",
        b"\xff\xfe",
        b"null",
        b"[1]",
        b'"session"',
        b"{}",
        b'{"id": 5, "key": "aa", "facts_key": "bb", "ordinal": 0, "at": 1.0, "outcome": "answered"}',
        b'{"id": "b", "key": "aa", "facts_key": "bb", "ordinal": -1, "at": 1.0, "outcome": "answered"}',
        b'{"id": "b", "key": "zz", "facts_key": "bb", "ordinal": 0, "at": 1.0, "outcome": "answered"}',
        b'{"id": "b", "key": "aa", "facts_key": "bb", "ordinal": 0, "at": null, "outcome": "answered"}',
    ],
)
def test_an_unreadable_line_before_the_end_is_refused_by_file_and_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(encode_line(record("a")) + line + b"\n" + encode_line(record("c")))
    with pytest.raises(JournalCorrupt, match=r"j\.jsonl line 2: not a journal record") as raised:
        read(path)
    assert f"sed -i '2d' '{path}'" in str(raised.value)


def test_an_unreadable_last_line_that_has_its_newline_is_not_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(encode_line(record("a")) + b'{"id": "b"\n')
    with pytest.raises(JournalCorrupt, match="line 2"):
        read(path)


texts = st.text(st.characters(exclude_categories=[]), max_size=40)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8))
def test_any_text_comes_back_as_it_was(pairs: list[tuple[str, str]]) -> None:
    # A high surrogate before a low one is one character in JSON; Python text that holds the two apart does not exist
    # outside of a test.
    pairs = [(unpaired(name), unpaired(text)) for name, text in pairs]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "j.jsonl", [record(name, output=text) for name, text in pairs])
        assert path.read_bytes().count(b"\n") == len(pairs)
        assert outputs(read(path)) == dict(pairs)


def unpaired(text: str) -> str:
    return json.loads(json.dumps(text))


@pytest.mark.parametrize("text", ["\udc80.jpg", "\ud800", "a\0b", "a\nb\r\nc\u2028d\x85e", "😀\ud83d"])
def test_surrogates_nul_and_line_ends_stay_within_one_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "j.jsonl", [record(text, output=text), record("next")])
    assert path.read_bytes().count(b"\n") == 2
    assert read(path).read(text)["output"] == text


def test_an_append_costs_one_write_however_long_the_journal_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = JournalWriter(write(tmp_path / "j.jsonl", [record(f"{n}") for n in range(1000)]))
    calls: list[int] = []
    real_write = os.write

    def counted(fd: int, data: bytes) -> int:
        calls.append(len(data))
        return real_write(fd, data)

    monkeypatch.setattr(journal_module.os, "write", counted)
    monkeypatch.setattr(journal_module.os, "pread", None)
    monkeypatch.setattr(journal_module.os, "fsync", None)
    lines = [record("x", output="o" * size) for size in (0, 10, 100_000)]
    for line in lines:
        writer.append(line)
    assert calls == [len(encode_line(line)) for line in lines]


def test_a_write_that_takes_only_a_part_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.jsonl"
    writer = JournalWriter(path)
    real_write = os.write
    monkeypatch.setattr(journal_module.os, "write", lambda fd, data: real_write(fd, data[:7]))
    offsets = [writer.append(one) for one in THREE]
    monkeypatch.undo()
    writer.close()
    assert path.read_bytes() == b"".join(map(encode_line, THREE))
    assert offsets == [0, len(encode_line(THREE[0])), len(b"".join(map(encode_line, THREE[:2])))]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from captionqa.errors import SaveFailed
from captionqa.run.journal import JournalWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, room = Path(sys.argv[1]), int(sys.argv[2])
writer = JournalWriter(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, resource.RLIM_INFINITY))
saved = 0
try:
    while True:
        writer.append({"id": f"new {saved}", "key": "aa", "facts_key": "bb", "ordinal": saved + 9, "at": 2.0,
                       "outcome": "answered"})
        saved += 1
except SaveFailed as error:
    print(saved)
    print(error)
"""


@pytest.mark.parametrize("room", [0, 1, 50, 400])
def test_when_the_disk_is_full_the_journal_stays_whole_and_the_error_says_what_to_do(tmp_path: Path, room: int) -> None:
    """A real limit of the kernel on the file's size: it takes a part of a line, then refuses the rest."""
    path = write(tmp_path / "j.jsonl", THREE)
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(room)], capture_output=True, text=True, check=True, timeout=60
    )
    saved, message = result.stdout.split("\n", 1)
    assert message.startswith(f"{path}: cannot save (")
    assert "run the same command again" in message
    index = JournalIndex()
    assert index.read_file(path) == 0
    assert len(index) == 3 + int(saved)
    assert path.read_bytes().endswith(b"\n")


def test_a_full_device_is_a_failed_save(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").symlink_to("/dev/full")
    with pytest.raises(SaveFailed, match="No space left on device"):
        JournalWriter(tmp_path / "j.jsonl").append(record("a"))


def test_a_folder_that_is_a_file_is_a_failed_save(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveFailed, match="Not a directory"):
        JournalWriter(tmp_path / "file" / "j.jsonl")


failed = {"outcome": "failed", "output": None}


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (record("a", at=1, output="old"), record("a", at=2, output="new"), "new"),
        (record("a", at=1, output="old"), record("a", at=2, **failed), None),
        (record("a", at=2, output="old"), record("a", at=1, **failed), "old"),
        (record("a", at=1, **failed, n=1), record("a", at=2, **failed, n=2), None),
        (record("a", at=1, output="old"), removal("a", 2), "gone"),
        (record("a", at=2, output="back"), removal("a", 1), "back"),
        (record("a", at=2, **failed), removal("a", 1), None),
        # The question was changed and asked again without success: the answer to the old one is no answer to the new.
        (record("a", at=1, output="old"), record("a", at=2, key="00000000000000cc", **failed), None),
        (record("a", at=1, key="00000000000000cc", **failed), record("a", at=2, output="new"), "new"),
    ],
)
def test_between_journals_the_later_record_wins_in_whatever_order_they_are_read(
    tmp_path: Path, first: Record, second: Record, wanted: str | None
) -> None:
    one = write(tmp_path / "j.0000-of-0002.jsonl", [first])
    two = write(tmp_path / "j.0001-of-0002.jsonl", [second])
    for paths in ((one, two), (two, one)):
        assert outputs(read(*paths)) == ({} if wanted == "gone" else {"a": wanted})


def test_records_come_in_the_order_of_the_data_set_over_shards_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_BLOCK_RECORDS", 4)
    records = [record(f"item {n}", ordinal=n, output=str(n)) for n in range(31)]
    shards = [write(tmp_path / f"j.{k}.jsonl", reversed(records[k::3])) for k in range(3)]
    index = read(*shards)
    assert list(index.records()) == records
    assert index.read("item 17") == records[17]


def test_unseen_are_the_items_that_nobody_looked_for_or_recorded(tmp_path: Path) -> None:
    path = write(tmp_path / "j.jsonl", [record("looked for"), record("recorded"), record("neither")])
    index = read(path)
    index.find("looked for")
    index.find("never heard of")
    writer = JournalWriter(path)
    for item_id in ("recorded", "new"):
        index.add(record(item_id), path, writer.append(record(item_id)))
    writer.close()
    assert [one["id"] for one in index.unseen()] == ["neither"]
