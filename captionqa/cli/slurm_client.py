"""The client command of a submission: its own options, checked now and not when the job starts, the run they lead to,
and which of its shards have something left to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from captionqa.cli.main import commands
from captionqa.cli.running import TASKS
from captionqa.core.keys import shard_of
from captionqa.errors import UsageError
from captionqa.run.preflight.short import refuse_wrong_folder
from captionqa.run.store import RunPaths, read_identity, read_journals, refuse_other_identity, refuse_path
from captionqa.run.tasks import Task
from captionqa.run.walk import ToDo, still_to_do
from captionqa.slurm.options import SETTINGS

REFUSED = {
    "num_shards": "--num-shards: with submit, --shards says how many jobs share the work.",
    "shard_index": "--shard-index: submit numbers the parts itself.",
    "overwrite": "--overwrite: a job that goes back into the queue would start over each time. Give the new run a "
    "--run-name, or delete the old one's files first.",
    "serve": "--serve: starts a server inside each client job. With submit, --servers starts server jobs.",
    "as_json": "--json: the result is exported by the last job; `captionqa slurm status --json` shows the rest.",
}


@dataclass(frozen=True, slots=True)
class ClientCommand:
    """`caption` or `qa` as it is to be run by the jobs."""

    name: str
    arguments: tuple[str, ...]
    """As typed."""
    options: Mapping[str, Any]
    """As parsed."""
    task: Task

    @property
    def output_dir(self) -> Path:
        folder: Path = self.options["output_dir"]
        return folder.absolute()

    def paths(self, model: str | None) -> RunPaths:
        """Where the run is kept. Raises: UsageError when that depends on a model that is not known."""
        name = self.options["model_name"] or (model and model.rstrip("/").rpartition("/")[2])
        if not name:
            raise UsageError(
                "the model's name is not known, and with it the run's folder: the server of --server-url is not asked "
                "at submission. Give --model NAME, as that server calls it."
            )
        return self.task.paths(self.output_dir, name, self.options["run_name"])


def read_client_command(name: str, arguments: Sequence[str]) -> ClientCommand:
    """Parse what the client jobs will be given with their command's own parser.

    Raises: click.UsageError, UsageError (an option that has no place here, a style that is not there).
    """
    try:
        context = parsed_command(name, arguments)
    except click.NoSuchOption as error:
        raise _in_neither(error, name) from error
    with context as parsed:
        options = dict(parsed.params)
        for parameter, why in REFUSED.items():
            if options.get(parameter):
                raise UsageError(why)
        for parameter in ("model_name", "run_name"):
            refuse_path(parameter, options[parameter])
        return ClientCommand(name, tuple(arguments), options, TASKS[name](options))


def _in_neither(error: click.NoSuchOption, name: str) -> UsageError:
    """An option that neither submit nor the command of its jobs has; it may be meant for either."""
    jobs = [f"--{setting.name}" for setting in SETTINGS if setting.name != "array"]
    command = commands.get_command(click.Context(commands), name)
    assert command is not None, f"{name} is a command of captionqa"
    own = [option for one in command.params for option in one.opts if option.startswith("--")]
    given = error.option_name
    prefix = "--server-" if given.startswith("--server-") else "--"
    bare = "--" + given.removeprefix(prefix)
    close = [prefix + one[2:] for one in get_close_matches(bare, [*jobs, *own], n=3, cutoff=0.7)]
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return UsageError(
        f"no such option {given}, neither of submit nor of `captionqa {name}`.{meant} Of a job: {', '.join(jobs)}; of "
        f"a server job the same with --server- before it, and anything else of sbatch with --sbatch KEY=VALUE. Rest: "
        f"`captionqa slurm submit {name} --help`, `captionqa {name} --help`."
    )


def parsed_command(name: str, arguments: Sequence[str]) -> click.Context:
    """A command of captionqa with its arguments, parsed but not run. Raises: click.UsageError."""
    root = click.Context(commands, info_name="captionqa")
    command = commands.get_command(root, name)
    assert command is not None, f"{name} is a command of captionqa"
    return command.make_context(name, list(arguments), parent=root)


def count_items(client: ClientCommand, num_shards: int) -> Counter[int]:
    """Items in each shard; looks at the whole data set as the jobs will. Raises: InputError, UsageError."""
    counts: Counter[int] = Counter()

    def note(item_id: str) -> bool:
        counts[shard_of(item_id, num_shards)] += 1
        return True

    client.task.check(note)
    if not client.options["skip_preflight"]:
        refuse_wrong_folder(client.task)
    return counts


def incomplete_shards(
    client: ClientCommand, paths: RunPaths, model: str | None, num_shards: int, items: Counter[int]
) -> list[int]:
    """The shards that have an item without an answer, or one whose facts have changed.

    Raises: IdentityMismatch when the files there are another run's, JournalCorrupt.
    """
    recorded = read_identity(paths)
    if recorded is None:
        return sorted(items)
    if model is not None:
        asking = client.task.asking
        if asking.fit and asking.context_tokens is None:  # only a server knows it: the jobs compare it
            client.task.asking = replace(asking, context_tokens=recorded["images"].get("fit_to_tokens"))
        refuse_other_identity(paths, client.task.identity(model), client.options["data_moved"])
    index = read_journals(paths)
    limit = client.options["limit"]
    seen: Counter[int] = Counter()
    unfinished: set[int] = set()
    for item in client.task.items():
        shard = shard_of(item.id, num_shards)
        seen[shard] += 1
        what = still_to_do(item, index.find(item.id), client.options["retry_failed"])
        if what is not ToDo.NOTHING and (limit is None or seen[shard] <= limit):
            unfinished.add(shard)
            if len(unfinished) == len(items):
                return sorted(unfinished)
    if limit is None:  # items that are gone are taken out of the exports by their shard's next start
        unfinished |= {shard_of(record["id"], num_shards) for record in index.unseen()}
    return sorted(unfinished)
