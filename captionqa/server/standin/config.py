"""How a stand-in server behaves: everything that is fixed while it runs, except its faults, which tests may replace."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from captionqa.server.standin.faults import Faults

MODEL = "standin/pixel-reader"


@dataclass(frozen=True, slots=True)
class StandInConfig:
    """Settings of one stand-in server; the names follow vLLM's where vLLM has the setting."""

    model: str = MODEL
    """The served model's id. A name chosen here does not hide what it is: ``owned_by`` and the fingerprint say so."""
    api_key: str | None = field(default=None, repr=False)
    """When set, needed on ``/v1/*`` and nowhere else, as in vLLM."""
    max_model_len: int = 32768
    max_num_seqs: int = 64
    """Requests that run at once; others wait, first come first served."""
    max_num_queued_reqs: int | None = None
    """So many running or waiting: 503 for whoever comes, as in vLLM, whatever the name says. None: no limit."""
    max_images: int | None = None
    """Images per request, as vLLM's ``--limit-mm-per-prompt``. None: no limit."""
    allowed_local_media_path: Path | None = None
    """The folder below which ``file://`` URLs may be read. None: nowhere."""
    enable_request_id_headers: bool = False
    """Answer with an ``X-Request-Id`` header, the request's or a fresh one."""
    mm_cache_items: int = 8192
    """Pictures that are remembered, least recently used out first; a ``uuid`` that has gone must be sent again."""
    kv_cache_tokens: int = 262_144
    """What ``vllm:kv_cache_usage_perc`` is a share of."""
    seed: int = 0
    """For the faults and for picks between choices that nothing in the image decides."""
    faults: Faults = field(default_factory=Faults)
    no_vision: bool = False
    """Answer a fixed text without looking at the pixels, for benchmarks of clients."""
    no_metrics: bool = False
    """No /metrics, as behind many proxies and in other servers."""
    grace_s: float = 10.0
    """Seconds that requests in flight get to finish after SIGTERM."""
