"""Addresses of a server: a free port to listen on, where its supervisor reaches it, and where clients do."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

from captionqa.errors import UsageError

_EVERYWHERE = ("0.0.0.0", "::", "")


def free_port(host: str, wanted: int | None = None) -> int | None:
    """A port that a server can listen on, found by listening on it for a moment: ``wanted`` or None when it is taken,
    any when ``wanted`` is None. It may be gone when the server comes to it.

    Raises: UsageError for a host that is no address of this machine.
    """
    family, address = _resolve(host)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a server that has just ended (TIME_WAIT) do not make its port taken. Not
        # SO_REUSEPORT, which vLLM sets: with it, two vLLMs of one user share a port without a word.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, wanted or 0))
            probe.listen(1)  # two that only bind do not conflict on Linux, two that listen do
        except PermissionError as error:
            raise UsageError(f"port {wanted}: not allowed to you ({error.strerror}). Give one from 1024 on.") from error
        except OSError as error:
            if error.errno == socket.errno.EADDRINUSE:  # type: ignore[attr-defined]
                return None
            raise UsageError(
                f"--host {host}: cannot be listened on ({error.strerror}). Give an address of this machine, or 0.0.0.0 "
                "for all of them."
            ) from error
        port: int = probe.getsockname()[1]
        return port


def _resolve(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise UsageError(f"--host {host}: not known ({error.strerror}). Give an address of this machine.") from error
    family, _, _, _, address = found[0]
    return family, str(address[0])


def is_loopback(host: str) -> bool:
    """Whether only this node can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def base_url(host: str, port: int) -> str:
    """Ends in ``/v1``."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def local_host(host: str) -> str:
    """Where this machine reaches a server that listens on ``host``."""
    return {"::": "::1"}.get(host, "127.0.0.1") if host in _EVERYWHERE else host


def published_host(host: str, node: str) -> str:
    """What clients on other nodes are told."""
    return node if host in _EVERYWHERE else host


def choose_node_name(candidates: Iterable[str | None], resolves: Callable[[str], bool]) -> str | None:
    """The first name that leads anywhere. SLURM's name of a node need not be one that the network knows, and the full
    name of a machine is often «localhost» or made up from its address."""
    for name in candidates:
        if name and not name.startswith(("localhost", "ip6-")) and not name.endswith(".arpa") and resolves(name):
            return name
    return None


def node_name(slurm_name: str | None) -> str:
    """This node's name for other nodes; 127.0.0.1 when it has none that resolves."""
    candidates = (slurm_name, socket.getfqdn(), socket.gethostname())
    return choose_node_name(candidates, _resolves) or "127.0.0.1"


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except (OSError, UnicodeError):
        return False
