"""Servers that err, hang, restart and die: every item is answered in the end, or is counted as what it is."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from captionqa.server.standin import Fault, Faults, StandInServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.standin.conftest import Cli, Drawn

PASSING = [fault for fault in Fault if fault is not Fault.REJECT]
MODERATE = {f"{fault}_rate": 0.03 for fault in PASSING}


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_changes_nothing(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer], fault: Fault
) -> None:
    server = standin(seed=4, faults=Faults.parse({f"{fault}_rate": 0.15}))
    report = cli.call(*drawn.caption.arguments, "--server-url", server.url, "--request-timeout", 1.5)
    assert report["outcomes"] == {"answered": drawn.caption.size}
    assert drawn.caption.exports(cli.folder) == drawn.expect(drawn.caption)
    assert server.stats()["requests"] > server.stats()["answered"], "no fault happened"


def test_all_faults_together_change_nothing(cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]) -> None:
    server = standin(faults=Faults.parse({**MODERATE, "down_after": 40, "down_s": 1.0, "latency_s": 0.01}))
    cli.run(*drawn.qa.arguments, "--server-url", server.url, "--request-timeout", 2)
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)


def test_an_outage_of_seconds_fails_no_item(cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]) -> None:
    server = standin(faults=Faults(latency_s=0.02, down_after=20, down_s=2))
    ended = cli.run(*drawn.qa.arguments, "--server-url", server.url, "--max-concurrency", 8)
    assert "does not answer" in ended.err
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)


def test_a_server_that_is_stopped_and_started_is_waited_for(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=Faults(latency_s=0.05))
    started = cli.start(*drawn.qa.arguments, "--server-url", server.url, "--max-concurrency", 4)
    for answered in (8, 30):
        started.until(lambda answered=answered: server.stats()["answered"] >= answered)
        seen = started.err.count("does not answer")
        server.stop(abort=True)
        started.until(lambda seen=seen: started.err.count("does not answer") > seen)
        server.start()
    assert started.ended().code == 0
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)


def test_a_server_that_does_not_come_back_ends_the_run_which_goes_on_later(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=Faults(latency_s=0.05))
    command = (*drawn.qa.arguments, "--server-url", server.url, "--max-concurrency", 4)
    started = cli.start(*command, "--server-wait", 1.5)
    started.until(lambda: server.stats()["answered"] >= 10)
    server.stop(abort=True)
    ended = started.ended()
    assert ended.code == 1
    assert "no server for 2 s" in ended.err or "no server for 1 s" in ended.err
    assert "What was answered is saved" in ended.err
    saved = len(drawn.qa.files(cli.folder).read("_results.json"))
    assert server.stats()["answered"] - 4 <= saved < drawn.qa.size
    server.start()
    cli.run(*command)
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)


def test_a_server_may_come_later_than_the_client(cli: Cli, drawn: Drawn, server: StandInServer) -> None:
    server.stop()
    started = cli.start(*drawn.qa.arguments, "--server-url", server.url)
    started.until(lambda: "waiting for" in started.err)
    server.start()
    assert started.ended().code == 0
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)


def test_a_rejected_request_is_sent_once_and_asked_again_by_the_next_start(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=Faults(reject_rate=1))
    command = (*drawn.qa.arguments, "--server-url", server.url)
    ended = cli.run(*command, code=3)
    assert "the next start asks again what has no answer" in ended.out
    assert "rejected 50 requests in a row" in ended.err
    assert server.stats()["requests"] == drawn.qa.size
    files = drawn.qa.files(cli.folder)
    metrics, failed = files.read("_metrics.json"), files.read("_failed.json")
    assert metrics["failed_by_kind"] == {"rejected": drawn.qa.size}
    assert (metrics["n"], metrics["total_questions"], metrics["overall_accuracy"]) == (drawn.qa.size, 0, None)
    assert {row["outcome"] for row in failed.values()} == {"rejected"}
    assert all(row["detail"] for row in failed.values())
    server.set_faults(Faults())
    cli.run(*command, "--no-retry-failed", code=3)
    assert server.stats()["requests"] == drawn.qa.size
    cli.run(*command)
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)


class Front:
    """A server in front of a stand-in that does something of its own with every request that holds a marker."""

    def __init__(self, behind: StandInServer, marker: bytes, harm: str) -> None:
        self.marked = 0
        self._closing = threading.Event()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._forward(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if marker not in body:
                    self._forward(body)
                    return
                front.marked += 1
                self.close_connection = True
                if harm == "hang":
                    front._closing.wait()
                elif harm == "error":
                    self._reply(500, b'{"error": {"message": "boom"}}')

            def _forward(self, body: bytes | None) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=20)
                with contextlib.closing(connection):
                    connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
                    with connection.getresponse() as response:
                        self._reply(response.status, response.read())

            def _reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if self.close_connection:  # unannounced, the next request might still be written to it
                    self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64  # with the usual 5, some of a dozen connections at once are not heard for a second

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Front:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def questions(cli: Cli, drawn: Drawn) -> Iterator[Path]:
    table = pd.read_parquet(drawn.dataset.questions).head(12)
    table.loc[5, "question"] = "POISON " + table.loc[5, "question"]
    table.to_parquet(cli.folder / "q.parquet")
    return cli.folder / "q.parquet"


@pytest.mark.parametrize(("harm", "reason"), [("hang", "timeout"), ("drop", "connection"), ("error", "http_500")])
def test_one_request_that_never_succeeds_fails_alone(
    cli: Cli, drawn: Drawn, server: StandInServer, questions: Path, harm: str, reason: str
) -> None:
    arguments = ("qa", "--question-path", questions, "--dataset-path", drawn.folder, "--request-timeout", 0.5)
    with Front(server, b"POISON", harm) as front:
        cli.run(*arguments, "--server-url", front.url, code=3, env={})  # the front speaks of clients that hang up
        assert front.marked == 5, "five attempts"
    files = drawn.qa.files(cli.folder)
    metrics, failed = files.read("_metrics.json"), files.read("_failed.json")
    assert (metrics["n"], metrics["total_questions"], metrics["failed"]) == (12, 11, 1)
    assert metrics["failed_by_kind"] == {"failed": 1}
    (failure,) = failed.values()
    assert (failure["outcome"], failure["reason"], failure["attempts"]) == ("failed", reason, 5)


def test_a_server_that_hangs_on_everything_is_gone_not_the_items_fault(
    cli: Cli, drawn: Drawn, standin: Callable[..., StandInServer]
) -> None:
    server = standin(faults=Faults(hang_rate=1))
    command = (*drawn.qa.arguments, "--server-url", server.url)
    ended = cli.run(*command, "--request-timeout", 0.5, "--server-wait", 1.5, code=1)
    assert "What was answered is saved" in ended.err
    assert drawn.qa.files(cli.folder).read("_metrics.json")["n"] == 0
    server.set_faults(Faults())
    cli.run(*command)
    assert drawn.qa.exports(cli.folder) == drawn.expect(drawn.qa)
