"""`captionqa slurm submit` at work: from checked options to planned jobs, into the queue, and what the user is told."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import strftime
from typing import Any

import click

from captionqa.cli.slurm_client import (
    ClientCommand,
    count_items,
    incomplete_shards,
    read_client_command,
)
from captionqa.cli.slurm_options import final_settings, own_settings, server_settings
from captionqa.cli.slurm_servers import ServerChoice, choose_server_jobs, served_model
from captionqa.data.shipped import shipped_folder
from captionqa.errors import UsageError
from captionqa.run.store import RunPaths
from captionqa.slurm.jobs import Job, StateGroup
from captionqa.slurm.options import JobOptions, Kind, id_ranges, job_options, shorter_time
from captionqa.slurm.render import render
from captionqa.slurm.submissions import (
    Planned,
    Submission,
    Submitting,
    after_any_starts,
    make_log_folder,
    new_folder,
    submissions,
    write_record,
)
from captionqa.slurm.submit import submission_environment

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A run's jobs before they are submitted."""

    client: ClientCommand
    paths: RunPaths
    servers: ServerChoice
    num_shards: int
    items: Counter[int]
    """Items of the data set in each shard that has any."""
    shards: list[int]
    """The incomplete ones: one client job each."""

    @property
    def array(self) -> bool:
        return self.num_shards > 1


def say(text: str) -> None:
    click.echo(text, err=True)


def plan_pipeline(name: str, options: Options, arguments: Sequence[str], jobs: Sequence[Job]) -> Pipeline:
    """Check everything that can be checked before a job waits in a queue for hours to fail. ``jobs``: this user's.

    Raises: click.UsageError, UsageError, InputError, IdentityMismatch.
    """
    config = ("--config", str(options["config"])) if options["config"] else ()
    client = read_client_command(name, (*config, *arguments))
    earlier = submissions(client.output_dir)
    servers = choose_server_jobs(options, client.options, client.output_dir, jobs, earlier)
    paths = client.paths(servers.served_model)
    _refuse_running(paths, earlier, jobs)
    num_shards = options["shards"]
    items = count_items(client, num_shards)
    shards = incomplete_shards(client, paths, servers.served_model, num_shards, items)
    return Pipeline(client, paths, servers, num_shards, items, shards)


def _refuse_running(paths: RunPaths, earlier: Sequence[Submission], jobs: Sequence[Job]) -> None:
    """Two clients on the same items would ask everything twice. Raises: UsageError."""
    run = str(paths.identity)
    for submission in earlier:
        live = [job for job in jobs if job.array_id in submission.clients and job.group is not StateGroup.ENDED]
        if submission.run == run and live:
            ids, folder = " ".join(submission.ids()), shlex.quote(str(submission.folder))
            raise UsageError(
                f"{run}: jobs submitted before still work on this run ({len(live)} of job {submission.clients[0]}, the "
                f"first is {live[0].state}). Watch them: captionqa slurm status {folder}\nTo submit it "
                f"anew, take them out first: scancel {ids}"
            )


def planned_jobs(pipeline: Pipeline, options: Options, folder: Path) -> list[Planned]:
    """Servers, clients and the last job, as far as known before the first has its id. Raises: UsageError."""
    log_dir = Path(options["log_dir"] or folder).absolute()
    client, servers = pipeline.client, pipeline.servers
    planned = []
    if servers.count:
        given = server_settings(options)
        planned.append(plan_server(given, servers.arguments, client.output_dir, log_dir, servers.count))
    kind = Kind(client.name)
    chosen = _placed(kind, own_settings(options), client.output_dir, log_dir, pipeline.shards if pipeline.array else ())
    model = ("--model", servers.served_model) if servers.served_model else ()
    text = _rendered(
        chosen, kind, arguments=(*client.arguments, *model), num_shards=pipeline.num_shards if pipeline.array else None
    )
    planned.append(_planned(kind, text, chosen, pipeline.shards if pipeline.array else ()))
    return planned


