"""Whole commands in the tests' own process, which saves a second of imports each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from captionqa.cli.main import main
from captionqa.server.stopping import SIGNALS


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """A server that ends ignores what would stop it once more, for the rest of its process: this one goes on."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_here(folder: Path, *arguments: object, environment: Mapping[str, str] | None = None) -> Ended:
    """
    Args:
        folder: where the command runs.
        environment: all of it; None leaves it as it is.
    """
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, signals_kept():
        patched.chdir(folder)
        patched.setattr(sys, "argv", ["captionqa", *map(str, arguments)])
        if environment is not None:
            for name in set(os.environ) - set(environment):
                patched.delenv(name)
            for name, value in environment.items():
                patched.setenv(name, value)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue())
