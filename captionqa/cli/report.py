"""`captionqa report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from captionqa.cli.options import FILE, FOLDER, option

HELP = """Write a run as one HTML file that needs no network: accuracy with its interval, categories, outcomes, how
answers were read, what the run is, and a list of items with pictures to filter and search. Two runs are compared.

RUN is a *.run.json file, any other file of the run, or a folder that holds one run. The report shows what the run's
JSON files say; `captionqa export RUN` writes those again.

\b
Examples:
  captionqa report qa/Qwen3-VL-4B-Instruct
  captionqa report output/captions/Qwen3-VL-4B-Instruct --items 5000
  captionqa report qa/Qwen3-VL-4B-Instruct qa/Qwen3-VL-8B-Instruct
  captionqa report qa/Qwen3-VL-4B-Instruct --dataset-path /scratch/data --output /tmp/report.html
"""


@click.command(help=HELP)
@click.argument("runs", metavar="RUN [OTHER]", nargs=-1, required=True, type=click.Path(path_type=Path))
@option("--output-dir", type=FOLDER, default=Path("output"), help="Where runs are kept.")
@click.option("--output", type=FILE, help="The file to write; default: <run>_report.html beside the run's other files.")
@click.option(
    "--items",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Items to list: those without an answer and the wrong ones first, then a sample of the others.",
)
@click.option("--all", "everything", is_flag=True, help="List every item; the file grows with the run.")
@click.option("--thumbnails/--no-thumbnails", default=True, help="Whether pictures are part of the file.")
@click.option("--dataset-path", type=FOLDER, help="Where the images are now, when they were moved.")
@click.option(
    "--follow-symlinks", is_flag=True, help="Show images behind links that lead out of the data set's folder."
)
@click.option("--common", is_flag=True, help="Of two runs: compare what both have, where their question sets differ.")
def report(
    runs: tuple[Path, ...],
    output_dir: Path,
    output: Path | None,
    items: int,
    everything: bool,
    common: bool,
    **how: Any,
) -> int:
    from captionqa.errors import ExitCode, UsageError
    from captionqa.report.html import ReportOptions, write_report
    from captionqa.run.store import find_run

    if len(runs) > 2:
        raise UsageError(f"{len(runs)} runs: a report is about one run, or about two that it compares.")
    options = ReportOptions(None if everything else items, **how)
    paths = [find_run(run, output_dir) for run in runs]
    if len(paths) == 1:
        click.echo(write_report(paths[0], options, output))
    else:
        from captionqa.report.comparison_page import write_comparison

        click.echo(write_comparison(paths[0], paths[1], options, output, common=common))
    return int(ExitCode.COMPLETE)
