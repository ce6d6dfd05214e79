from __future__ import annotations

from pathlib import Path

import pytest

from captionqa.errors import UsageError
from captionqa.run.choosing import OWN_KEY_VARIABLES, base_url, choose_key, choose_leases, choose_urls
from captionqa.slurm.jobs import Job


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://gpu1:8000", "http://gpu1:8000/v1"),
        ("http://gpu1:8000/", "http://gpu1:8000/v1"),
        ("http://gpu1:8000/v1", "http://gpu1:8000/v1"),
        ("http://gpu1:8000/v1/", "http://gpu1:8000/v1"),
        ("http://gpu1:8000/v1/chat/completions", "http://gpu1:8000/v1"),
        ("http://gpu1:8000/v1/chat/completions/", "http://gpu1:8000/v1"),
        (" gpu1:8000\n", "http://gpu1:8000/v1"),
        ("gpu1", "http://gpu1/v1"),
        ("gpu1:8000/v1/", "http://gpu1:8000/v1"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("https://api.example/openai", "https://api.example/openai/v1"),
        ("https://hub.example/user/me@site/proxy/8000/v1", "https://hub.example/user/me@site/proxy/8000/v1"),
        ("HTTP://gpu1:8000", "http://gpu1:8000/v1"),
    ],
)
def test_a_url_works_in_every_form_and_is_made_one(given: str, url: str) -> None:
    assert base_url(given) == url
    assert base_url(url) == url


@pytest.mark.parametrize(
    "given",
    [
        "",
        "http://",
        "http://:8000",
        "ftp://gpu1",
        "http://gpu1:0",
        "http://gpu1:70000",
        "http://gpu1:port",
        "http://[::1",
        "http://gpu1:8000/v1?key=1",
        "http://gpu1:8000/#x",
        "http://gpu1:8000 http://gpu2:8000",
    ],
)
def test_what_is_no_base_url_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(UsageError, match=r"http://gpu-node:8000") as raised:
        base_url(given)
    assert repr(given) in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [
        "http://me:s3cret@gpu1:8000",
        "me:s3cret@gpu1",
        "http://s3cret@gpu1",
        "http://me:s3cret@gpu1:99999",
        "http://me:s3cret@gpu1?x=1",
        "http://me:s3/cret@gpu1",
        "ftp://me:s3cret@gpu1",
        "http://me:s3cret@[::1",
    ],
)
def test_a_password_in_a_url_is_refused_and_never_shown(given: str) -> None:
    with pytest.raises(UsageError) as raised:
        base_url(given)
    assert "s3" not in str(raised.value)


ALL = {
    "CAPTIONQA_SERVER_URL": "http://captionqa:1",
    "VLLM_BASE_URL": "http://vllm:1",
    "OPENAI_BASE_URL": "http://openai:1/v1/",
}


@pytest.mark.parametrize(
    ("given", "unset", "url", "source"),
    [
        (("http://given:1",), (), "http://given:1/v1", "--server-url"),
        ((), (), "http://captionqa:1/v1", "CAPTIONQA_SERVER_URL"),
        ((), ("CAPTIONQA_SERVER_URL",), "http://vllm:1/v1", "VLLM_BASE_URL"),
        ((), ("CAPTIONQA_SERVER_URL", "VLLM_BASE_URL"), "http://openai:1/v1", "OPENAI_BASE_URL"),
    ],
)
def test_the_first_source_that_names_a_server_wins(
    given: tuple[str, ...], unset: tuple[str, ...], url: str, source: str
) -> None:
    environment = {name: value for name, value in ALL.items() if name not in unset}
    assert choose_urls(given, environment) == ((url,), source)
    blank = {**ALL, **dict.fromkeys(unset, " ")}
    assert choose_urls(given, blank) == ((url,), source)


def test_several_servers_are_kept_in_order_and_once_each() -> None:
    urls = ("http://gpu1:1/v1", "http://gpu2:1/v1")
    assert choose_urls(("gpu1:1", "gpu2:1/", "http://gpu1:1/v1"), {}) == (urls, "--server-url")
    assert choose_urls((), {"VLLM_BASE_URL": "gpu1:1  gpu2:1"}) == (urls, "VLLM_BASE_URL")


def test_without_any_url_nothing_is_chosen() -> None:
    assert choose_urls((), {"VLLM_BASE_URL": " "}) is None


def test_without_a_server_the_message_says_what_to_do(tmp_path: Path) -> None:
    for queue, said in ((None, ""), ({}, ", and no job that brings one up there is in the queue")):
        with pytest.raises(UsageError, match=rf"none is published in /.*servers{said}\.\n(.|\n)*--server-url"):
            choose_leases(tmp_path, None, lambda queue=queue: queue)


def test_a_server_for_another_output_folder_is_pointed_out(tmp_path: Path) -> None:
    job = Job("7", "7", "captionqa-server", "RUNNING", comment="captionqa-server", work_dir=str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match=rf"but one for {tmp_path}/elsewhere/output is: give that as --output-dir"):
        choose_leases(tmp_path, None, lambda: {job.id: job})


KEYS = {"CAPTIONQA_API_KEY": "one", "VLLM_API_KEY": "two\n", "OPENAI_API_KEY": "three"}


@pytest.mark.parametrize(
    ("blank", "found"),
    [
        ((), ("one", "CAPTIONQA_API_KEY")),
        (("CAPTIONQA_API_KEY",), ("two", "VLLM_API_KEY")),
        (("CAPTIONQA_API_KEY", "VLLM_API_KEY"), ("three", "OPENAI_API_KEY")),
        (tuple(KEYS), (None, "none")),
    ],
)
def test_the_first_source_that_has_a_key_wins(blank: tuple[str, ...], found: tuple[str | None, str]) -> None:
    for nothing in ("", " \n"):
        assert choose_key(None, {**KEYS, **dict.fromkeys(blank, nothing)}) == found


def test_for_leased_servers_only_a_key_that_is_meant_for_captionqa_counts() -> None:
    assert choose_key(None, KEYS, OWN_KEY_VARIABLES) == ("one", "CAPTIONQA_API_KEY")
    assert choose_key(None, {**KEYS, "CAPTIONQA_API_KEY": ""}, OWN_KEY_VARIABLES) == (None, "none")


def test_a_key_file_wins_over_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("s3cret\n")
    assert choose_key(path, KEYS) == ("s3cret", str(path))


@pytest.mark.parametrize("content", [b"", b" \n", b"s3cret another", b"s3cret\nanother\n", b"s3cret\xff"])
def test_a_file_that_is_no_key_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"--api-key-file .*key: ") as raised:
        choose_key(path, KEYS)
    assert "s3cret" not in str(raised.value)


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing: cannot be read"):
        choose_key(tmp_path / "missing", {})
