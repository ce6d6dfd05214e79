"""A server to ask, and what to ask it. Nothing here knows which engine answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
from PIL import Image, ImageDraw

CHAT = "/v1/chat/completions"
MAX_MODEL_LEN = 4096
PATIENCE_S = 120.0
RED, BLUE, GREEN = (220, 30, 30), (40, 60, 220), (30, 170, 50)
QUESTION = (
    "What color is the shape?\nA. red\nB. blue\nC. green\nD. yellow\n"
    "Answer with the option's letter from the given choices directly."
)
"""One that both engines answer rightly."""


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: httpx2.Headers
    body: bytes
    json: Any
    """None where the body is no JSON."""

    @property
    def choice(self) -> Any:
        assert self.status == 200, self.body
        (choice,) = self.json["choices"]
        return choice

    @property
    def text(self) -> str:
        text: str = self.choice["message"]["content"]
        return text

    @property
    def usage(self) -> dict[str, int]:
        counts = ("prompt_tokens", "completion_tokens", "total_tokens")
        return {name: self.json["usage"][name] for name in counts}

    @property
    def message(self) -> str:
        """Of an error in vLLM's usual shape."""
        assert set(self.json) == {"error"}
        assert set(self.json["error"]) == {"message", "type", "param", "code"}
        assert self.json["error"]["code"] == self.status
        message: str = self.json["error"]["message"]
        return message


@dataclass
class Endpoint:
    """A server."""

    engine: str
    url: str
    """Ends in ``/v1``."""
    model: str
    key: str
    media: Path
    """A folder whose files it may read, if it may read any."""
    client: httpx2.Client = field(init=False)

    def __enter__(self) -> Endpoint:
        # A connection of its own for each request: vLLM closes idle ones after 5 s, and may cross a request.
        alone = httpx2.Limits(max_keepalive_connections=0)
        url = self.url.removesuffix("/v1")
        self.client = httpx2.Client(base_url=url, timeout=PATIENCE_S, trust_env=False, limits=alone)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        key: str | None = "",
    ) -> Reply:
        """``key``: an Authorization header's value, None for no such header; by default the right one."""
        sent = {"Authorization": f"Bearer {self.key}" if key == "" else key, "Content-Type": "application/json"}
        given = {name: value for name, value in {**sent, **(headers or {})}.items() if value is not None}
        how = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        reply = self.client.request(method, path, headers=given, **how)
        is_json = reply.headers.get("Content-Type", "").startswith("application/json")
        return Reply(reply.status_code, reply.headers, reply.content, reply.json() if is_json else None)

    def get(self, path: str, **how: Any) -> Reply:
        return self.call("GET", path, **how)

    def chat(self, body: Any, **how: Any) -> Reply:
        return self.call("POST", CHAT, body, **how)

    def ask(self, *parts: str | dict[str, Any], **fields: Any) -> Reply:
        """One user message; texts are made parts. Greedy and short unless ``fields`` say otherwise."""
        return self.chat(self.asking(*parts, **fields))

    def asking(self, *parts: str | dict[str, Any], **fields: Any) -> dict[str, Any]:
        content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
        messages = [{"role": "user", "content": content}]
        return {"model": self.model, "messages": messages, "max_tokens": 16, "temperature": 0} | fields

    def metrics(self) -> dict[str, float]:
        """Of /metrics: each name's values added up."""
        sums: dict[str, float] = {}
        for line in self.get("/metrics", key=None).body.decode().splitlines():
            if not line.startswith("#"):
                name = line.partition("{")[0].partition(" ")[0]
                sums[name] = sums.get(name, 0.0) + float(line.rpartition(" ")[2])
        return sums


def picture(
    color: tuple[int, int, int] = RED,
    size: tuple[int, int] = (96, 96),
    *,
    mode: str = "RGB",
    file_format: str = "PNG",
) -> bytes:
    """A circle on grey, as a file."""
    width, height = size
    image = Image.new("RGB", size, (128, 128, 128))
    ImageDraw.Draw(image).ellipse((width / 4, height / 4, width * 3 / 4, height * 3 / 4), fill=color)
    file = io.BytesIO()
    image.convert(mode).save(file, file_format)
    return file.getvalue()


def data_url(content: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def image(source: bytes | str | None, *, uuid: str | None = None, mime: str = "image/png") -> dict[str, Any]:
    """An image part: a file's content, a URL, or only a name."""
    url = data_url(source, mime) if isinstance(source, bytes) else source
    named = {} if uuid is None else {"uuid": uuid}
    return {"type": "image_url", "image_url": None if url is None else {"url": url}, **named}
