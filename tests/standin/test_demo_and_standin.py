"""The two commands for people without a server."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING

import pytest

from captionqa.cli.main import COMMANDS

if TYPE_CHECKING:
    from tests.standin.conftest import Cli, Drawn


def test_the_demo_captions_answers_and_prints_a_table(cli: Cli) -> None:
    ended = cli.run("demo", "--folder", "demo", "--images", 8, timeout_s=60)
    lines = ended.out.splitlines()
    for words in ("drew 8 images and 24 questions", "is no model", "SIMPLE", "SHORT", "LONG", "accuracy", "brightness"):
        assert words in ended.out
    (total,) = (line.split() for line in lines if line.startswith("all "))
    assert total[1] == "24"
    assert 0.5 < float(total[3]) <= 1
    made = {path.name for path in (cli.folder / "demo/output").rglob("*.json")}
    assert {f"pixel-reader_{style}.json" for style in ("simple", "short", "long")} < made
    assert {"pixel-reader_qa_results.json", "pixel-reader_qa_metrics.json"} < made
    again = cli.run("demo", "--folder", "demo", "--images", 8)
    assert [line for line in again.out.splitlines() if "http" not in line] == [x for x in lines if "http" not in x]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stand_in_serves_until_it_is_told_to_stop(cli: Cli, drawn: Drawn, number: signal.Signals) -> None:
    server = cli.start("standin", "--port", 0, "--grace", 0.5)
    server.until(lambda: "http://" in server.out)
    url = server.out.split()[0]
    with urllib.request.urlopen(f"{url}/models", timeout=10) as reply:
        assert json.load(reply)["data"][0]["id"] == "standin/pixel-reader"
    assert cli.call(*drawn.caption.arguments, "--limit", 2, "--server-url", url)["outcomes"] == {"answered": 2}
    server.send(number)
    assert server.ended(20).code == 0


def test_a_taken_port_is_a_usage_error(cli: Cli) -> None:
    first = cli.start("standin", "--port", 0)
    first.until(lambda: "http://" in first.out)
    port = first.out.split()[0].rpartition(":")[2].removesuffix("/v1")
    assert "Choose another --port" in cli.run("standin", "--port", port, code=2).err


def test_help_lists_every_command_and_an_unknown_one_lists_them_too(cli: Cli) -> None:
    shown = cli.run("--help").out
    assert all(command in shown for command in COMMANDS)
    unknown = cli.run("fly", code=2).err
    assert all(command in unknown for command in COMMANDS)


def test_prompts_are_listed_and_shown(cli: Cli) -> None:
    listed = cli.run("prompts").out
    assert all(style in listed for style in ("SIMPLE", "SHORT", "LONG", "default"))
    assert cli.run("prompts", "long").out.startswith("Write a very long and detailed caption")
