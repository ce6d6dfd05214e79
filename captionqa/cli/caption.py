"""`captionqa caption`: caption every image below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from captionqa.cli.options import FILE, option, shared_options
from captionqa.run.signals import stopping_on_signals

HELP = """Caption every image below a folder (jpg, jpeg, png, webp, bmp, gif, tif, tiff; also in sub-folders).

Captions are saved as they come; after an interruption the same command goes on. The result is
OUTPUT/captions/MODEL/MODEL_STYLE.json: {"path/of/image.jpg": "caption"}.

With --question-path the images of a CaptionQA-style set are captioned, all images of a row in one request, and the
result is {"id of the row": "caption"}: what `captionqa qa --captions` and CaptionQA's own scripts take.

\b
Examples:
  captionqa caption --dataset-path images
  captionqa caption --dataset-path images --prompt-style LONG --max-tokens 512
  captionqa caption --dataset-path images --prompt-style prompts/mine.jinja --run-name mine
  captionqa caption --dataset-path images --server-url http://gpu1:8000 --server-url http://gpu2:8000
  captionqa caption --dataset-path images --limit 3 --dry-run
  captionqa caption --question-path natural.parquet --prompt-style LONG
  captionqa caption --question-path natural.parquet --taxonomy taxonomy.json --max-tokens 1024
"""


@click.command(help=HELP)
@option("--dataset-path", type=click.Path(path_type=Path), help="Folder of images.")
@option(
    "--question-path",
    type=click.Path(path_type=Path),
    help="A CaptionQA-style set instead (parquet file or folder of them): a caption for each row's images.",
)
@option("--prompt-style", default="SIMPLE", metavar="STYLE", help="See `captionqa prompts`; or a template file.")
@option("--taxonomy", type=FILE, metavar="FILE", help="JSON of perspectives that the style TAXONOMY lists.")
@shared_options
def caption(**options: Any) -> int:
    with stopping_on_signals():  # before the slow imports: a signal then must not look like a crash
        from captionqa.cli.running import caption_task, run_task

        return int(run_task(caption_task(options), options))
