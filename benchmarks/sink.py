"""A server that costs as little as possible: it takes any body and gives one fixed completion, so that a client's own
cost shows. Speaks just enough HTTP/1.1 for keep-alive clients. Runs in a process of its own."""

from __future__ import annotations

import asyncio
import json

COMPLETION = json.dumps(
    {
        "id": "chatcmpl-sink",
        "object": "chat.completion",
        "created": 1,
        "model": "sink",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "A picture."}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 300, "completion_tokens": 3, "total_tokens": 303},
    }
).encode()
MODELS = json.dumps(
    {"object": "list", "data": [{"id": "sink", "object": "model", "created": 1, "owned_by": "x"}]}
).encode()


class Sink(asyncio.Protocol):
    """Reads the head of a request, skips its body, answers."""

    def __init__(self) -> None:
        self._head = b""
        self._body_left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        while data:
            if self._body_left:
                taken = min(self._body_left, len(data))
                self._body_left -= taken
                data = data[taken:]
                if self._body_left == 0:
                    self._answer(COMPLETION)
                continue
            head, end, rest = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head, data = b"", rest
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            self._body_left = int(lengths[0].partition(b":")[2]) if lengths else 0
            if self._body_left == 0:
                self._answer(MODELS)

    def _answer(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
