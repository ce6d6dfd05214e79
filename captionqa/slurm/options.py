"""What a job asks of SLURM: settings by name (command line, config file) in, checked `JobOptions` and #SBATCH
directives out. Pure: nothing is submitted or looked up here, and what a cluster allows is for sbatch to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from captionqa.errors import UsageError


class Kind(StrEnum):
    """The jobs there are; each has a template."""

    SERVER = "server"
    CAPTION = "caption"
    QA = "qa"
    FINALIZE = "finalize"

    @property
    def job_name(self) -> str:
        return f"captionqa-{self}"


Directive = tuple[str, str | None]
"""An option of sbatch without dashes, and its value; None for a flag."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """One job's options. Build with `job_options`, which checks them."""

    job_name: str = ""
    comment: str | None = None
    """Marks a job as ours, and whose output folder it works for; `squeue` shows it to whoever asks for it."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: str | None = None
    gres: str | None = None
    gpus: str | None = None
    cpus: int | None = None
    mem: str | None = None
    time: str | None = None
    array: str | None = None
    throttle: int | None = None
    """Tasks of the array that may run at a time."""
    output: str = "%x-%j.out"
    """Log file, as a pattern of sbatch; relative to where the job is submitted."""
    signal_s: int | None = 120
    """How long before its time limit the job is told; None: not at all."""
    extra: Mapping[str, str | None] = field(default_factory=dict)
    """Any other options of sbatch; None for a flag."""
    setup: tuple[str, ...] = ()
    """Shell lines before the command: module load, conda activate."""
    hf_home: str | None = None
    offline: bool = False
    log_dir: str | None = None
    said: frozenset[str] = frozenset()
    """Names of the fields that the user gave, as opposed to defaults."""

    def directives(self) -> list[Directive]:
        """In the order of the script."""
        array = f"{self.array}%{self.throttle}" if self.array and self.throttle else self.array
        values: list[tuple[str, Any]] = [
            ("job-name", self.job_name),
            ("comment", self.comment),
            *((name, getattr(self, name)) for name in ("partition", "account", "qos", "constraint", "nodes")),
            ("gres", self.gres),
            ("gpus", self.gpus),
            ("cpus-per-task", self.cpus),
            ("mem", self.mem),
            ("time", self.time),
            ("array", array),
            ("output", self.output),
            ("open-mode", "append"),
            ("signal", None if self.signal_s is None else f"B:USR1@{self.signal_s}"),
        ]
        given: list[Directive] = [(name, str(value)) for name, value in values if value is not None]
        return [*given, ("requeue", None), *self.extra.items()]

    def arguments(self) -> list[str]:
        """For sbatch's command line: what must hold whatever SBATCH_* variables say, which beat a script's directives.
        Our defaults of size and time are left to the script, so that a user's own variables can change them."""
        ours = {"partition", "account", "qos", "constraint", "nodes", "gres", "gpus", "cpus", "mem", "time"}
        left = {{"cpus": "cpus-per-task"}.get(name, name) for name in ours - self.said}
        return [directive_argument(one) for one in self.directives() if one[0] not in left]


def directive_argument(directive: Directive) -> str:
    name, value = directive
    return f"--{name}" if value is None else f"--{name}={value}"


DEFAULTS: Mapping[Kind, JobOptions] = MappingProxyType(
    {
        Kind.SERVER: JobOptions(gres="gpu:1", cpus=8, mem="64G", time="08:00:00"),
        Kind.CAPTION: JobOptions(cpus=4, mem="8G", time="08:00:00"),
        Kind.QA: JobOptions(cpus=4, mem="8G", time="08:00:00"),
        Kind.FINALIZE: JobOptions(cpus=1, mem="4G", time="01:00:00", signal_s=None),
    }
)


