"""`--max-concurrency auto` against fixed settings: whole caption runs, from the first request to the last answer, its
ramp-up included, against `captionqa standin` processes of several kinds or any server.

First every fixed setting is tried for some seconds; then the best ones and auto take turns, and what counts is the
median of the rounds' ratios. `python -m benchmarks.concurrency --help` has the options.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FIXED = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CANDIDATES = 2
"""So many of the best fixed settings go on after the first try."""
TRIED_S = 5.0
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of server."""

    name: str
    latency_s: float
    batch: int
    servers: int = 1
    metrics: bool = True
    seconds: float = 30.0
    """How long a run at the server's best takes, or would if the client could keep up."""

    @property
    def options(self) -> list[str]:
        options = ["--latency", str(self.latency_s), "--max-num-seqs", str(self.batch), "--no-vision"]
        return options if self.metrics else [*options, "--no-metrics"]

    @property
    def items(self) -> int:
        return round(self.seconds * self.servers * self.batch / self.latency_s)

    def tried_items(self, limit: int) -> int:
        """For a first try of a fixed setting: some seconds, and some rounds, of what the server can do with it."""
        at_a_time = min(limit, self.servers * self.batch)
        return min(self.items, round(max(TRIED_S / self.latency_s, 4) * at_a_time))


PROFILES = (
    Profile("fast: 64 at once, 20 ms", 0.02, 64, seconds=3.0),
    Profile("slow: 64 at once, 2 s", 2.0, 64, seconds=40.0),
    Profile("small batch: 8 at once, 0.2 s", 0.2, 8),
    Profile("8 GPUs, one server: 512 at once, 4 s", 4.0, 512, seconds=60.0),
    Profile("8 GPUs, eight servers: 64 at once each, 4 s", 4.0, 64, servers=8, seconds=60.0),
    Profile("no /metrics: 64 at once, 0.5 s", 0.5, 64, metrics=False, seconds=60.0),
)


@dataclass(frozen=True, slots=True)
class Measured:
    best: int
    """The best fixed setting."""
    best_rate: float
    auto_rate: float
    ratio: float
    """Median of the rounds' own ratios, auto to the best fixed setting's."""
    found: str
    """By auto, at its end."""


def measure(rounds: int = 3, profiles: Sequence[Profile] = PROFILES) -> str:
    """A markdown table over the profiles."""
    lines = [*_HEAD]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "images", max(profile.items for profile in profiles), size=16)
        for profile in profiles:
            with standins(profile) as urls:
                tries = {limit: profile.tried_items(limit) for limit in FIXED if limit >= profile.servers}
                measured = compare(folder / "images", urls, tries, profile.items, rounds)
            lines.append(_row(profile.name, measured))
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def measure_url(url: str, items: int, rounds: int, tried: int, fixed: Sequence[int]) -> str:
    """The same for a server that is there, with drawn images of 224 pixels, new ones for every run."""
    with tempfile.TemporaryDirectory() as name:
        tries = {limit: min(items, max(tried, 2 * limit)) for limit in fixed}
        measured = compare(Path(name), (url,), tries, items, rounds, fresh=224)
    return "\n".join((*_HEAD, _row(url, measured)))


_HEAD = (
    "| server | best fixed | requests/s | auto requests/s | auto / best | auto found |",
    "| --- | ---: | ---: | ---: | ---: | --- |",
)


def _row(name: str, measured: Measured) -> str:
    return (
        f"| {name} | {measured.best} | {measured.best_rate:.1f} | {measured.auto_rate:.1f} | {measured.ratio:.3f} | "
        f"{measured.found} |"
    )


