"""Job scripts as text: a kind of job and its options in, a bash script out. Nothing is written or submitted here.

Quoting has one place, the two filters: `shell` for the lines that bash reads, `directive` for those that sbatch reads.
What a template forgets to be given is an error (StrictUndefined), never an empty string.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from captionqa.errors import UsageError
from captionqa.slurm.options import Directive, JobOptions, Kind, directive_argument

REQUEUE_LIMIT = 50
"""Restarts after which a job gives up: weeks of work, but not for ever."""


def shell_quoted(value: object) -> str:
    """One word for bash; of a list, its words."""
    if isinstance(value, str | int | Path):
        return shlex.quote(str(value))
    if isinstance(value, Iterable):
        return " ".join(shell_quoted(word) for word in value)
    raise TypeError(f"{value!r} cannot be quoted for a shell")


def directive_quoted(directive: Directive) -> str:
    """An option as #SBATCH lines write it. sbatch reads these itself, without a shell (tried on 22.05): ``#`` and a
    space end a bare value, a backslash outside of double quotes vanishes, inside they quote ``"`` and ``\\``.

    Raises: UsageError for a value with a line break, which no quotes keep together.
    """
    text = directive_argument(directive)
    if re.search(r"[\n\r\0]", text):
        raise UsageError(f"{text!r}: a line break cannot stand in an #SBATCH line. Choose another value (or folder).")
    name, equals, value = text.partition("=")
    if not equals or re.fullmatch(r"[\w@%+:,./=\[\]*&|()!-]+", value):
        return text
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'


def render(
    kind: Kind,
    options: JobOptions,
    templates: Path,
    *,
    arguments: Iterable[str] = (),
    num_shards: int | None = None,
    fallback_bin: str | None = None,
    run: str | None = None,
    output_dir: str | None = None,
    server_jobs: Iterable[str] = (),
) -> str:
    """The script of one job, from its template ``<kind>.sh.jinja`` in the folder ``templates``.

    ``arguments`` go to the captionqa command, before what stands behind the script's name on sbatch's line.
    ``num_shards``: every task of the client array answers the shard of its number. ``fallback_bin``: folder of
    captionqa where the job's PATH has none. ``run``, ``output_dir``, ``server_jobs``: what finalize exports and stops.

    Raises: UsageError.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # bash, not HTML: the filters quote
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shell"] = shell_quoted
    environment.filters["directive"] = directive_quoted
    values: dict[str, Any] = {
        "kind": str(kind),
        "options": options,
        "requeue_limit": REQUEUE_LIMIT,
        "arguments": list(arguments),
        "num_shards": num_shards,
        "fallback_bin": fallback_bin,
        "run": run,
        "output_dir": output_dir,
        "server_jobs": list(server_jobs),
    }
    name = f"{kind}.sh.jinja"
    try:
        return environment.get_template(name).render(values)
    except jinja2.TemplateError as error:
        where = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise UsageError(f"{templates / name}{where}: {error}. Correct the template.") from error
