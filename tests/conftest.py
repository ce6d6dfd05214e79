"""Whether there is a real vLLM to test against: ``make test-vllm`` says so, `make test` does not."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vllm", "tests against real vLLM")
    group.addoption("--vllm", choices=("cpu", "gpu"), help="Test against real vLLM as well, on this kind of machine.")
    group.addoption("--vllm-command", default="vllm", metavar="COMMAND", help="How vLLM is called here.")
