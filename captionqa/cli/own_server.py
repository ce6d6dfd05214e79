"""A server of one's own for the length of a run (``--serve MODEL``): `captionqa serve` beside this process.

It is found by its lease like every other one, and its life hangs on a pipe: when this process ends, however it ends,
the server reads the end of its standard input and goes too.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from captionqa.errors import UsageError
from captionqa.run.discovery import LeasedServers
from captionqa.server.lease import remove_lease, servers_folder

GOES_WITHIN_S = 60.0
"""Nothing is asked of it any more, so draining takes no time; unloading a model may."""


@contextlib.contextmanager
def own_server(options: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[LeasedServers | None]:
    """The server that ``--serve`` asks for, gone when the block ends; None without that option. Raises: UsageError."""
    model = options["serve"]
    if model is None:
        yield None
        return
    if options["server_url"]:
        raise UsageError("--serve starts a server, --server-url names one: give one of them.")
    name = f"local-{socket.gethostname()}-{os.getpid()}"
    command = [sys.executable, "-m", "captionqa", "serve", model, "--engine", options["engine"], "--lifeline"]
    command += ["--name", name, "--host", "127.0.0.1", "--output-dir", str(options["output_dir"])]
    for text in options["serve_option"]:
        command += shlex.split(text)
    # In a session of its own: Ctrl-C is for this process, which lets requests finish before it lets the server go.
    # Its words go to stderr: stdout has only results.
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr.fileno(), start_new_session=True)

    def coming() -> str | None:
        return f"{name} is being started on this node" if server.poll() is None else None

    try:
        yield LeasedServers(options["output_dir"], name=name, coming=coming)
    finally:
        _let_go(server, say)
        remove_lease(servers_folder(options["output_dir"]), name)  # of one that failed


def _let_go(server: subprocess.Popen[bytes], say: Callable[[str], None]) -> None:
    assert server.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        server.stdin.close()
    try:
        server.wait(GOES_WITHIN_S)
    except subprocess.TimeoutExpired:
        say(f"the server (process {server.pid}) has not ended within {GOES_WITHIN_S:.0f} s: it is killed")
        server.kill()
        server.wait()
