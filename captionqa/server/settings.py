"""What a supervisor is told: the server's settings, and the pace at which it looks after things."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from captionqa.errors import UsageError
from captionqa.server.engines import EngineSettings
from captionqa.server.lease import HEARTBEAT_S, key_path, log_path, servers_folder


@dataclass(frozen=True, slots=True)
class Pace:
    """Intervals in seconds. Not for users: tests make them short."""

    heartbeat_s: float = HEARTBEAT_S
    poll_s: float = 1.0
    """Between looks at an engine that starts."""
    probe_s: float = 120.0
    """For the first answer: some engines compile at the first request."""
    canary_every_s: float = 30.0
    canary_s: float = 60.0
    """For the answer to a tiny request of a server that does nothing else."""
    exit_grace_s: float = 2.0
    """In which a signal may still explain why the engine ended."""
    quiet_s: float = 2.0
    """So long nothing must run before a drain is over. Clients look at leases every few seconds, and a request whose
    image is still being prepared is in no count."""
    term_s: float = 20.0
    """Between SIGTERM and SIGKILL. vLLM ends in 2 to 5 s, or hangs: 3 of 10 runs with requests in flight."""
    kill_s: float = 10.0
    backoff_first_s: float = 1.0
    backoff_most_s: float = 60.0
    healthy_s: float = 600.0
    """After so long a restart is forgotten."""
    port_wait_s: float = 30.0

    @classmethod
    def parse(cls, given: dict[str, float]) -> Pace:
        """Raises: UsageError for an unknown name."""
        known = [one.name for one in fields(cls)]
        if unknown := sorted(given.keys() - set(known)):
            raise UsageError(f"unknown interval {unknown[0]!r}. Known: {', '.join(known)}.")
        return cls(**given)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """One server."""

    engine: EngineSettings
    output_dir: Path
    """Absolute: others read the lease from elsewhere."""
    name: str
    node: str
    """This machine's name for people and for SLURM."""
    address: str
    """This machine's name, or its address, in the URL."""
    key: str | None
    host: str = "0.0.0.0"
    port: int | None = None
    """None: any free one."""
    vision: bool = True
    """Whether it must take images to be ready."""
    max_restarts: int = 5
    stall_s: float = 900.0
    drain_s: float = 60.0
    job: str | None = None
    """SLURM job, ``101`` or ``101_3``."""
    restarts: int = 0
    """Of that job."""
    end_time: float | None = None
    """Of that job, seconds since 1970."""
    lifeline: int | None = None
    """File descriptor; the server stops when its other end is closed."""
    pace: Pace = field(default_factory=Pace)

    @property
    def folder(self) -> Path:
        return servers_folder(self.output_dir)

    @property
    def log_file(self) -> Path:
        return log_path(self.folder, self.name)

    @property
    def key_file(self) -> Path | None:
        return key_path(self.folder, self.name) if self.key is not None else None
