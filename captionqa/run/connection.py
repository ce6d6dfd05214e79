"""Connections: what one server is asked over HTTP, and every way in which it fails to answer as one exception.

The server is described by the `openai` client (its own retries off, no proxy from the environment). Completions are
bytes that were serialised once, posted over aiohttp, which is also the transport of that client. Through the SDK's own
layers the same bytes cost 0.25 to 0.5 ms more of CPU each, more than all the rest of a request (docs/benchmarks.md).
"""

from __future__ import annotations

import io

import aiohttp
import httpx2
import openai

from captionqa.core.replies import Completion, NoAnswer, Verdict, classify_error, read_completion

_WRITTEN_AT_ONCE_BYTES = 1 << 20


class Http:
    """The HTTP clients of a run: make it on the event loop, close it there."""

    def __init__(self, *, connect_timeout_s: float, request_timeout_s: float) -> None:
        self.sdk = openai.DefaultAioHttpClient(
            trust_env=False,  # a proxy from the environment never leads to a node of the cluster
            follow_redirects=False,
            timeout=httpx2.Timeout(request_timeout_s, connect=connect_timeout_s),
        )
        self.session = aiohttp.ClientSession(
            trust_env=False,
            # The senders bound the requests in flight; connections must not bound them again.
            connector=aiohttp.TCPConnector(limit=0),
            # In all, not between two reads: a server may also stop reading in the middle of a large body.
            timeout=aiohttp.ClientTimeout(total=request_timeout_s, sock_connect=connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def aclose(self) -> None:
        await self.sdk.aclose()
        await self.session.close()


class ChatConnection:
    """The requests that one endpoint understands. Raises: NoAnswer for everything that is no answer."""

    def __init__(self, http: Http, url: str, api_key: str | None) -> None:
        self.url = url
        # The SDK insists on a key; servers without one ignore it.
        self._sdk = openai.AsyncOpenAI(base_url=url, api_key=api_key or "none", max_retries=0, http_client=http.sdk)
        self._session = http.session
        self._completions = f"{url}/chat/completions"
        self._headers = {"Content-Type": "application/json", **self._sdk.auth_headers}

    async def models(self) -> list[str]:
        """Ids of the served models."""
        try:
            page = await self._sdk.models.list()
            return [str(model.id) for model in page.data or ()]
        except openai.APIStatusError as error:
            raise classify_error(error.status_code, error.response.headers, error.response.content) from error
        except (openai.APIConnectionError, aiohttp.ClientError) as error:
            raise _unreachable(error) from error
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:  # the SDK meets HTML, null, a list
            raise NoAnswer(Verdict.TRANSIENT, "garbage", f"/models is no list of models: {error}") from error

    async def complete(self, body: bytes) -> Completion:
        """Post a serialised chat-completions request."""
        try:
            async with self._session.post(
                self._completions, data=_payload(body), headers=self._headers, allow_redirects=False
            ) as response:
                reply = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _unreachable(error) from error
        if response.status != httpx2.codes.OK:
            raise classify_error(response.status, response.headers, reply)
        return read_completion(reply)


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A large body goes in pieces, without a copy: aiohttp writes bytes in one go, which holds up the event loop, and
    warns of it."""
    return body if len(body) <= _WRITTEN_AT_ONCE_BYTES else io.BytesIO(body)


def _unreachable(error: Exception) -> NoAnswer:
    """A connection that was refused, reset or cut, and a time-out, as one kind of trouble."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    # The SDK's transport calls a refused connection a time-out, so only the innermost cause can be believed.
    timed_out = any(isinstance(link, TimeoutError) for link in chain)
    text = next((str(link) for link in reversed(chain) if str(link)), type(chain[-1]).__name__)
    return NoAnswer(Verdict.TRANSIENT, "timeout" if timed_out else "connection", text)
