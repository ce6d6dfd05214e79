from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from captionqa.cli.caption import caption
from captionqa.cli.qa import qa


def parsed(command: click.Command, *arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What the command's function would be called with."""
    result, values = invoke(command, *arguments, env=env)
    assert result.exit_code == 0, result.output
    return values


def invoke(command: click.Command, *arguments: str, env: dict[str, str] | None) -> tuple[Result, dict[str, Any]]:
    values: dict[str, Any] = {}
    listening = [click.Command(each.name, params=each.params, callback=values.update) for each in (caption, qa)]
    required = ["--dataset-path", "d"] + (["--question-path", "q"] if command is qa else [])
    group = click.Group("captionqa", listening)
    return CliRunner(env=env).invoke(group, [str(command.name), *required, *arguments]), values


def config(folder: Path, text: str) -> list[str]:
    path = folder / "captionqa.toml"
    path.write_text(text)
    return ["--config", str(path)]


def refusal(command: click.Command, *arguments: str) -> str:
    result, _ = invoke(command, *arguments, env=None)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "variable", "in_file", "seed"),
    [
        (["--seed", "1"], "2", "seed = 3", 1),
        ([], "2", "seed = 3", 2),
        ([], None, "seed = 3", 3),
        ([], None, "", None),
    ],
)
def test_command_line_before_environment_before_file_before_default(
    tmp_path: Path, arguments: list[str], variable: str | None, in_file: str, seed: int | None
) -> None:
    env = {"CAPTIONQA_SEED": variable} if variable else None
    assert parsed(caption, *arguments, *config(tmp_path, in_file), env=env)["seed"] == seed


def test_the_file_itself_may_be_named_by_the_environment(tmp_path: Path) -> None:
    _, path = config(tmp_path, "seed = 3")
    assert parsed(caption, env={"CAPTIONQA_CONFIG": path})["seed"] == 3


def test_every_kind_of_value_can_stand_in_the_file(tmp_path: Path) -> None:
    text = """
        server-url = ["http://gpu1:1", "http://gpu2:1"]
        output-dir = "results"
        max_tokens = 512
        temperature = 0
        max-concurrency = 8
        retry-failed = false
        overwrite = true
        json = true
        system-prompt = "Be brief."
    """
    values = parsed(caption, *config(tmp_path, text))
    assert values["server_url"] == ("http://gpu1:1", "http://gpu2:1")
    assert values["output_dir"] == Path("results")
    assert (values["max_tokens"], values["temperature"], values["max_concurrency"]) == (512, 0.0, 8)
    assert (values["retry_failed"], values["overwrite"], values["as_json"]) == (False, True, True)
    assert values["system_prompt"] == "Be brief."


def test_one_server_in_the_file_needs_no_list(tmp_path: Path) -> None:
    assert parsed(caption, *config(tmp_path, 'server-url = "http://gpu1:1"'))["server_url"] == ("http://gpu1:1",)


def test_a_commands_table_is_for_that_command_and_wins(tmp_path: Path) -> None:
    text = 'seed = 1\n[caption]\nseed = 2\nprompt-style = "LONG"\n[qa]\nmax-tokens = 2048\n'
    of_caption = parsed(caption, *config(tmp_path, text))
    of_qa = parsed(qa, *config(tmp_path, text))
    assert (of_caption["seed"], of_caption["max_tokens"], of_caption["prompt_style"]) == (2, None, "LONG")
    assert (of_qa["seed"], of_qa["max_tokens"], of_qa["prompt_style"]) == (1, 2048, "default")


