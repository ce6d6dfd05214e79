"""Run by vLLM's own Python: command lines in, what vLLM's parser makes of each out. Starts nothing.

stdin: a JSON list of lists of words, as they stand behind ``vllm serve``. stdout: a JSON list with an object for each:
``error``, null or the parser's words, and ``parsed``, the values that differ from the defaults.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from typing import Any

from vllm.utils.argparse_utils import FlexibleArgumentParser

PLACES = ("vllm.entrypoints.launchers.cli_args", "vllm.entrypoints.openai.cli_args")
"""Of vLLM 0.32 and of earlier versions."""


def find_arguments() -> Any:
    """vLLM's module of the arguments of ``vllm serve``."""
    for place in PLACES:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(place)
    raise ModuleNotFoundError(f"this vLLM has none of {', '.join(PLACES)}: say where it keeps its arguments now")


def parse(arguments: Any, parser: FlexibleArgumentParser, words: list[str]) -> dict[str, Any]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = parser.parse_args(words)
            arguments.validate_parsed_serve_args(parsed)
    except SystemExit:
        return {"error": said.getvalue().strip().rpartition("\n")[2], "parsed": {}}
    except (TypeError, ValueError) as error:
        return {"error": str(error), "parsed": {}}
    given = {name: value for name, value in vars(parsed).items() if value != parser.get_default(name)}
    return {"error": None, "parsed": given}


if __name__ == "__main__":
    module = find_arguments()
    serve = module.make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    json.dump([parse(module, serve, words) for words in json.load(sys.stdin)], sys.stdout, default=str)
