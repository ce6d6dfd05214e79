"""`captionqa prompts`: list and show prompt styles."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import click

HELP = """List the prompt styles, or show the template of one.

A style is a Jinja file. To add one, write prompts/NAME.jinja (for captions) or prompts/qa/NAME.jinja (for questions)
in the folder you work in. A caption template may use image_name, n and, with --taxonomy, taxonomy; a question
template question, choices, choices_in_question, letters and, with --captions, caption. Any other name is an error.

\b
Examples:
  captionqa prompts
  captionqa prompts LONG
  captionqa prompts qa/default
"""


@click.command(help=HELP)
@click.argument("style", required=False)
def prompts(style: str | None) -> None:
    from captionqa.data.prompt_files import caption_styles, load_style, question_styles

    captions, questions = caption_styles(Path.cwd()), question_styles(Path.cwd())
    if style is not None:
        known = {**captions, **{f"qa/{name}": path for name, path in questions.items()}}
        click.echo(load_style(style, known).template.rstrip("\n"))
        return
    for title, styles in (("captions", captions), ("questions (qa --prompt-style)", questions)):
        click.echo(f"{title}:")
        for name, path in styles.items():
            first_line = load_style(name, styles).template.strip().splitlines()[0]
            click.echo(f"  {name:<10} {shorten(first_line, 90, placeholder=' …')}\n             {path}")
