"""Which server and which key: the first source that has one, and its name, so that it can be shown.

Server: ``--server-url`` (also CAPTIONQA_SERVER_URL) > VLLM_BASE_URL > OPENAI_BASE_URL > the leases below the output
folder. Key: ``--api-key-file`` > CAPTIONQA_API_KEY > VLLM_API_KEY > OPENAI_API_KEY. A server found by its lease has a
key of its own, which only the first two replace: an OPENAI_API_KEY that is meant for another service, as many have it
in their environment, must neither be sent to it nor lock its owner out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from captionqa.errors import UsageError
from captionqa.run.discovery import AskQueue, FixedServers, LeasedServers, Servers, publishes_below, server_jobs
from captionqa.server.lease import Leases, read_leases, servers_folder
from captionqa.slurm.jobs import Job

URL_VARIABLES = ("CAPTIONQA_SERVER_URL", "VLLM_BASE_URL", "OPENAI_BASE_URL")
KEY_VARIABLES = ("CAPTIONQA_API_KEY", "VLLM_API_KEY", "OPENAI_API_KEY")
OWN_KEY_VARIABLES = KEY_VARIABLES[:1]


def choose_servers(
    urls: Sequence[str],
    key_file: Path | None,
    output_dir: Path,
    *,
    environment: Mapping[str, str],
    ask_queue: AskQueue,
    given_by: str = "--server-url",
) -> tuple[Servers, str]:
    """The servers to ask, and in words which they are, who named them and where their key comes from.

    Args:
        urls: those that the user gave, if any; ``given_by`` says how.

    Raises: UsageError, also when there is none.
    """
    chosen = choose_urls(urls, environment)
    if chosen is not None:
        found, source = chosen
        key, key_source = choose_key(key_file, environment)
        words = f"{', '.join(found)} (from {given_by if urls else source}; {key_words(key, key_source)})"
        return FixedServers(found, key), words
    key, key_source = choose_key(key_file, environment, OWN_KEY_VARIABLES)
    leased, source = choose_leases(output_dir, key, ask_queue)
    return leased, f"{source} ({key_words(key, key_source) if key else 'each with its own key'})"


def key_words(key: str | None, source: str) -> str:
    return f"key from {source}" if key else "no key"


def choose_urls(given: Sequence[str], environment: Mapping[str, str]) -> tuple[tuple[str, ...], str] | None:
    """Base URLs, each ending in ``/v1``, and where they come from; None when none was given."""
    if given:
        return tuple(dict.fromkeys(map(base_url, given))), "--server-url"
    for variable in URL_VARIABLES:
        if environment.get(variable, "").strip():
            return tuple(dict.fromkeys(map(base_url, environment[variable].split()))), variable
    return None


def choose_leases(output_dir: Path, api_key: str | None, ask_queue: AskQueue) -> tuple[LeasedServers, str]:
    """The servers that publish themselves below the output folder, also those whose job has yet to start.

    Raises: UsageError when there is none.
    """
    leases = read_leases(output_dir)
    folder = servers_folder(output_dir)
    if not leases.found:
        jobs = ask_queue()
        if not server_jobs(jobs or {}, output_dir):
            raise UsageError(_no_server(folder.absolute(), leases, jobs))
    return LeasedServers(output_dir, api_key, ask_queue=ask_queue), f"the leases in {folder}"


def _no_server(folder: Path, leases: Leases, jobs: Mapping[str, Job] | None) -> str:
    if jobs is None:
        queue = ""
    else:
        queue = ", and no job that brings one up there is in the queue"
        elsewhere = sorted({str(where) for job in jobs.values() if (where := publishes_below(job)) is not None})
        if elsewhere:
            queue += (
                f" (but one for {', '.join(elsewhere)} is: give that as --output-dir, or work in the folder above it)"
            )
    ignored = "".join(f"\n  {name}.json there is ignored: {why}" for name, why in leases.ignored.items())
    return (
        f"no server: none is published in {folder}{queue}.{ignored}\n"
        "Start one with `sbatch slurm/server.sh` or `captionqa serve`, or give --server-url http://HOST:PORT (or "
        "CAPTIONQA_SERVER_URL). To try things without a GPU: `captionqa standin` in another terminal, or "
        "`captionqa demo`."
    )


def base_url(url: str) -> str:
    """The URL that ends in ``/v1``, whether it was given with it, without it, with a slash, or without a scheme.

    Raises: UsageError for something that is no HTTP URL.
    """
    text = url.strip()
    # A password is not shown, however broken the URL: nor is urlsplit's own message, which may quote it.
    no_url = UsageError(f"server URL {text.rpartition('@')[2]!r} is no base URL. It looks like http://gpu-node:8000.")
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError as error:
        raise no_url from error
    if "@" in parts.netloc:
        raise UsageError("a server URL must not hold a password: it is printed and recorded. Use --api-key-file.")
    whole = parts.scheme in ("http", "https") and parts.hostname and port != 0 and len(text.split()) == 1
    if not whole or parts.query or parts.fragment:
        raise no_url
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    if not path.endswith("/v1"):
        path += "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def choose_key(
    key_file: Path | None, environment: Mapping[str, str], variables: Sequence[str] = KEY_VARIABLES
) -> tuple[str | None, str]:
    """The API key, if any, and where it comes from. Raises: UsageError for a file that cannot be used."""
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--api-key-file {key_file}: cannot be read ({error}).") from error
        if not key or len(key.split()) != 1:
            raise UsageError(f"--api-key-file {key_file}: must hold one key and nothing else.")
        return key, str(key_file)
    for variable in variables:
        if environment.get(variable, "").strip():
            return environment[variable].strip(), variable
    return None, "none"
