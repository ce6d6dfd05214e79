"""A server as a connection sees it, that reads image parts as vLLM 0.32 does: by payload, by path, and by uuid."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from captionqa.core.replies import Completion, classify_error

TEXT_TOKENS = 10


class PictureServer:
    """Answers with the bytes of its first picture, as far as it can be told from outside what it looked at."""

    def __init__(self, url: str = "http://a/v1") -> None:
        self.url = url
        self.capacity = 100
        """Pictures that it remembers by their uuid; the least recently used go first."""
        self.refers = True
        """Whether it looks at uuids at all."""
        self.folder: Path | None = None
        """The folder whose files it may read."""
        self.elsewhere: Path | None = None
        """Where its host keeps other files under the same names."""
        self.blind = False
        """It answers whatever is asked, and looks at no picture."""
        self.hold: asyncio.Event | None = None
        self.down: Exception | None = None
        self.seen: list[str] = []
        """How the pictures came: «whole», «file», «reference» or «miss»."""
        self._known: OrderedDict[str, str] = OrderedDict()

    async def models(self) -> dict[str, int | None]:
        return {"org/model": 4096}

    async def complete(self, body: bytes) -> Completion:
        await asyncio.sleep(0)
        if self.down:
            raise self.down
        content = json.loads(body)["messages"][-1]["content"]
        parts = [part for part in content if part["type"] == "image_url"] if isinstance(content, list) else []
        pictures = [self._picture(part) for part in parts]
        if self.hold is not None:
            await self.hold.wait()
        tokens = TEXT_TOKENS if self.blind else TEXT_TOKENS + sum(map(len, pictures))
        return Completion((pictures or ["none"])[0], "stop", None, {"prompt_tokens": tokens})

    def forget(self) -> None:
        self._known.clear()

    def _picture(self, part: dict[str, Any]) -> str:
        if self.blind:
            return "unseen"
        uuid = part.get("uuid") if self.refers else None
        if part["image_url"] is None:
            if uuid in self._known:
                self.seen.append("reference")
                self._known.move_to_end(uuid)
                return self._known[uuid]
            self.seen.append("miss")
            raise refused(400, "Cache miss for image at index 0 but data is not provided.")
        url = part["image_url"]["url"]
        picture = self._file(url) if url.startswith("file:") else url.partition(",")[2]
        self.seen.append("file" if url.startswith("file:") else "whole")
        if uuid is not None:
            self._known[uuid] = picture
            while len(self._known) > self.capacity:
                self._known.popitem(last=False)
        return picture

    def _file(self, url: str) -> str:
        import pybase64

        path = Path(unquote(urlsplit(url).path))
        if self.folder is None:
            raise refused(500, "Cannot load local files without `--allowed-local-media-path`.")
        if self.folder not in path.parents:
            text = f"The file path {path} must be a subpath of `--allowed-local-media-path {self.folder}`."
            raise refused(400, text)
        if self.elsewhere is not None:
            path = self.elsewhere / path.relative_to(self.folder)
        if not path.exists():
            raise refused(500, f"[Errno 2] No such file or directory: '{path}'")
        return pybase64.b64encode(path.read_bytes()).decode()


def refused(status: int, message: str) -> Exception:
    return classify_error(status, {}, json.dumps({"error": {"message": message}}).encode())