def plan_server(
    given: Mapping[str, Any], arguments: Sequence[str], output_dir: Path, log_dir: Path, count: int | None
) -> Planned:
    """A server job, or an array of ``count``; None: what ``given`` says. Raises: UsageError."""
    tasks = range(count) if count is not None and count > 1 else ()
    options = _placed(Kind.SERVER, given, output_dir, log_dir, tasks)
    text = _rendered(options, Kind.SERVER, arguments=arguments)
    return _planned(Kind.SERVER, text, options, tasks)


def plan_final(pipeline: Pipeline, options: Options, folder: Path, server_job: str | None) -> Planned:
    """The last job. Raises: UsageError."""
    log_dir = Path(options["log_dir"] or folder).absolute()
    given = final_settings(options)
    if options["time"]:
        given["time"] = shorter_time(options["time"], "01:00:00")
    chosen = _placed(Kind.FINALIZE, given, pipeline.client.output_dir, log_dir, ())
    text = _rendered(
        chosen,
        Kind.FINALIZE,
        arguments=() if pipeline.client.options["report"] else ("--no-report",),
        run=str(pipeline.paths.identity),
        output_dir=str(pipeline.client.output_dir),
        server_jobs=[server_job] if server_job else [],
    )
    return _planned(Kind.FINALIZE, text, chosen, ())


def _placed(kind: Kind, given: Mapping[str, Any], output_dir: Path, log_dir: Path, tasks: Sequence[int]) -> JobOptions:
    """Options with what marks a submitted job: whose it is, which tasks it has, where its log goes."""
    ids = {"array": id_ranges(tasks)} if tasks else {}
    array = bool(tasks or given.get("array"))
    if "\\" in str(log_dir):
        raise UsageError(f"{log_dir}: SLURM cannot write logs to a folder with a backslash. Give another --log-dir.")
    pattern = f"{str(log_dir).replace('%', '%%')}/%x-{'%A_%a' if array else '%j'}.out"
    comment = f"{kind.job_name} output={output_dir}"
    without_throttle = given if array else {name: value for name, value in given.items() if name != "throttle"}
    return job_options(kind, without_throttle, **ids, output=pattern, comment=comment)


def _rendered(options: JobOptions, kind: Kind, **values: Any) -> str:
    here = Path(sys.executable).parent
    fallback = str(here) if not options.setup and (here / "captionqa").exists() else None
    return render(kind, options, shipped_folder("slurm"), fallback_bin=fallback, **values)


def _planned(kind: Kind, text: str, options: JobOptions, tasks: Sequence[int]) -> Planned:
    return Planned(kind, text, tuple(options.arguments()), tuple(tasks), options.output)


def submit_pipeline(pipeline: Pipeline, options: Options) -> Submission:
    """Raises: SlurmError, SaveFailed; then none of its jobs is in the queue, unless the message says so."""
    client = pipeline.client
    folder = new_folder(client.output_dir, client.name)
    make_log_folder(Path(options["log_dir"] or folder))
    with Submitting(folder, _environment()) as submitting:
        server_job = None
        # A client that waits for a server whose job is in the queue would use up its own time.
        dependency = "?".join(f"after:{job}" for job in pipeline.servers.waits_for) or None
        for planned in planned_jobs(pipeline, options, folder):
            job = submitting.add(planned, dependency=dependency)
            if planned.kind is Kind.SERVER:
                server_job, dependency = job, after_any_starts(job, planned.tasks)
        submitting.add(plan_final(pipeline, options, folder, server_job), dependency=f"afterany:{job}")
        submission = Submission(
            folder=folder,
            task=client.name,
            jobs=submitting.jobs,
            submitted_at=strftime("%Y-%m-%dT%H:%M:%S%z"),
            output_dir=str(client.output_dir),
            model=pipeline.servers.served_model,
            run=str(pipeline.paths.identity),
            num_shards=pipeline.num_shards,
            shard_items={str(shard): count for shard, count in sorted(pipeline.items.items())},
        )
        write_record(submission)
    return submission


