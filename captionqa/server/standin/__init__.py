"""A stand-in for a vLLM server: real sockets, vLLM's protocol, answers from pixels, faults on demand. Not a model.

For the demo, tests and benchmarks of the client on machines without a GPU. What flows through it:

    request    body → ChatRequest, refusing what vLLM refuses
    limits     sampling parameters out of range
    vision     picture → what can be seen of it
    media      pictures that were sent before, by content or by uuid
    answers    question + what was seen → text
    wire       text → vLLM's bytes
    engine     places, caches, counts           faults    what goes wrong with which request
    app        HTTP                             server    foreground and thread
"""

from captionqa.server.standin.app import build_app
from captionqa.server.standin.config import MODEL, StandInConfig
from captionqa.server.standin.faults import Fault, Faults
from captionqa.server.standin.server import StandInServer, serve

__all__ = ["MODEL", "Fault", "Faults", "StandInConfig", "StandInServer", "build_app", "serve"]
