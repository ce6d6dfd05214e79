"""The options that `caption` and `qa` share, their environment variables and the config file.

Order of precedence: the command line, the environment (``CAPTIONQA_<NAME>``), the file given by ``--config``, defaults.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


CONFIGURED = ("caption", "qa", "preflight", "serve", "ask", "chat")
"""Commands that take a config file."""
OTHER_TABLES = ("slurm",)
"""Tables of that file that are not a command's options by the same name; `cli.slurm_options` reads them."""
_CONFIG = "captionqa.config"
"""Under this name a command's context has the config file that was read."""


def read_concurrency(_: click.Context, __: click.Parameter, value: str) -> int | None:
    """``auto`` becomes None. Raises: click.BadParameter for what is neither that nor a number from 1 on."""
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r} is neither 'auto' nor a number from 1 on")
    return int(value)


def option(name: str, *declarations: str, **settings: Any) -> Callable[[CommandT], CommandT]:
    """A click option with its environment variable, shown in the help."""
    variable = "CAPTIONQA_" + name.split("/")[0].removeprefix("--").replace("-", "_").upper()
    settings.setdefault("show_default", settings.get("default") is not None)
    return click.option(name, *declarations, cls=_Configured, envvar=variable, show_envvar=True, **settings)


class _Configured(click.Option):
    """An option that a config file may set: a mistake there is not one of the environment."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        if ctx is None or ctx.get_parameter_source(str(self.name)) is not ParameterSource.DEFAULT_MAP:
            return super().get_error_hint(ctx)
        return f"'{self.opts[0]}' (config file: {ctx.meta[_CONFIG]})"


def read_toml(path: Path) -> dict[str, Any]:
    """A config file's content. Raises: click.BadParameter for a file that is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.BadParameter(f"{path}: {error}") from error


def read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Take defaults from a TOML file: top-level names for every command, a table ``[caption]`` or ``[qa]`` for one.

    Raises: click.BadParameter for a file that is no TOML and for names that this command does not have.
    """
    if path is None:
        return None
    content = read_toml(path)
    shared = {name: value for name, value in content.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    everywhere = {command.name: _config_names(command) for command in _configured_commands(ctx)}
    if unknown := sorted(tables.keys() - everywhere.keys() - set(OTHER_TABLES)):
        listed = ", ".join(f"[{name}]" for name in (*everywhere, *OTHER_TABLES))
        raise click.BadParameter(f"{path}: unknown table [{unknown[0]}]. Known: {listed}")
    known = everywhere[ctx.command.name]
    own = tables.get(ctx.command.name or "", {})
    defaults: dict[str, Any] = {}
    for given, value in {**shared, **own}.items():
        name = given.replace("_", "-")
        if name in known:
            parameter = known[name]
            # One URL is a list of one.
            defaults[str(parameter.name)] = [value] if parameter.multiple and isinstance(value, str) else value
        elif given in own or not any(name in names for names in everywhere.values()):
            # A top-level name that another command has (skip-invalid in a file that is also used for caption) is fine.
            raise click.BadParameter(
                f"{path}: unknown name {given!r}. Known for {ctx.command.name}: {', '.join(sorted(known))}"
            )
    take_defaults(ctx, path, defaults)
    return path


def take_defaults(ctx: click.Context, path: Path, defaults: Mapping[str, Any]) -> None:
    """``defaults``: what a config file says, by the parameters' names."""
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    ctx.meta[_CONFIG] = path


def _config_names(command: click.Command) -> dict[str, click.Option]:
    """A command's options by their name on the command line, without the dashes."""
    options = (parameter for parameter in command.params if isinstance(parameter, click.Option))
    return {option.opts[0].removeprefix("--"): option for option in options if option.name != "config"}


def _configured_commands(ctx: click.Context) -> list[click.Command]:
    """The commands that a config file may speak of; asked of the group, which knows how to find them."""
    root = ctx.find_root().command
    if not isinstance(root, click.Group):
        return [ctx.command]
    found = (root.get_command(ctx, name) for name in CONFIGURED)
    return [command for command in found if command is not None]


def unknown_variables(ctx: click.Context, environment: Mapping[str, str]) -> list[str]:
    """Variables that look like options of captionqa and are none: a mistyped one must not pass unnoticed."""
    options = (parameter for command in _configured_commands(ctx) for parameter in command.params)
    known = {str(option.envvar) for option in options} | {"CAPTIONQA_API_KEY"}
    return sorted(name for name in environment if name.startswith("CAPTIONQA_") and name not in known)


def said_by(name: str) -> str | None:
    """Where an option's value comes from when it does not stand on the command line."""
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source(name) if context else None
    if source is ParameterSource.ENVIRONMENT:
        return f"CAPTIONQA_{name.upper()}"
    return "the config file" if source is ParameterSource.DEFAULT_MAP else None


FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
POSITIVE = click.FloatRange(min=0, min_open=True)

