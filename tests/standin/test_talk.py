"""`ask` and `chat` as whole commands: pipes, signals and a real terminal."""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from captionqa.data.drawn import draw_image
from captionqa.server.standin import Faults, StandInServer
from tests.standin.conftest import PATIENCE_S, ROOT, clean_environment

if TYPE_CHECKING:
    from tests.standin.conftest import Cli

COLOR = "What color are the shapes?"
LONG = "Describe this in a long text."
SLOW = Faults(per_token_s=0.05)


@pytest.fixture(autouse=True)
def _images(cli: Cli) -> None:
    import random

    for color in ("red", "blue"):
        draw_image("circle", color, 1, 128, "light", random.Random(1)).save(cli.folder / f"{color}.png")


def test_an_answer_comes_as_it_is_written_and_a_server_that_dies_leaves_only_its_beginning(
    cli: Cli, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=SLOW)
    asking = cli.start("ask", "red.png", LONG, "--server-url", server.url)
    asking.until(lambda: "circle" in asking.out)
    server.stop(abort=True)
    ended = asking.ended()
    assert ended.code == 1
    assert "the answer is not complete" in ended.err
    assert ended.out.startswith("One red circle")
    assert "pixels" not in ended.out


def test_a_signal_ends_a_question_with_the_exit_code_of_a_stop(cli: Cli, standin: Callable[..., StandInServer]) -> None:
    asking = cli.start("ask", "red.png", LONG, "--server-url", standin(faults=SLOW).url)
    asking.until(lambda: "circle" in asking.out)
    asking.send(signal.SIGTERM)
    assert asking.ended().code == 75


def test_a_question_is_asked_without_the_libraries_of_question_sets(cli: Cli, server: StandInServer) -> None:
    code = (
        "import sys\n"
        "from captionqa.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "ask", "red.png", COLOR, "--server-url", server.url],
        cwd=cli.folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert ended.stdout == "red\n"
    assert {"pandas", "pyarrow", "numpy", "tqdm"} & set(ended.stderr.split()) == set()


class Terminal:
    """A command at a real terminal: what it shows, and what is typed."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def until(self, pattern: str, *, again: str = "") -> str:
        """Waits until what was shown since the last call ends with something that matches; returns it.

        Args:
            again: typed again every few seconds, as people do. Python looks for signals before it waits for a key: one
                that comes in between is seen with the next key.
        """
        begun, deadline = len(self.shown), time.monotonic() + PATIENCE_S
        typed = time.monotonic()
        while not re.search(pattern, self.shown[begun:]):
            assert time.monotonic() < deadline, self.shown
            if again and time.monotonic() - typed > PATIENCE_S / 30:
                self.type(again)
                typed = time.monotonic()
            if select.select([self._master], [], [], 0.1)[0]:
                self.shown += self._decoder.decode(os.read(self._master, 4096)).replace("\r", "")
        return self.shown[begun:]


@contextmanager
def terminal(folder: Path, *arguments: str) -> Iterator[Terminal]:
    master, slave = os.openpty()
    # setsid makes it the terminal's foreground program, so that a typed Ctrl-C becomes its signal.
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "captionqa", *arguments],
        cwd=folder,
        env={**clean_environment(), "TERM": "xterm", "PYTHONPATH": str(ROOT)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        os.close(master)


def test_a_chat_at_a_terminal(cli: Cli, standin: Callable[..., StandInServer]) -> None:
    server = standin(faults=SLOW)
    with terminal(cli.folder, "chat", "red.png", "--server-url", server.url) as chat:
        assert "images: red.png" in chat.until("> $")
        chat.type(f"{LONG}\n")
        chat.until("One red circle")
        chat.type("\x03")
        stopped = chat.until("\\[stopped\\]\n.*> $")
        assert "pixels" not in stopped, "the answer went on"
        server.set_faults(Faults())
        chat.type("What color iz\x7fs the shape?\n")
        assert re.search(r"^red$", chat.until("red\n.*> $"), re.MULTILINE)
        chat.type("/image blue.png\n")
        chat.until("128 × 128 px\n.*> $")
        chat.type("half a line")
        chat.until("half a line$")  # a Ctrl-C drops what is not read yet, and readline would wait for it
        chat.type("\x03")
        chat.until("Ctrl-D or /quit ends\\)\n.*> $", again="\x03")
        chat.type("\x1b[A\x1b[A")
        chat.until("What color is the shape\\?")
        chat.type(" Of picture 2?\n")
        assert re.search(r"^blue$", chat.until("blue\n.*> $"), re.MULTILINE)
        chat.type("/history\n")
        history = chat.until("blue\n.*> $")
        assert f"[red.png]\n> {LONG}\nOne red circle" in history
        assert "[stopped]\n> What color is the shape?\nred\n[blue.png]\n" in history
        chat.type("\x04")
        assert chat.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in chat.shown


def test_a_terminal_is_not_moved_by_an_answer(cli: Cli, server: StandInServer) -> None:
    """The stand-in answers with one of the choices, word for word."""
    question = "Say it.\nChoices:\n(A) \x1b]0;title\x07a"
    with terminal(cli.folder, "ask", question, "--server-url", server.url) as asked:
        asked.until("model: .*\n[^\n]+\n")
        assert asked.process.wait(PATIENCE_S) == 0
    assert "\x1b" not in asked.shown
