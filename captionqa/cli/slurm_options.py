"""The options of `captionqa slurm`: what a job asks of SLURM, from the command line and from [slurm] in a config file.

The client jobs' options have plain names, the server jobs' the prefix ``server-``; so they are called in the file too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from captionqa.cli.options import read_toml, take_defaults
from captionqa.slurm.options import SETTINGS, Kind, Setting

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

SERVER_PREFIX = "server-"
ENGINE_OPTIONS = (
    click.option("--engine", type=click.Choice(["vllm", "standin"]), default="vllm", show_default=True,
                 help="What the servers run."),
    click.option("--served-model-name", metavar="NAME", help="The servers' name for the model; default: the model."),
    click.option("--container", metavar="IMAGE", help="Container image that the servers run vLLM in."),
    click.option("--container-runtime", type=click.Choice(["apptainer", "singularity", "pyxis"]),
                 help="What starts the container."),
    click.option("--serve-option", multiple=True, metavar="TEXT",
                 help="Other options of `captionqa serve`: '--max-model-len 8192'. Repeatable."),
)  # fmt: skip
PIPELINE_OPTIONS = (
    click.option("--servers", type=click.IntRange(min=0), metavar="M",
                 help="Server jobs to submit. Default: 1, or 0 when a server is there already."),
    click.option("--shards", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                 help="Client jobs; each answers its part of the items."),
    click.option("--model", metavar="NAME", help="Model to serve and to ask; default Qwen/Qwen3-VL-4B-Instruct."),
    click.option("--wait", is_flag=True, help="Follow the jobs to their end; the exit code is the run's."),
)  # fmt: skip
OUTPUT_DIR = click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("output"),
    show_default=True,
    envvar="CAPTIONQA_OUTPUT_DIR",
    help="Where runs are kept; submissions are in its folder slurm/.",
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print the scripts and how they would be submitted.")
_OTHER_NAMES = ("servers", "shards", "engine", "served-model-name", "container", "container-runtime", "serve-option")
"""Names of [slurm] that are no settings of one job."""


def config_option(command: CommandT) -> CommandT:
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        callback=_read_config,
        envvar="CAPTIONQA_CONFIG",
        show_envvar=True,
        help="TOML file; its table [slurm] holds these options as names.",
    )(command)


def job_settings(kind: Kind | None = None, *, leave_out: tuple[str, ...] = ()) -> Callable[[CommandT], CommandT]:
    """The options of one job of a kind; None: those of client and of server jobs side by side."""

    def add(command: CommandT) -> CommandT:
        plain = [_option(setting, "--" + setting.name) for setting in SETTINGS if setting.name not in leave_out]
        of_servers = [
            _option(setting, f"--{SERVER_PREFIX}{setting.name}", of="Server jobs: ")
            for setting in SETTINGS
            if setting.name not in (*leave_out, "log-dir")
        ]
        if kind is Kind.SERVER:  # the prefix is allowed where there is nothing else it could mean
            plain = [
                _option(setting, "--" + setting.name, f"--{SERVER_PREFIX}{setting.name}")
                for setting in SETTINGS
                if setting.name not in leave_out
            ]
        for option in reversed([*plain, *(of_servers if kind is None else [])]):
            command = option(command)
        return command

    return add


def _option(setting: Setting, *names: str, of: str = "") -> Callable[[CommandT], CommandT]:
    text = of + setting.help
    if setting.metavar is None:
        return click.option(*names, is_flag=True, help=text)
    return click.option(*names, multiple=setting.many, metavar=setting.metavar, help=text)


def own_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """What was said about a job, by setting, from a command's parameters."""
    return _settings(options, "")


def server_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """What was said about the server jobs of a pipeline. What a user has one of (account, set-up lines, caches) is
    taken over from the client jobs."""
    shared = {setting.name for setting in SETTINGS if setting.shared}
    taken_over = {name: value for name, value in _settings(options, "").items() if name in shared}
    return {**taken_over, **_settings(options, SERVER_PREFIX)}


def final_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """What was said about the client jobs and holds for the job after them, which runs where they ran."""
    taken = {setting.name for setting in SETTINGS if setting.shared} | {"partition", "qos", "constraint"}
    return {name: value for name, value in _settings(options, "").items() if name in taken}


def _settings(options: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting in SETTINGS:
        value = options.get((prefix + setting.name).replace("-", "_"))
        if value not in (None, (), False):
            found[setting.name] = value
    return found


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Take defaults from [slurm]. Raises: click.BadParameter for a file that is no TOML and for an unknown name."""
    if path is None:
        return None
    content = read_toml(path)
    table = content.get("slurm", {})
    names = [setting.name for setting in SETTINGS]
    known = [*names, *(SERVER_PREFIX + name for name in names if name != "log-dir"), *_OTHER_NAMES]
    given = {name.replace("_", "-"): value for name, value in table.items()} if isinstance(table, dict) else {}
    if not isinstance(table, dict) or (unknown := sorted(given.keys() - set(known))):
        what = f"unknown name {unknown[0]!r} in [slurm]" if isinstance(table, dict) else "slurm is no table"
        raise click.BadParameter(f"{path}: {what}. Known: {', '.join(known)}")
    if isinstance(output_dir := content.get("output-dir", content.get("output_dir")), str):
        given["output-dir"] = output_dir
    parameters = {str(one.name): one for one in ctx.command.params if isinstance(one, click.Option)}
    if f"--{SERVER_PREFIX}partition" in parameters.get("partition", click.Option(["--x"])).opts:
        given = _of_the_server(given)
    defaults = {
        name.replace("-", "_"): _as_option(parameters[name.replace("-", "_")], value)
        for name, value in given.items()
        if name.replace("-", "_") in parameters
    }
    take_defaults(ctx, path, defaults)
    return path


def _of_the_server(given: dict[str, Any]) -> dict[str, Any]:
    """The names that a command for server jobs alone goes by: without the prefix."""
    settings = {setting.name: setting for setting in SETTINGS}
    plain = {name: value for name, value in given.items() if name not in settings or settings[name].shared}
    prefixed = {
        name.removeprefix(SERVER_PREFIX): value for name, value in given.items() if name.startswith(SERVER_PREFIX)
    }
    return {**plain, **prefixed}


def _as_option(parameter: click.Option, value: Any) -> Any:
    """A value of the file as the command line would give it: one text is a list of one, a table is KEY=VALUE."""
    if not parameter.multiple:
        return value
    if isinstance(value, Mapping):
        return [key if one is True else f"{key}={one}" for key, one in value.items()]
    return [value] if isinstance(value, str) else value
