"""Images that cannot be sent: each ends as its own typed outcome, and the others are answered."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from PIL import Image

if TYPE_CHECKING:
    from captionqa.server.standin import StandInServer
    from tests.standin.conftest import Cli, Drawn

GOOD = ("good.png", "wrong-extension.jpg", "wide-but-fine.png", "inner-link.png", "animated.gif", "cmyk.jpg")
BAD = {
    "empty.png": ("bad_image", "empty"),
    "cut.jpg": ("bad_image", "truncated"),
    "cut.png": ("bad_image", "truncated"),
    "text.jpg": ("bad_image", "not_an_image"),
    "bomb.png": ("bad_image", "decompression_bomb"),
    "dot.png": ("bad_image", "too_small"),
    "line.png": ("bad_image", "aspect_ratio"),
    "folder-link.png": ("bad_image", "outside_dataset"),
    "pipe-like/../text.jpg": ("bad_image", "not_an_image"),
}
ONLY_NAMED = {
    "nowhere.png": ("missing_image", "missing"),
    "../secret.png": ("bad_image", "outside_dataset"),
    "/etc/passwd": ("bad_image", "outside_dataset"),
    "outer-link.png": ("bad_image", "outside_dataset"),
    "a-folder": ("bad_image", "unreadable"),
    "": ("bad_image", "bad_value"),
}


def encoded(size: tuple[int, int], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, with no such pixels behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


@pytest.fixture
def corpus(cli: Cli) -> Path:
    folder = cli.folder / "corpus"
    (folder / "a-folder").mkdir(parents=True)
    jpeg, png = encoded((64, 64), "JPEG"), encoded((64, 64), "PNG")
    contents = {
        **{"good.png": png, "wrong-extension.jpg": png, "wide-but-fine.png": encoded((400, 3), "PNG")},
        **{"empty.png": b"", "cut.jpg": jpeg[: len(jpeg) // 2], "cut.png": png[: len(png) // 2]},
        **{"text.jpg": b"<html>404 not found</html>", "bomb.png": png_header(60_000, 60_000)},
        **{"dot.png": encoded((1, 1), "PNG"), "line.png": encoded((2000, 2), "PNG")},
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (40, 40)).save(folder / "cmyk.jpg")
    (cli.folder / "secret.png").write_bytes(png)
    (folder / "outer-link.png").symlink_to(cli.folder / "secret.png")
    (folder / "inner-link.png").symlink_to("good.png")
    return folder


def test_a_folder_of_bad_images_is_captioned_as_far_as_it_can_be(
    cli: Cli, drawn: Drawn, server: StandInServer, corpus: Path
) -> None:
    (corpus / "dangling.png").symlink_to("not-there.png")
    (corpus / "loop.png").symlink_to("loop.png")
    bad = {name: outcome for name, outcome in BAD.items() if "/" not in name and name != "folder-link.png"}
    bad["outer-link.png"] = ("bad_image", "outside_dataset")
    bad["dangling.png"] = ("missing_image", "missing")
    command = ("caption", "--dataset-path", corpus, "--server-url", server.url)
    ended = cli.run(*command, code=3)
    files = drawn.caption.files(cli.folder)
    failed, summary = files.read("_failed.json"), files.read("_summary.json")
    assert failed.pop("loop.png")["outcome"] in ("bad_image", "missing_image")
    assert {name: (row["outcome"], row["reason"]) for name, row in failed.items()} == bad
    assert all(name in row["detail"] for name, row in failed.items())
    assert sorted(files.read(".json")) == sorted(GOOD)
    assert summary["n"] == summary["captioned"] + summary["failed"] == len(GOOD) + len(bad) + 1
    assert sum(summary["failed_by_kind"].values()) == summary["failed"]
    assert "no answer: " in ended.out
    assert server.stats()["requests"] == len(GOOD)
    for name in bad:
        (corpus / name).unlink()
    (corpus / "loop.png").unlink()
    cli.run(*command)
    assert files.read("_failed.json") == {}
    assert server.stats()["requests"] == len(GOOD), "what was captioned is not asked again"


def test_a_repaired_image_is_captioned_by_the_next_start(
    cli: Cli, drawn: Drawn, server: StandInServer, corpus: Path
) -> None:
    command = ("caption", "--dataset-path", corpus, "--server-url", server.url)
    cli.call(*command, code=3)
    for name in BAD:
        if (corpus / name).is_file():
            Image.new("RGB", (50, 50), "green").save(corpus / name)
    ended = cli.run(*command, "--follow-symlinks")
    assert "images captioned" in ended.out
    assert set(drawn.caption.files(cli.folder).read(".json")) >= {*GOOD, "empty.png", "outer-link.png"}


def test_questions_on_bad_images_are_counted_beside_the_accuracy(
    cli: Cli, drawn: Drawn, server: StandInServer, corpus: Path
) -> None:
    (corpus / "pipe-like").mkdir()
    (corpus / "folder-link.png").symlink_to("/etc")
    bad = {**BAD, **ONLY_NAMED}
    rows = [
        {"qid": f"{name or 'nameless'}!", "question": "Bright?", "answer": "A", "choices": ["yes", "no"], "image": name}
        for name in (*GOOD, *bad)
    ]
    both = {**rows[0], "qid": "both", "image": None}
    frame = pd.DataFrame([*rows, both])
    frame["image"] = [
        ["good.png", "empty.png"] if qid == "both" else [image] for qid, image in frame[["qid", "image"]].values
    ]
    frame.to_parquet(cli.folder / "q.parquet")
    command = ("qa", "--question-path", "q.parquet", "--dataset-path", corpus, "--server-url", server.url)
    cli.run(*command, code=3)
    files = drawn.qa.files(cli.folder)
    failed, metrics = files.read("_failed.json"), files.read("_metrics.json")
    expected = {f"{name or 'nameless'}!": outcome for name, outcome in bad.items()}
    expected["both"] = ("bad_image", "empty")
    assert {qid: (row["outcome"], row["reason"]) for qid, row in failed.items()} == expected
    assert set(files.read("_results.json")) == {f"{name}!" for name in GOOD}
    assert metrics["n"] == metrics["total_questions"] + metrics["failed"] == len(frame)
    assert metrics["total_questions"] == len(GOOD)
    assert metrics["failed_by_kind"] == {"bad_image": len(expected) - 1, "missing_image": 1}
    assert server.stats()["requests"] == len(GOOD)
    assert not any(row["attempts"] for row in failed.values())
