"""`captionqa servers`: the published servers; stop, prune, logs, start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from captionqa.cli.options import option
from captionqa.cli.slurm_options import config_option
from captionqa.errors import ExitCode, ServerError, UsageError

if TYPE_CHECKING:
    from captionqa.run.discovery import AskQueue
    from captionqa.run.server_list import ListedServer, ServerList
    from captionqa.slurm.jobs import Job

HELP = """The servers that are published below the output folder: those that `captionqa serve` (slurm/server.sh) brought
up, what they do, and whether they still live.

\b
Examples:
  captionqa servers
  captionqa servers --json
  captionqa servers stop Qwen3-VL-4B-Instruct-101
  captionqa servers stop --all
  captionqa servers logs Qwen3-VL-4B-Instruct-101 -f
  captionqa servers prune
  captionqa servers start --partition gpu --gres gpu:1 Qwen/Qwen3-VL-8B-Instruct
"""
STOPPED_WITHIN_S = 120.0
"""Longer than a server's drain: 60 s, and the engine's end."""

FOLDER = option(
    "--output-dir", type=click.Path(path_type=Path), default=Path("output"), help="Where runs and servers are kept."
)


@click.group(help=HELP, invoke_without_command=True)
@FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@config_option
def servers(output_dir: Path, as_json: bool, **_: Any) -> int:
    ctx = click.get_current_context()
    ctx.obj = output_dir
    if ctx.invoked_subcommand is not None:
        return ExitCode.COMPLETE
    listed = _look(output_dir)
    rows = [*(one.to_dict() for one in listed.servers), *map(_unpublished_row, listed.unpublished)]
    if as_json:
        click.echo(json.dumps({"servers": rows, "ignored": dict(listed.ignored)}, indent=2, ensure_ascii=False))
        return ExitCode.COMPLETE
    from captionqa.report.tables import servers_table

    if rows:
        click.echo(servers_table(rows))
    else:
        click.echo(f"no server is published below {output_dir.absolute()}/servers. Start one: sbatch slurm/server.sh")
    for name, why in listed.ignored.items():
        click.echo(f"{name}.json is ignored: {why}", err=True)
    if any(one.dead for one in listed.servers):
        click.echo("`captionqa servers prune` removes the dead ones; `captionqa servers logs NAME` shows why they died")
    return ExitCode.COMPLETE


def _unpublished_row(job: Job) -> dict[str, Any]:
    """A server whose job waits in the queue, or has just begun: it has no lease yet."""
    from captionqa.run.discovery import is_queued, queued

    nothing = dict.fromkeys(
        ("model", "url", "engine", "version", "running", "waiting", "started_at", "heartbeat_at", "age_s", "log_file")
    )
    state = "queued" if is_queued(job) else "starting"
    return {"name": f"job {job.id}", "state": state, "detail": queued(job), "node": job.node or None, "job": job.id,
            "restarts": job.restarts or 0, **nothing}  # fmt: skip


def _subcommand_folder(ctx: click.Context, _: click.Parameter, value: Path | None) -> Path:
    """Given behind the subcommand, or before it."""
    given: Path = value or ctx.obj
    return given


OWN_FOLDER = click.option(
    "--output-dir", type=click.Path(path_type=Path), callback=_subcommand_folder, help="Where servers are kept."
)


@servers.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="Every published server.")
@click.option("--job", "job_ids", multiple=True, metavar="ID", help="The servers of a SLURM job or array. Repeatable.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until they are gone.")
@OWN_FOLDER
def stop(names: Sequence[str], every: bool, job_ids: Sequence[str], wait: bool, output_dir: Path) -> int:
    """Drain servers and end them: clients stop sending, what is in flight finishes. A job that still waits in the queue
    is taken out of it."""
    if not (names or every or job_ids):
        raise UsageError("name a server (see `captionqa servers`), or say --all, or --job ID.")
    looked = _look(output_dir)
    listed = {one.lease.name: one for one in looked.servers}
    if every:
        job_ids = [*job_ids, *(job.id for job in looked.unpublished)]
    if unknown := sorted(set(names) - listed.keys()):
        raise UsageError(f"no server {unknown[0]!r}. Published: {', '.join(listed) or 'none'}.")
    problems = [] if not job_ids else _stop_jobs(job_ids)
    chosen = [
        one
        for name, one in listed.items()
        if not one.dead and (every or name in names or one.lease.job in job_ids or one.lease.job_array in job_ids)
    ]
    told = []
    for one in chosen:
        trouble = [] if {one.lease.job, one.lease.job_array} & set(job_ids) else _tell(one)
        problems += trouble
        told += [] if trouble else [one.lease.name]
    for problem in problems:
        click.echo(problem, err=True)
    if not chosen and not job_ids:
        click.echo("none of them lives. `captionqa servers prune` removes what they left.")
    gone = not wait or _wait_until_gone(told, output_dir)
    return ExitCode.ERROR if problems or not gone else ExitCode.COMPLETE


@servers.command()
@OWN_FOLDER
def prune(output_dir: Path) -> int:
    """Remove the leases and keys of servers that are dead. Their logs stay."""
    from captionqa.server.lease import remove_lease, servers_folder

    for one in _look(output_dir).servers:
        if one.dead:
            remove_lease(servers_folder(output_dir), one.lease.name)
            click.echo(f"removed {one.lease.name}: {one.judgement.why}")
    return ExitCode.COMPLETE


@servers.command()
@click.argument("name")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(1), help="Last lines to show.")
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows; Ctrl-C ends.")
@OWN_FOLDER
def logs(name: str, lines: int, follow: bool, output_dir: Path) -> int:
    """Show what a server printed. Also of one that is gone."""
    from captionqa.server.lease import log_path, servers_folder

    path = log_path(servers_folder(output_dir), name)
    if not path.is_file() or Path(name).name != name:
        known = ", ".join(sorted(one.stem for one in servers_folder(output_dir).glob("*.log"))) or "none"
        raise UsageError(f"{path}: no such log. There are: {known}.")
    return subprocess.run(["tail", f"-n{lines}", *(["-F"] if follow else []), "--", path], check=False).returncode


@servers.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def start(ctx: click.Context, arguments: Sequence[str]) -> Any:
    """Submit a server job: the same as `captionqa slurm submit server`, with its options."""
    from captionqa.cli.slurm import slurm

    group = ctx.parent
    assert group is not None, "start is a command of servers"
    # What was not said before «start» is for the other command to find, in its own --config for example.
    said = group.get_parameter_source("output_dir") not in (ParameterSource.DEFAULT, ParameterSource.ENVIRONMENT)
    folder = ["--output-dir", str(ctx.obj)] if said else []
    return slurm.main(
        ["submit", "server", *folder, *arguments],
        prog_name=f"{ctx.find_root().command_path} slurm",
        standalone_mode=False,
        help_option_names=["-h", "--help"],
    )


def _look(output_dir: Path) -> ServerList:
    from captionqa.run.server_list import list_servers

    return list_servers(output_dir, _ask_queue())


def _ask_queue() -> AskQueue:
    from captionqa.cli.queue import queue_asker

    return queue_asker(lambda text: click.echo(text, err=True))


def _stop_jobs(job_ids: Iterable[str]) -> list[str]:
    """Drain the running jobs among these and take the others out of the queue. Returns what went wrong."""
    from captionqa.errors import SlurmError
    from captionqa.run.discovery import is_queued
    from captionqa.slurm.jobs import StateGroup
    from captionqa.slurm.stop import cancel_pending, drain_job

    jobs = _ask_queue()()
    if jobs is None:
        return [
            f"SLURM cannot be asked from here, so the servers of job {', '.join(job_ids)} are not stopped. Try it on a "
            "login node, or again when the controller answers."
        ]
    problems = []
    for job_id in sorted(set(job_ids) - {name for job in jobs.values() for name in (job.id, job.array_id)}):
        click.echo(f"job {job_id}: not in the queue, nothing to stop")
    for job in jobs.values():
        if not {job.id, job.array_id} & set(job_ids) or job.group is StateGroup.ENDED:
            continue
        try:
            if is_queued(job):
                cancel_pending(job.id)
                click.echo(f"job {job.id}: taken out of the queue")
            else:
                drain_job(job.id)
                click.echo(f"job {job.id} on {job.node}: told to drain")
        except SlurmError as error:
            problems.append(str(error))
    return problems


def _tell(one: ListedServer) -> list[str]:
    """Ask one server to drain, by the way that reaches it. Returns what went wrong."""
    from captionqa.process import Process

    lease = one.lease
    if lease.job is not None:
        return _stop_jobs([lease.job])
    if not lease.process.is_neighbour_of(Process.this()):
        return [
            f"{lease.name} runs on {lease.process.host}, outside of SLURM, and cannot be told from here: "
            f"ssh {lease.process.host} kill -USR2 {lease.process.pid}"
        ]
    os.kill(lease.process.pid, signal.SIGUSR2)
    click.echo(f"{lease.name}: told to drain")
    return []


def _wait_until_gone(names: Sequence[str], output_dir: Path) -> bool:
    """Whether every lease was removed in time."""
    from captionqa.server.lease import LeaseState, read_leases

    left = set(names)
    deadline = time.monotonic() + STOPPED_WITHIN_S
    while left and time.monotonic() < deadline:
        found = read_leases(output_dir).found
        for name in sorted(left):
            if name not in found or found[name].state is LeaseState.FAILED:
                click.echo(f"{name}: gone")
                left.discard(name)
        time.sleep(0.2 if left else 0)
    if left:
        raise ServerError(
            f"{', '.join(sorted(left))}: not gone within {STOPPED_WITHIN_S:.0f} s. Look at `captionqa servers` and "
            "`captionqa servers logs NAME`; scancel ends a job that does not answer."
        )
    return True
