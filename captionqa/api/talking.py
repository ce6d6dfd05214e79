"""Questions from a program: one, or a conversation; answers whole or piece by piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from captionqa.api.kinds import GENERATION, refuse_other_kind
from captionqa.api.server import Server, server_of
from captionqa.api.threads import apart
from captionqa.core.conversation import Turn
from captionqa.data.given_images import GivenImage
from captionqa.data.web_images import is_url
from captionqa.errors import UsageError
from captionqa.run.finding import find_server
from captionqa.run.generation import Generation
from captionqa.run.streaming import Answer, FoundServer, Piece
from captionqa.run.talk import Talk


def ask(
    images: GivenImage | Iterable[GivenImage],
    question: str,
    *,
    server: Server | str = Server(),
    generation: Generation = Generation(),
    output_dir: str | os.PathLike[str] = "output",
) -> Answer:
    """One question about an image, about several, or about none (an empty list).

    Args:
        images: paths, URLs (fetched here, not by the server), bytes of image files, Pillow pictures.
        server: a `Server`, or its URL alone.
        output_dir: where servers are published, for a server that is not named.

    Raises: InputError for an image that cannot be sent; UsageError when there is no server; ServerError; among them
        Unanswered for an answer that failed or is not complete. An answer that was cut at max_tokens is returned:
        see `Answer.truncated`.
    """
    _refuse_swapped(question)
    with _talk(server, generation, Path(output_dir), lambda _: None, several=False) as talk:
        return _ask(talk, question, images)


def _talk(
    given: Server | str, generation: Generation, output_dir: Path, say: Callable[[str], None], *, several: bool
) -> Talk:
    """``several``: more than one question will be asked."""
    server = server_of(given)
    refuse_other_kind("generation", generation, Generation, GENERATION)

    def find() -> FoundServer:
        servers = server.servers(output_dir, say)
        return apart(
            lambda remote: find_server(
                servers, server.model, wait_s=server.wait_s, say=say, remote=remote, several=several
            )
        )

    return Talk(find, generation, request_timeout_s=server.request_timeout_s, say=say)


def _stream(talk: Talk, question: str, images: GivenImage | Iterable[GivenImage]) -> Generator[Piece, None, None]:
    single = isinstance(images, (str, os.PathLike, bytes)) or not isinstance(images, Iterable)
    for image in (images,) if single else tuple(images):  # type: ignore[arg-type]  # one or several
        talk.add_image(image)  # type: ignore[arg-type]
    yield from talk.ask(question)


def _ask(talk: Talk, question: str, images: GivenImage | Iterable[GivenImage]) -> Answer:
    for _ in _stream(talk, question, images):
        pass
    assert talk.last is not None, "an iteration that ends without an error has an answer"
    return talk.last


def _refuse_swapped(question: object) -> None:
    """Raises: UsageError for a question that can be none: an image's path or URL, bytes, a picture, a list."""
    named = isinstance(question, str) and (os.path.isfile(question) or (is_url(question) and " " not in question))
    if not isinstance(question, str) or named or not question.strip():
        shown = repr(question) if isinstance(question, str) else type(question).__name__
        raise UsageError(
            f"{shown} stands where the question does. ask(images, question) takes the images first, Chat.ask(question, "
            "images) the question first: ask('photo.jpg', 'What is it?')."
        )


class Chat:
    """A conversation with one server. Use as a context manager, or `close` it."""

    def __init__(
        self,
        *,
        server: Server | str = Server(),
        generation: Generation = Generation(),
        output_dir: str | os.PathLike[str] = "output",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """``say`` is told which server is asked, what is waited for, and what is tried again."""

        self._talk = _talk(server, generation, Path(output_dir), say, several=True)

    def ask(self, question: str, images: GivenImage | Iterable[GivenImage] = ()) -> Answer:
        """The whole answer. What was said before is sent along. Raises: as `ask`; the conversation is then unchanged,
        except that the images wait for the next question."""
        _refuse_swapped(question)
        return _ask(self._talk, question, images)

    def stream(self, question: str, images: GivenImage | Iterable[GivenImage] = ()) -> Generator[Piece, None, None]:
        """The same, piece by piece; when the iteration has ended, `last` is the whole answer."""
        _refuse_swapped(question)
        yield from _stream(self._talk, question, images)

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
        refuse_other_kind("generation", generation, Generation, GENERATION)
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
