"""A talk: questions to one server, with their pictures and what was said before, each answer streamed.

Only what was answered becomes part of the conversation. A server that went away is looked for again by the next
question.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import BinaryIO

from captionqa.core.conversation import Conversation, Picture
from captionqa.core.requests import TALK_SAMPLING
from captionqa.core.thinking import thinking_fields
from captionqa.data.given_images import GivenImage, load_picture
from captionqa.errors import ServerError, Stopped
from captionqa.run.generation import Generation
from captionqa.run.store import Say
from captionqa.run.streaming import Answer, AnswerStream, FoundServer, Piece, StreamClient


class Talk:
    """A conversation that is going on. Use as a context manager, or `close` it."""

    def __init__(
        self,
        find: Callable[[], FoundServer],
        generation: Generation,
        *,
        request_timeout_s: float,
        say: Say = lambda _: None,
    ) -> None:
        """``find``: looks for the server; called by the first question, and by the next one after it went away."""
        self.conversation = Conversation()
        self.generation = generation
        self.last: Answer | None = None
        """The last complete answer."""
        self._find = find
        self._request_timeout_s = request_timeout_s
        self._say = say
        self._client: StreamClient | None = None

    @property
    def server(self) -> FoundServer:
        """Looked for unless it is known. Raises: as `finding.find_server`."""
        return self._connected().server

    def add_image(self, image: GivenImage, stdin: BinaryIO | None = None) -> Picture:
        """The next question is about this image too. Raises: InputError.

        Args:
            stdin: what «-» stands for; None takes «-» for a file's name.
        """
        picture = load_picture(image, self.generation.policy(), stdin)
        self.conversation.waiting.append(picture)
        return picture

    def ask(self, question: str) -> Generator[Piece, None, None]:
        """The answer, piece by piece; when the iteration has ended, `last` is the whole of it.

        An iteration that is left early keeps what had come by then in the conversation.

        Raises: Unanswered and other ServerErrors; the conversation is then what it was before.
        """
        self.last = None
        client = self._connected()
        generation = self.generation
        messages = self.conversation.messages(question, generation.system_prompt)
        fields = generation.sampling(TALK_SAMPLING).fields() | thinking_fields(generation.thinking)
        stream = client.stream(messages, fields, self._say)
        try:
            yield from stream
        except (GeneratorExit, KeyboardInterrupt, Stopped):
            if stream.text:
                self.conversation.record(question, stream.text, complete=False)
            raise
        except ServerError:
            if stream.unreachable:
                self.close()
            raise
        self._record(question, stream)

    def _record(self, question: str, stream: AnswerStream) -> None:
        assert stream.answer is not None, "a stream without a complete answer raises"
        self.last = stream.answer
        self.conversation.record(question, stream.answer.text)

    def _connected(self) -> StreamClient:
        if self._client is None:
            self._client = StreamClient(self._find(), request_timeout_s=self._request_timeout_s)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
