"""Exports: the whole new file, or the old one as it was."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from captionqa.errors import SaveFailed
from captionqa.run.exports import json_object, replacing, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_reader_sees_the_old_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with replacing(path) as file:
        file.write("new" * 100_000)
        assert path.read_text() == "old"
    assert path.read_text() == "new" * 100_000
    assert names(tmp_path) == ["metrics.json"]


def test_who_has_the_old_file_open_keeps_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old and long")
    with open(path, encoding="utf-8") as reader:
        assert reader.read(3) == "old"
        write_json(path, {})
        assert reader.read() == " and long"
    assert path.read_text() == "{}\n"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), SystemExit(1)])
def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")

    def fail() -> None:
        with json_object(path) as entries:
            entries.add("a", 1)
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (path.read_text(), names(tmp_path)) == ("old", ["results.json"])


def test_a_block_that_fails_makes_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "metrics.json", {"not": object()})
    assert names(tmp_path) == []


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with json_object(path) as first, json_object(path) as second:
        for number in range(100):
            first.add(f"first {number}", number)
            second.add(f"second {number}", number)
    assert len(json.loads(path.read_bytes())) == 100
    assert names(tmp_path) == ["results.json"]


def test_a_folder_that_cannot_be_written_is_a_failed_save(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(SaveFailed, match=r"metrics.json: cannot be written \(.*captionqa export"):
            write_json(folder / "metrics.json", {})


def test_a_file_that_a_user_has_named_is_no_export_of_a_run(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    words = f"{missing / 'x.html'}: cannot be written (No such file or directory). There is no folder {missing}: "
    with pytest.raises(SaveFailed, match=re.escape(words)), replacing(missing / "x.html"):
        pass
    taken = tmp_path / "taken"
    taken.mkdir()
    words = "taken: cannot be written .*check permissions, or name another file"
    with pytest.raises(SaveFailed, match=words) as refused, replacing(taken) as file:
        file.write("x")
    assert "journal" not in str(refused.value)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from captionqa.errors import SaveFailed
from captionqa.run.exports import json_object
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with json_object(Path(sys.argv[1])) as entries:
        for number in range(2000):
            entries.add(f"image {number}.jpg", "a caption " * 10)
except SaveFailed as error:
    print(error)
"""


@pytest.mark.parametrize("room", [0, 10, 100_000])
def test_a_full_disk_leaves_the_last_good_export_and_no_other_file(tmp_path: Path, room: int) -> None:
    path = tmp_path / "captions.json"
    path.write_text("old")
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(room)], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.startswith(f"{path}: cannot be written (File too large)")
    assert (path.read_text(), names(tmp_path)) == ("old", ["captions.json"])


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"image.jpg": "a caption"},
        {"sub/图像.png": '«quoted» "and"\nbroken', "b": None, "a": {"nested": [1, 2.5, True]}},
        {"caf\udce9.jpg": "a name that is no UTF-8", "plain.jpg": "half a \ud83d pair"},
        {f"{number}.jpg": "x" * 100 for number in range(3000)},
    ],
)
def test_an_object_written_entry_by_entry_is_the_object_in_its_order(tmp_path: Path, value: dict[str, Any]) -> None:
    path = tmp_path / "captions.json"
    with json_object(path) as entries:
        for name, entry in value.items():
            entries.add(name, entry)
    assert list(json.loads(path.read_text("utf-8")).items()) == list(value.items())
    assert path.read_bytes().endswith(b"}\n")
    write_json(path, value)
    assert json.loads(path.read_text("utf-8")) == value


def test_text_stays_readable_beside_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    with json_object(path) as entries:
        entries.add("图.jpg", "ein schönes Bild")
        entries.add("caf\udce9.jpg", "naïve")
    assert path.read_text("utf-8") == '{\n  "图.jpg": "ein schönes Bild",\n  "caf\\udce9.jpg": "naïve"\n}\n'