def job_options(kind: Kind, given: Mapping[str, Any], **ours: Any) -> JobOptions:
    """The options of a job: its kind's defaults, then what the user gave (by setting name), then ``ours``, which are
    fields of `JobOptions` and are taken as they are.

    Raises: UsageError for an unknown name or a value that sbatch could not read.
    """
    known = {setting.name: setting for setting in SETTINGS}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"unknown job option {name!r}. Known: {', '.join(sorted(known))}.")
        if value is None or value in ((), [], False):
            continue
        try:
            values[known[name].field] = known[name].read(value)
        except ValueError as error:
            raise UsageError(f"job option {name} {value!r}: {error}.") from error
    if "gres" in values and "gpus" in values:
        raise UsageError(f"gres {values['gres']!r} and gpus {values['gpus']!r}: two ways to ask for GPUs. Give one.")
    if "throttle" in values and "%" in values.get("array", ""):
        raise UsageError(
            f"array {values['array']!r} has its throttle already: leave throttle {values['throttle']} out."
        )
    base = DEFAULTS[kind]
    if "gpus" in values:
        base = replace(base, gres=None)
    own = {"job_name": kind.job_name, "comment": kind.job_name}
    chosen = replace(base, **{**own, **values, **ours}, said=frozenset(values))
    if chosen.signal_s is None or "signal_s" in values or chosen.time is None:
        return chosen
    # A short job that is told 120 s before its end is told before it has begun.
    lead_s = min(chosen.signal_s, max(10.0, _minutes(chosen.time) * 60 / 4))
    return replace(chosen, signal_s=int(lead_s))


def id_ranges(ids: Sequence[int]) -> str:
    """Ascending task ids as --array takes them: ``0-3,7``."""
    ranges: list[list[int]] = []
    for one in ids:
        if ranges and ranges[-1][1] == one - 1:
            ranges[-1][1] = one
        else:
            ranges.append([one, one])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def shorter_time(first: str, second: str) -> str:
    """The shorter of two time limits."""
    return min(first, second, key=_minutes)


def _minutes(limit: str) -> float:
    """Of minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]] (sbatch(1), --time); 0 is
    no limit."""
    if not re.fullmatch(_TIME, limit) or not re.sub(r"[0:-]", "", limit) or limit[0].isalpha():
        return float("inf")
    days, dash, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def one_line(value: Any) -> str:
    """Raises: ValueError for what would end a directive's line, or is no text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("must be a text")  # noqa: TRY004 (every refusal is a ValueError)
    text = str(value)
    if not text.strip():
        raise ValueError("is empty")
    if not text.isprintable():
        raise ValueError("must be one line without control characters")
    return text


def _matching(pattern: str, looks: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        text = one_line(value)
        if not re.fullmatch(pattern, text, re.IGNORECASE | re.ASCII):
            raise ValueError(f"looks like {looks}")
        return text

    return read


def _whole(low: int, high: int = 1 << 31) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        text = one_line(value)
        if not re.fullmatch(r"[0-9]+", text) or not low <= int(text) <= high:
            raise ValueError(f"is a whole number from {low} on" if high == 1 << 31 else f"goes from {low} to {high}")
        return int(text)

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is true or false")  # noqa: TRY004
    return value


def _setup(value: Any) -> tuple[str, ...]:
    """Lines, each given by itself or many in one text."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ValueError("is one text or a list of texts")
    lines = tuple(line.rstrip() for text in texts for line in text.splitlines())
    if any("\0" in line for line in lines):
        raise ValueError("holds a NUL character")
    return lines


def _extra(value: Any) -> dict[str, str | None]:
    """Options of sbatch as KEY=VALUE texts, or as a table."""
    pairs: Iterable[tuple[str, Any]]
    if isinstance(value, Mapping):
        pairs = ((str(key), None if one is True else one) for key, one in value.items())
    else:
        texts = [value] if isinstance(value, str) else value
        pairs = ((key, one if equals else None) for key, equals, one in (str(text).partition("=") for text in texts))
    read: dict[str, str | None] = {}
    for key, one in pairs:
        name = key.strip().removeprefix("--").lower()
        if not re.fullmatch(r"[a-z][a-z0-9-]+", name):
            raise ValueError(f"{key!r} is no long option of sbatch; give KEY=VALUE, such as exclude=gpu3")
        if name in _TAKEN:
            raise ValueError(f"{name} is not for --sbatch: {_TAKEN[name]}")
        read[name] = None if one is None else one_line(one)
    return read


