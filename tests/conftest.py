"""What holds for all tests: whether there is a real vLLM to test against (``make test-vllm`` says so, `make test` does
not), and that no property is timed: a busy machine breaks no law."""

from __future__ import annotations

import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # inherited when tests run in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vllm", "tests against real vLLM")
    group.addoption("--vllm", choices=("cpu", "gpu"), help="Test against real vLLM as well, on this kind of machine.")
    group.addoption("--vllm-command", default="vllm", metavar="COMMAND", help="How vLLM is called here.")
