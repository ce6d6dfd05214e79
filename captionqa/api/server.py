"""Which server a program means; with nothing said, the same one as the commands would find."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from captionqa.api.kinds import refuse_other_kind
from captionqa.errors import UsageError
from captionqa.run.choosing import base_url, choose_servers
from captionqa.run.discovery import FixedServers, Servers
from captionqa.run.queue import queue_asker
from captionqa.run.store import Say


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where answers come from. With nothing given: CAPTIONQA_SERVER_URL, VLLM_BASE_URL, OPENAI_BASE_URL, else the
    servers that publish themselves below the output folder; keys likewise, as docs/servers.md says."""

    url: str | tuple[str, ...] = ()
    """Base URL or several, with or without /v1."""
    api_key: str | None = None
    """For the given URLs, and only for them. It is not printed and not recorded."""
    api_key_file: str | os.PathLike[str] | None = None
    """A file that holds the key; for whatever servers are used."""
    model: str | None = None
    """The served model to ask; None takes what is served."""
    wait_s: float | None = None
    """How long to wait for a server that is not there, in seconds. None: a question fails at once, a run waits ten
    minutes. While a server's job is in the queue, or loads its model, waiting has no limit."""
    request_timeout_s: float = 300.0
    """Longest wait for an answer."""

    def __repr__(self) -> str:
        return f"Server(url={self.url!r}, model={self.model!r})"  # never the key

    def servers(self, output_dir: Path, say: Say) -> Servers:
        """Raises: UsageError when there is none, or the key's file cannot be used."""
        urls = (self.url,) if isinstance(self.url, str) else tuple(self.url)
        if self.api_key is not None:
            if not urls:
                raise UsageError("Server: api_key goes with a url. Published servers have keys of their own.")
            found = tuple(dict.fromkeys(map(base_url, urls)))
            say(f"server: {', '.join(found)} (from Server.url; key from Server.api_key)")
            return FixedServers(found, self.api_key)
        key_file = None if self.api_key_file is None else Path(self.api_key_file)
        servers, described = choose_servers(
            urls, key_file, output_dir, environment=os.environ, ask_queue=queue_asker(say), given_by="Server.url"
        )
        say(f"server: {described}")
        return servers


def server_of(given: Server | str) -> Server:
    """A server, or its URL alone. Raises: TypeError."""
    if isinstance(given, str):
        return Server(url=given)
    refuse_other_kind("server", given, Server, 'a URL, captionqa.Server(url="http://…"), or leave it out')
    return given
