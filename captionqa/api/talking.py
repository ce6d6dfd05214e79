"""Questions from a program: one, or a conversation; answers whole or piece by piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from captionqa.api.server import Server
from captionqa.api.threads import apart
from captionqa.core.conversation import Turn
from captionqa.data.given_images import GivenImage
from captionqa.run.finding import find_server
from captionqa.run.generation import Generation
from captionqa.run.streaming import Answer, FoundServer, Piece
from captionqa.run.talk import Talk


def ask(
    images: GivenImage | Iterable[GivenImage],
    question: str,
    *,
    server: Server = Server(),
    generation: Generation = Generation(),
    output_dir: str | os.PathLike[str] = "output",
) -> Answer:
    """One question about an image, about several, or about none (an empty list).

    Args:
        images: paths, URLs (fetched here, not by the server), bytes of image files, Pillow pictures.
        output_dir: where servers are published, for a server that is not named.

    Raises: InputError for an image that cannot be sent; UsageError when there is no server; ServerError; among them
        Unanswered for an answer that failed or is not complete. An answer that was cut at max_tokens is returned:
        see `Answer.truncated`.
    """
    with Chat(server=server, generation=generation, output_dir=output_dir) as chat:
        return chat.ask(question, images)


class Chat:
    """A conversation with one server. Use as a context manager, or `close` it."""

    def __init__(
        self,
        *,
        server: Server = Server(),
        generation: Generation = Generation(),
        output_dir: str | os.PathLike[str] = "output",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``say`` is told which server is asked, what is waited for, and what is tried again."""

        def find() -> FoundServer:
            servers = server.servers(Path(output_dir), say)
            return apart(
                lambda remote: find_server(servers, server.model, wait_s=server.wait_s, say=say, remote=remote)
            )

        self._talk = Talk(find, generation, request_timeout_s=server.request_timeout_s, say=say)

    def ask(self, question: str, images: GivenImage | Iterable[GivenImage] = ()) -> Answer:
        """The whole answer. What was said before is sent along. Raises: as `ask`; the conversation is then unchanged,
        except that the images wait for the next question."""
        for _ in self.stream(question, images):
            pass
        assert self._talk.last is not None, "an iteration that ends without an error has an answer"
        return self._talk.last

    def stream(self, question: str, images: GivenImage | Iterable[GivenImage] = ()) -> Generator[Piece, None, None]:
        """The same, piece by piece; when the iteration has ended, `last` is the whole answer."""
        single = isinstance(images, (str, os.PathLike, bytes)) or not isinstance(images, Iterable)
        for image in (images,) if single else tuple(images):  # type: ignore[arg-type]  # one or several
            self._talk.add_image(image)  # type: ignore[arg-type]
        yield from self._talk.ask(question)

    @property
    def last(self) -> Answer | None:
        """The last answer; None when the last question got none."""
        return self._talk.last

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said so far."""
        return tuple(self._talk.conversation.turns)

    @property
    def generation(self) -> Generation:
        """How the next question is answered; may be set."""
        return self._talk.generation

    @generation.setter
    def generation(self, generation: Generation) -> None:
        self._talk.generation = generation

    def reset(self) -> None:
        """Forget everything that was said, and every image."""
        self._talk.conversation.reset()

    def close(self) -> None:
        self._talk.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