def compare(
    folder: Path, urls: Sequence[str], tries: dict[int, int], items: int, rounds: int, *, fresh: int | None = None
) -> Measured:
    """
    Args:
        tries: items for the first try of each fixed setting.
        fresh: size in pixels of images to be drawn for each run; None uses those in the folder.
    """
    number = 0

    def rate(limit: str, count: int) -> tuple[float, str]:
        nonlocal number
        number += 1
        with tempfile.TemporaryDirectory() as name:
            images = folder
            if fresh is not None:
                images = Path(name) / "images"
                draw(images, count, size=fresh, seed=f"{os.getpid()} {number}")
            command = [sys.executable, "-m", "benchmarks.concurrency", "--one", limit, "--items", str(count)]
            command += ["--folder", str(images), "--output", f"{name}/output", *urls]
            shown = subprocess.run(command, check=True, capture_output=True, text=True)
        found = re.search(r"found by --max-concurrency auto: (.*)", shown.stderr)
        print(f"  {limit}: {float(shown.stdout):.1f}/s {found[1] if found else ''}", file=sys.stderr, flush=True)
        return float(shown.stdout), re.sub(r" at [^,]+", "", found[1]) if found else ""

    tried = {limit: rate(str(limit), count)[0] for limit, count in tries.items()}
    candidates = sorted(tried, key=tried.__getitem__)[-CANDIDATES:]
    rates: dict[str, list[float]] = {limit: [] for limit in (AUTO, *map(str, candidates))}
    found = ""
    for turn in range(rounds):
        for limit in list(rates) if turn % 2 == 0 else list(rates)[::-1]:
            value, now = rate(limit, items)
            rates[limit].append(value)
            found = now or found
    medians = {limit: statistics.median(values) for limit, values in rates.items()}
    best = max(candidates, key=lambda limit: medians[str(limit)])
    ratios = [auto / fixed for auto, fixed in zip(rates[AUTO], rates[str(best)], strict=True)]
    return Measured(best, medians[str(best)], medians[AUTO], statistics.median(ratios), found)


def draw(folder: Path, count: int, *, size: int, seed: str = "") -> None:
    """Images of one colour each, with a square of another; no two of a seed are alike."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number in range(count):
        shade = zlib.crc32(f"{seed} {number}".encode())
        image = Image.new("RGB", (size, size), (shade & 255, shade >> 8 & 255, shade >> 16 & 255))
        image.paste((number & 255, number >> 8 & 255, shade >> 24), (size // 4, size // 4, size // 2, size // 2))
        image.save(folder / f"{number:06d}.png", compress_level=1)


@contextlib.contextmanager
def standins(profile: Profile) -> Iterator[tuple[str, ...]]:
    """A profile's servers, each a process of its own; gives their URLs."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "captionqa", "standin", "--port", "0", *profile.options]
        started = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(profile.servers)
        ]
        try:
            yield tuple(process.stdout.readline().split()[0] for process in started if process.stdout)
        finally:
            for process in started:
                process.kill()


# --- one run, in its own process ------------------------------------------------------------------------------------


def one_run(limit: str, folder: Path, items: int, output: Path, urls: Sequence[str]) -> None:
    """Print answers per second from the start of the session to its end; imports are not counted."""
    import time

    from captionqa.core.requests import CAPTION_SAMPLING
    from captionqa.core.vision import ImagePolicy
    from captionqa.data.prompt_files import caption_styles, load_style
    from captionqa.report.progress import LogProgress
    from captionqa.run.discovery import FixedServers
    from captionqa.run.session import Settings, run_session
    from captionqa.run.tasks import Asking, CaptionTask

    style = load_style("SIMPLE", caption_styles(Path("/")))
    task = CaptionTask(folder, Asking(style, None, CAPTION_SAMPLING, ImagePolicy()))
    settings = Settings(
        FixedServers(tuple(f"{url.removesuffix('/').removesuffix('/v1')}/v1" for url in urls)),
        output,
        limit=items,
        max_concurrency=None if limit == AUTO else int(limit),
    )
    started = time.perf_counter()
    report = run_session(task, settings, LogProgress())
    seconds = time.perf_counter() - started
    assert report.counts == {"answered": items}, report.counts
    print(items / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.concurrency", description=__doc__)
    parser.add_argument("urls", nargs="*", metavar="URL", help="a server to measure instead of the stand-ins")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=3000, help="per run against URL")
    parser.add_argument("--tried", type=int, default=400, help="items for the first try of each setting against URL")
    parser.add_argument("--fixed", type=int, nargs="+", default=FIXED, help="the settings to try against URL")
    parser.add_argument("--profile", action="append", help="only the stand-ins whose names begin like this")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one_run(given.one, given.folder, given.items, given.output, given.urls)
    elif given.urls:
        print(measure_url(given.urls[0], given.items, given.rounds, given.tried, given.fixed))
    else:
        wanted = tuple(given.profile or ("",))
        print(measure(given.rounds, [profile for profile in PROFILES if profile.name.startswith(wanted)]))


if __name__ == "__main__":
    main()