_NAME = r"[\w.@/+-]+"
_COUNTED = rf"{_NAME}(?::{_NAME})*"
_TIME = r"\d+|\d+:\d+|\d+:\d+:\d+|\d+-\d+(?::\d+){0,2}|unlimited|infinite"
_SPAN = r"\d+(?:-\d+(?::\d+)?)?"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing a user can say about a job; its name is that of the option and of the entry in the config file."""

    name: str
    metavar: str | None
    """None for a flag."""
    help: str
    read: Callable[[Any], Any]
    """Value of the field. Raises: ValueError saying what it looks like."""
    many: bool = False
    shared: bool = False
    """Whether a server job and the last job take over what was said for the client jobs."""

    @property
    def field(self) -> str:
        renamed = {"sbatch": "extra", "signal-seconds": "signal_s"}
        return renamed.get(self.name, self.name.replace("-", "_"))


SETTINGS = (
    Setting("partition", "NAME", "Partition.", one_line),
    Setting("account", "NAME", "Account to charge.", one_line, shared=True),
    Setting("qos", "NAME", "Quality of service.", one_line),
    Setting("constraint", "FEATURES", "Features the node must have.", one_line),
    Setting("gres", "LIST", "GPUs as generic resource: gpu:1, gpu:h100:2.",
            _matching(rf"{_COUNTED}(?:,{_COUNTED})*", "gpu:1 or gpu:h100:2")),
    Setting("gpus", "N", "GPUs, where the cluster wants --gpus: 1, h100:2.",
            _matching(rf"(?:{_NAME}:)?\d+", "1 or h100:2")),
    Setting("cpus", "N", "CPU cores.", _whole(1)),
    Setting("mem", "SIZE", "Memory: 8G, 64000M.", _matching(r"\d+(?:[KMGT]B?)?", "8G or 64000M")),
    Setting("time", "LIMIT", "Time limit: 08:00:00, 2-00:00:00.", _matching(_TIME, "08:00:00 or 2-00:00:00")),
    Setting("nodes", "N", "Nodes.", _matching(r"\d+(?:-\d+)?", "1 or 1-2")),
    Setting("array", "IDS", "Job array: 0-7, 0-99%4.",
            _matching(rf"{_SPAN}(?:,{_SPAN})*(?:%\d+)?", "0-7, 3,5,9 or 0-99%4")),
    Setting("throttle", "N", "Tasks of the array that run at a time.", _whole(1)),
    Setting("signal-seconds", "N", "How long before the time limit a job is told to save and leave.",
            _whole(1, 65535)),
    Setting("sbatch", "KEY[=VALUE]", "Any other option of sbatch, without dashes: exclude=gpu3, exclusive. Repeatable.",
            _extra, many=True),
    Setting("setup", "LINE", "Shell line before captionqa: 'module load cuda', 'conda activate x'. Repeatable.",
            _setup, many=True, shared=True),
    Setting("hf-home", "DIR", "Hugging Face's cache (HF_HOME).", one_line, shared=True),
    Setting("offline", None, "Let Hugging Face's libraries use their cache only.", _flag, shared=True),
    Setting("log-dir", "DIR", "Folder of the jobs' logs; it is made. Default: beside the kept scripts.", one_line,
            shared=True),
)  # fmt: skip
"""In the order of the help."""

_TAKEN = {
    **{
        {"cpus": "cpus-per-task", "signal-seconds": "signal"}.get(one.name, one.name): f"use --{one.name}"
        for one in SETTINGS
        if one.field in {known.name for known in fields(JobOptions)} and not one.shared and one.name != "sbatch"
    },
    "account": "use --account",
    "array": "use --array; of a whole run, --shards and --servers",
    "job-name": "captionqa finds its jobs by their names",
    "comment": "captionqa finds its jobs by their comments",
    "output": "use --log-dir",
    "error": "use --log-dir",
    "open-mode": "a requeued job must not truncate its log",
    **dict.fromkeys(("dependency", "parsable", "wait", "wrap", "test-only", "quiet", "help"), "captionqa calls sbatch"),
}
