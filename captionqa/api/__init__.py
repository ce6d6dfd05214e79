"""The Python API: what the commands do, for programs and notebooks. docs/python.md has it by example.

    ask, Chat           one question, a conversation
    caption, qa         runs: resumable, with the same files, identity and errors as the commands
    read_run            the results of a run, as they are now
    extract_letter      the letter that an output chooses
    grade               whether an output answers its question rightly

Every name here is also a name of ``captionqa`` itself, where it is imported when it is first used. Whatever goes wrong
is an exception of `captionqa.errors`; an argument of another kind is a TypeError. Everything works where an event loop
is running already, as in a notebook.
"""

from captionqa.api.grading import grade
from captionqa.api.results import RunResult, read_run
from captionqa.api.runs import RunOptions, caption, qa
from captionqa.api.server import Server
from captionqa.api.talking import Chat, ask
from captionqa.api.watching import Progressed
from captionqa.core.extraction import extract_letter
from captionqa.run.generation import Generation
from captionqa.run.streaming import Answer, Piece

__all__ = [
    "Answer",
    "Chat",
    "Generation",
    "Piece",
    "Progressed",
    "RunOptions",
    "RunResult",
    "Server",
    "ask",
    "caption",
    "extract_letter",
    "grade",
    "qa",
    "read_run",
]
