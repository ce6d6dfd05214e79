"""Connections: what one server is asked over HTTP, and every way in which it fails to answer as one exception.

Completions are bytes that were serialised once, posted over aiohttp. Through the openai SDK's own layers the same bytes
cost 0.25 to 0.5 ms more of CPU each, more than all the rest of a request (docs/benchmarks.md), and importing it half of
a command's start.
"""

from __future__ import annotations

import io

import aiohttp

from captionqa.core.reasons import Reason
from captionqa.core.replies import (
    Completion,
    NoAnswer,
    Tokens,
    Verdict,
    classify_error,
    read_completion,
    read_models,
    read_tokens,
)

_WRITTEN_AT_ONCE_BYTES = 1 << 20
KEEP_ALIVE_S = 4.0
"""For how long an idle connection is used again. vLLM closes it after 5 s, which the next request would find out."""


class Http:
    """The HTTP client of a run: make it on the event loop, close it there."""

    def __init__(self, *, connect_timeout_s: float, request_timeout_s: float) -> None:
        self.session = aiohttp.ClientSession(
            trust_env=False,  # a proxy from the environment never leads to a node of the cluster
            # The senders bound the requests in flight; connections must not bound them again.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            # In all, not between two reads: a server may also stop reading in the middle of a large body.
            timeout=aiohttp.ClientTimeout(total=request_timeout_s, sock_connect=connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def aclose(self) -> None:
        await self.session.close()


class ChatConnection:
    """The requests that one endpoint understands. Raises: NoAnswer for everything that is no answer."""

    def __init__(self, http: Http, url: str, api_key: str | None) -> None:
        self.url = url
        self.api_key = api_key
        self._session = http.session
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    async def models(self) -> dict[str, int | None]:
        """Ids of the served models, each with its context length in tokens; None where the server does not say."""
        return read_models(await self._ask("GET", "models"))

    async def complete(self, body: bytes) -> Completion:
        """Post a serialised chat-completions request."""
        return read_completion(await self._ask("POST", "chat/completions", _payload(body)))

    async def tokenize(self, body: bytes) -> Tokens:
        """The prompt of a chat-completions request, counted by the server. vLLM's, and not below /v1."""
        return read_tokens(await self._ask("POST", "../tokenize", _payload(body)))

    async def _ask(self, method: str, path: str, payload: bytes | io.BytesIO | None = None) -> bytes:
        try:
            async with self._session.request(
                method, f"{self.url}/{path}", data=payload, headers=self._headers, allow_redirects=False
            ) as response:
                reply = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error) from error
        if response.status != 200:
            raise classify_error(response.status, response.headers, reply)
        return reply


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A large body goes in pieces, without a copy: aiohttp writes bytes in one go, which holds up the event loop, and
    warns of it."""
    return body if len(body) <= _WRITTEN_AT_ONCE_BYTES else io.BytesIO(body)


def _unreachable(error: Exception) -> NoAnswer:
    """A connection that was refused, reset or cut, and a time-out, as one kind of trouble."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    # The outermost name need not be the trouble's: only the innermost cause can be believed.
    timed_out = any(isinstance(link, TimeoutError) for link in chain)
    text = next((str(link) for link in reversed(chain) if str(link)), type(chain[-1]).__name__)
    return NoAnswer(Verdict.TRANSIENT, Reason.TIMEOUT if timed_out else Reason.CONNECTION, text)
