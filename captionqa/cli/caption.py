"""`captionqa caption`: caption every image below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from captionqa.cli.options import option, shared_options
from captionqa.run.signals import stopping_on_signals

HELP = """Caption every image below a folder (jpg, jpeg, png, webp, bmp, gif, tif, tiff; also in sub-folders).

Captions are saved as they come; after an interruption the same command goes on. The result is
OUTPUT/captions/MODEL/MODEL_STYLE.json: {"path/of/image.jpg": "caption"}.

\b
Examples:
  captionqa caption --dataset-path images
  captionqa caption --dataset-path images --prompt-style LONG --max-tokens 512
  captionqa caption --dataset-path images --prompt-style prompts/mine.jinja --run-name mine
  captionqa caption --dataset-path images --server-url http://gpu1:8000 --server-url http://gpu2:8000
  captionqa caption --dataset-path images --limit 3 --dry-run
"""


@click.command(help=HELP)
@option(
    "--dataset-path",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of images.",
)
@option("--prompt-style", default="SIMPLE", metavar="STYLE", help="See `captionqa prompts`; or a template file.")
@shared_options
def caption(**options: Any) -> int:
    with stopping_on_signals():  # before the slow imports: a signal then must not look like a crash
        from captionqa.cli.running import caption_task, run_task

        return int(run_task(caption_task(options), options))
