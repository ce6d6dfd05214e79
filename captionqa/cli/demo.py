"""`captionqa demo`: the main job on a small drawn data set, end to end, with a stand-in server on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from captionqa.run.session import Report

HELP = """Caption and answer a small drawn data set, end to end: no GPU, no download, well under a minute.

A stand-in server answers from the pixels it is sent; it is no model. Everything else (the engine, the journals, the
files) is what a real run uses.

\b
Examples:
  captionqa demo
  captionqa demo --folder /tmp/demo --images 100
"""

STYLES = ("SIMPLE", "SHORT", "LONG")


@click.command(help=HELP)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("captionqa-demo"),
    show_default=True,
    help="Where the data set and the results go.",
)
@click.option("--images", default=24, show_default=True, type=click.IntRange(min=2), help="Images to draw.")
def demo(folder: Path, images: int) -> int:
    from captionqa.cli.running import print_summary
    from captionqa.data.drawn import draw_dataset
    from captionqa.errors import ExitCode, UsageError
    from captionqa.report.html import write_report
    from captionqa.server.standin import StandInConfig, StandInServer

    try:
        drawn = draw_dataset(folder / "data", images=images)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}). Choose another --folder.") from error
    click.echo(f"drew {drawn.image_count} images and {drawn.question_count} questions in {folder / 'data'}")
    with StandInServer(StandInConfig()) as server:
        click.echo(f"stand-in server (reads pixels, is no model) at {server.url}\n")
        ask = _asker(server.url, folder)
        captions = [ask(style, drawn.images, None) for style in STYLES]
        answers = ask("default", folder / "data", drawn.questions)
    _show_captions(captions)
    assert answers.summary is not None, "an unsharded run has a summary"
    click.echo("\nanswers by category:\n")
    print_summary(answers.identity, answers.summary)
    click.echo("\nfiles:")
    for report in (*captions, answers):
        click.echo(f"  {report.paths.folder}/{report.paths.stem}*.json")
    page = write_report(answers.paths)
    click.echo(f"\nthe same as a page, with the pictures: {page}")
    click.echo(
        "\nThe same with a server of your own:\n"
        "  export CAPTIONQA_SERVER_URL=http://gpu-node:8000\n"
        f"  captionqa caption --dataset-path {drawn.images} --prompt-style LONG\n"
        f"  captionqa qa --question-path {drawn.questions} --dataset-path {folder / 'data'}"
    )
    return int(max((report.exit_code for report in (*captions, answers)), default=ExitCode.COMPLETE))


def _asker(url: str, folder: Path) -> Callable[[str, Path, Path | None], Report]:
    """A function that runs one style over a folder of images, or over a question set."""
    from captionqa.core.requests import CAPTION_SAMPLING, QUESTION_SAMPLING
    from captionqa.core.vision import ImagePolicy
    from captionqa.data.prompt_files import caption_styles, load_style, question_styles
    from captionqa.report.progress import progress
    from captionqa.run.discovery import FixedServers
    from captionqa.run.question_task import QuestionTask
    from captionqa.run.session import Settings, run_session
    from captionqa.run.tasks import Asking, CaptionTask, Task

    def ask(style: str, dataset: Path, questions: Path | None) -> Report:
        task: Task
        if questions is None:
            known = load_style(style, caption_styles(Path.cwd()))
            task = CaptionTask(dataset, Asking(known, None, CAPTION_SAMPLING, ImagePolicy()))
        else:
            known = load_style(style, question_styles(Path.cwd()))
            task = QuestionTask(questions, dataset, Asking(known, None, QUESTION_SAMPLING, ImagePolicy()))
        return run_session(task, Settings(FixedServers((url,)), folder / "output"), progress())

    return ask


def _show_captions(reports: list[Report]) -> None:
    """One image's captions in every style."""
    import json

    click.echo("\ncaptions of one image:\n")
    for style, report in zip(STYLES, reports, strict=True):
        captions = json.loads(report.paths.export(".json").read_text(encoding="utf-8"))
        name, caption = next(iter(captions.items()))
        click.echo(f"  {style:<7} {name}: {caption}")