CONFIG_FILE = click.option(
    "--config",
    type=FILE,
    is_eager=True,
    expose_value=False,
    callback=read_config,
    envvar="CAPTIONQA_CONFIG",
    show_envvar=True,
    help="TOML file with these options as names.",
)
SERVER_URL = option(
    "--server-url", multiple=True, metavar="URL", help="Base URL of a server, with or without /v1. Repeatable."
)
API_KEY_FILE = option(
    "--api-key-file", type=FILE, help="File that holds the server's API key (never given on a command line)."
)
MODEL = option("--model", metavar="NAME", help="Served model to ask; default: what the server serves.")
STRICT_OPENAI = option(
    "--strict-openai",
    is_flag=True,
    help="Leave out top_k and repetition_penalty, for servers that refuse vLLM's extensions.",
)
THINKING = option(
    "--thinking/--no-thinking",
    default=None,
    help="Tell the model to reason before it answers, or not to (enable_thinking). Default: nothing is said.",
)
MAX_PIXELS = option(
    "--max-pixels",
    type=click.IntRange(min=1024),
    default=4_194_304,
    help="Larger images are downscaled before they are sent.",
)
_SHARED = (
    SERVER_URL,
    API_KEY_FILE,
    option("--output-dir", type=FOLDER, default=Path("output"), help="Where runs are kept."),
    MODEL,
    option("--model-name", metavar="NAME", help="Name of the output folder; default: the model's after the last /."),
    option("--run-name", metavar="NAME", help="A folder of its own below the model's, for a separate run."),
    option("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens. caption 256, qa 128."),
    option("--temperature", type=click.FloatRange(min=0), help="caption 0.7, qa 0."),
    option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), help="caption 0.8, qa 1."),
    option("--top-k", type=int, help="caption 20, qa -1 (off)."),
    option("--presence-penalty", type=float, help="caption 1.5, qa 0."),
    option("--repetition-penalty", type=POSITIVE, help="1 (off)."),
    option("--seed", type=int, help="Sampling seed, sent with every request. Default 0."),
    STRICT_OPENAI,
    THINKING,
    option("--system-prompt", metavar="TEXT", help="System message before every request."),
    MAX_PIXELS,
    option(
        "--fit", is_flag=True, help="Downscale an item's images where prompt and answer would not fit into the context."
    ),
    option(
        "--context-tokens",
        type=click.IntRange(min=1),
        metavar="N",
        help="The model's context, prompt and answer together. Default: what the server says.",
    ),
    option(
        "--image-transport",
        type=click.Choice(["auto", "inline", "file"]),
        default="auto",
        help="file: the server reads images by their path, which auto does where it can; else they are sent inline.",
    ),
    option(
        "--follow-symlinks", is_flag=True, help="Accept images behind links that lead out of the data set's folder."
    ),
    option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N items."),
    option(
        "--max-concurrency",
        metavar="N|auto",
        default="auto",
        callback=read_concurrency,
        help="Requests in flight. A number is for all servers together; auto finds it for each, from its queue.",
    ),
    option(
        "--num-shards", type=click.IntRange(min=1), help="Split the items. Default: SLURM_ARRAY_TASK_COUNT, else 1."
    ),
    option("--shard-index", type=click.IntRange(min=0), help="This part, from 0. Default: from SLURM_ARRAY_TASK_ID."),
    option(
        "--retry-failed/--no-retry-failed",
        default=True,
        help="Ask again what has no answer from an earlier start.",
    ),
    option("--overwrite", is_flag=True, help="Start over; the old journal is kept aside."),
    option("--data-moved", is_flag=True, help="The same data lies elsewhere now: go on with the recorded run."),
    option(
        "--skip-preflight", is_flag=True, help="Do not try a test image, the first items' files and the disk before."
    ),
    option("--server-wait", type=POSITIVE, default=600.0, metavar="SECONDS", help="How long to wait for a server."),
    option("--request-timeout", type=POSITIVE, default=300.0, metavar="SECONDS", help="Longest wait for an answer."),
    option("--drain-seconds", type=POSITIVE, default=25.0, help="After a signal, how long requests may finish."),
    option(
        "--requeue-limit",
        type=click.IntRange(min=0),
        default=0,
        help="In a SLURM job that is stopped before its time limit: go back into the queue, at most so many times. "
        "The job scripts say 50.",
    ),
    option("--serve", metavar="MODEL", help="Start a server with this model on this node, use it, stop it at the end."),
    option(
        "--engine", type=click.Choice(["vllm", "standin"]), default="vllm", help="What --serve starts (see `serve`)."
    ),
    option(
        "--serve-option",
        multiple=True,
        metavar="TEXT",
        help="Options for the server of --serve, such as '--max-model-len 8192'. Repeatable.",
    ),
    option("--report/--no-report", default=True, help="At the end, write the run as an HTML file, too."),
    option("--dry-run", is_flag=True, help="Print the plan and the first request; send nothing."),
    option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."),
    CONFIG_FILE,
)


_VARIATION = (
    option(
        "--shuffle-choices",
        type=click.IntRange(min=0),
        is_flag=False,
        flag_value=0,
        metavar="[SEED]",
        help="Show the choices in another order, drawn for each question from SEED (0) and its qid.",
    ),
    option("--circular", is_flag=True, help="Ask every question once for each rotation of its choices."),
    option(
        "--samples",
        type=click.IntRange(min=2),
        metavar="K",
        help="Ask every question K times, with the seeds --seed, --seed + 1, …; needs a --temperature above 0.",
    ),
)


def variation_options(command: CommandT) -> CommandT:
    """How often and how `qa` asks each question."""
    for add in reversed(_VARIATION):
        command = add(command)
    return command


def shared_options(command: CommandT) -> CommandT:
    for add in reversed(_SHARED):
        command = add(command)
    return command