def test_a_name_of_another_command_at_the_top_is_passed_over(tmp_path: Path) -> None:
    assert parsed(qa, *config(tmp_path, "skip-invalid = true"))["skip_invalid"]
    assert "skip_invalid" not in parsed(caption, *config(tmp_path, "skip-invalid = true"))


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("max-token = 5", ["unknown name 'max-token'. Known for caption: api-key-file, ", "json", "max-tokens, "]),
        ("[caption]\nmax-token = 5", ["unknown name 'max-token'. Known for caption: "]),
        ("[caption]\nskip-invalid = true", ["unknown name 'skip-invalid'. Known for caption: "]),
        ("config = 'other.toml'", ["unknown name 'config'"]),
        ("caption = 3", ["unknown name 'caption'"]),
        ("[captoin]\nseed = 5", ["unknown table [captoin]. Known: [caption], [qa]"]),
        ("[qa]\nmax-token = 5", []),
        ("seed = ", ["captionqa.toml: Invalid value (at "]),
        ("seed = 'x'", ["'--seed'", "'x' is not a valid integer"]),
        ("max-concurrency = 0", ["'--max-concurrency'", "'0' is neither 'auto' nor a number from 1 on"]),
    ],
)
def test_a_mistake_in_the_file_is_named_and_nothing_passed_over(
    tmp_path: Path, text: str, fragments: list[str]
) -> None:
    if not fragments:  # another command's table is that command's business
        parsed(caption, *config(tmp_path, text))
        return
    shown = refusal(caption, *config(tmp_path, text))
    assert [fragment for fragment in fragments if fragment not in shown] == []


@pytest.mark.parametrize("line", ["max-tokens = 'x'", "[caption]\nmax_tokens = 'x'"])
def test_a_bad_value_is_told_with_the_place_that_it_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config(tmp_path, line)
    in_file = refusal(caption, "--config", "captionqa.toml")
    assert "Invalid value for '--max-tokens' (config file: captionqa.toml): 'x' is not" in in_file
    config(tmp_path, "max-tokens = 5")
    monkeypatch.setenv("CAPTIONQA_MAX_TOKENS", "x")
    in_environment = refusal(caption, "--config", "captionqa.toml")
    assert "Invalid value for '--max-tokens' (env var: 'CAPTIONQA_MAX_TOKENS'): 'x' is not" in in_environment


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "missing.toml: [Errno 2]" in refusal(caption, "--config", str(tmp_path / "missing.toml"))
    path = tmp_path / "latin.toml"
    path.write_bytes(b"system-prompt = 'caf\xe9'")
    assert "latin.toml: 'utf-8' codec" in refusal(caption, "--config", str(path))


@pytest.mark.parametrize(("given", "value"), [("auto", None), ("1", 1), ("64", 64)])
def test_concurrency_is_auto_or_a_number(given: str, value: int | None) -> None:
    assert parsed(caption, "--max-concurrency", given)["max_concurrency"] == value
    assert parsed(caption)["max_concurrency"] is None


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5"])
def test_any_other_concurrency_is_refused(given: str) -> None:
    assert f"'{given}' is neither 'auto' nor a number from 1 on" in refusal(caption, "--max-concurrency", given)


@pytest.mark.parametrize("command", [caption, qa], ids=["caption", "qa"])
def test_every_option_has_its_environment_variable_and_shows_it(command: click.Command) -> None:
    text = "".join(command.get_help(click.Context(command, info_name=command.name)).split())
    for parameter in command.params:
        assert isinstance(parameter, click.Option)
        name = parameter.opts[0].removeprefix("--").replace("-", "_").upper()
        assert parameter.envvar == f"CAPTIONQA_{name}"
        assert f"envvar:CAPTIONQA_{name}" in text
        assert parameter.help


def test_a_flag_and_a_list_from_the_environment() -> None:
    env = {"CAPTIONQA_OVERWRITE": "1", "CAPTIONQA_RETRY_FAILED": "false", "CAPTIONQA_SERVER_URL": "gpu1:1 gpu2:1"}
    values = parsed(caption, env=env)
    assert (values["overwrite"], values["retry_failed"]) == (True, False)
    assert values["server_url"] == ("gpu1:1", "gpu2:1")


def test_columns_to_group_by_come_from_everywhere_an_option_may(tmp_path: Path) -> None:
    assert parsed(qa, "--group-by", "level", "--group-by", "a b")["group_by"] == ("level", "a b")
    assert parsed(qa, env={"CAPTIONQA_GROUP_BY": "level source"})["group_by"] == ("level", "source")
    assert parsed(qa, *config(tmp_path, '[qa]\ngroup-by = ["level", "source"]'))["group_by"] == ("level", "source")
    assert parsed(qa, *config(tmp_path, 'group-by = "level"'))["group_by"] == ("level",)