def submit_servers(options: Options, arguments: Sequence[str]) -> Submission:
    """Server jobs alone. Raises: SlurmError, SaveFailed, UsageError."""
    output_dir = options["output_dir"].absolute()
    folder = new_folder(output_dir, "server")
    log_dir = Path(options["log_dir"] or folder).absolute()
    make_log_folder(log_dir)
    with Submitting(folder, _environment()) as submitting:
        submitting.add(plan_server(own_settings(options), arguments, output_dir, log_dir, None))
        when = strftime("%Y-%m-%dT%H:%M:%S%z")
        submission = Submission(folder, "server", submitting.jobs, when, str(output_dir), served_model(arguments))
        write_record(submission)
    return submission


def _environment() -> dict[str, str]:
    environment, secrets = submission_environment(os.environ)
    if secrets:
        say(
            f"left out of the jobs' environment, which SLURM stores readable for others: {', '.join(secrets)}. If a "
            "job needs one: --api-key-file for a server's key, `hf auth login` (a file in HF_HOME) for a token."
        )
    return environment


def say_plan(pipeline: Pipeline) -> None:
    total, left = pipeline.items.total(), len(pipeline.shards)
    if not left:
        say(
            f"all {total} items have an answer: nothing to submit. `captionqa export {pipeline.paths.identity}` writes "
            "the results again."
        )
        return
    say(f"servers: {pipeline.servers.why}")
    if left < len(pipeline.items):
        say(f"{total} items; {left} of {len(pipeline.items)} shards are incomplete: {id_ranges(pipeline.shards)}")
    else:
        say(f"{total} items in {left} shard{'s' if left > 1 else ''}")


def dry_run(pipeline: Pipeline, options: Options) -> list[Planned]:
    """All jobs as they would be submitted, with words in the place of ids and of the folder."""
    folder = pipeline.client.output_dir / "slurm" / "SUBMISSION"
    server = "SERVER_JOB" if pipeline.servers.count else None
    return [*planned_jobs(pipeline, options, folder), plan_final(pipeline, options, folder, server)]


def show_scripts(planned: Sequence[Planned]) -> None:
    """What --dry-run prints."""
    for one in planned:
        click.echo(f"# ── sbatch {shlex.join(one.arguments)} {one.kind}.sh")
        click.echo(one.text)


def print_submission(submission: Submission, pipeline: Pipeline | None) -> None:
    click.echo(f"submitted: {submission.folder}")
    for job in submission.jobs:
        tasks = f"{len(job.tasks)} jobs" if len(job.tasks) > 1 else "1 job"
        click.echo(f"  {job.kind:<9} {job.id:<10} {tasks:<9} {_about(job.kind, submission, pipeline)}".rstrip())
    logs = " ".join(
        sorted({shlex.quote(str(Path(job.log).parent).replace("%%", "%")) + "/*.out" for job in submission.jobs})
    )
    click.echo(f"watch:  captionqa slurm status {shlex.quote(str(submission.folder))}")
    click.echo(f"logs:   tail -F {logs}")
    click.echo(f"stop:   scancel {' '.join(submission.ids())}")
    if pipeline is not None:
        click.echo(f"result: {pipeline.paths.folder}/{pipeline.paths.stem}*.json")
        click.echo("If a job fails, its log says why. The same submit command then submits what is incomplete.")
    else:
        click.echo(f"Clients with --output-dir {submission.output_dir} find it and wait for it.")


def _about(kind: str, submission: Submission, pipeline: Pipeline | None) -> str:
    if kind == Kind.SERVER or pipeline is None:
        return submission.model or ""
    if kind == Kind.FINALIZE:
        return "after the clients: exports" + (", stops the servers" if pipeline.servers.count else "")
    items = sum(pipeline.items[shard] for shard in pipeline.shards)
    waits = ", when a server has started" if pipeline.servers.count else ""
    return f"{items} items{waits}"
