"""Outputs produced elsewhere: two forms of lines, and everything that can be wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.outcomes import Outcome
from captionqa.data.outputs import LineProblem, Outputs, parse_output_line
from captionqa.errors import InputError


def plain(**fields: Any) -> Outcome:
    return parse_output_line(json.dumps({"qid": "q", **fields}).encode()).outcome


def batch(
    content: str | None = "B", *, finish_reason: str | None = "stop", message: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A line of `vllm run-batch` for an answered request."""
    said = {"role": "assistant", "content": content, **(message or {})}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "org/some-model",
        "choices": [{"index": 0, "message": said, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "vllm-1", "custom_id": "q", "response": response, "error": None}


def of(fields: dict[str, Any]) -> Outcome:
    return parse_output_line(json.dumps(fields).encode()).outcome


def test_a_plain_line_is_an_answer() -> None:
    outcome = plain(output="The answer is (B).", finish_reason="stop", reasoning="Hm.")
    assert (outcome.kind, outcome.output, outcome.finish_reason) == ("answered", "The answer is (B).", "stop")
    assert outcome.reasoning == "Hm."
    assert plain(output="B").finish_reason is None


def test_reasoning_in_the_text_is_kept_apart() -> None:
    outcome = plain(output="<think>Is it A?</think>B")
    assert (outcome.output, outcome.reasoning, outcome.thought_in_text) == ("B", "Is it A?", True)


@pytest.mark.parametrize("finish_reason", [None, "stop"])
def test_an_output_that_never_stops_thinking_is_an_output_without_an_answer(finish_reason: str | None) -> None:
    outcome = plain(output="<think>Is it A? Or B?", finish_reason=finish_reason)
    assert (outcome.kind, outcome.output) == ("answered", "<think>Is it A? Or B?")


@pytest.mark.parametrize(
    "output", ["The answer is (B).", "<think>Hm.</think>B", "<think>Hm.</think>", "<think>It goes on about B", "", "B"]
)
@pytest.mark.parametrize("finish_reason", ["stop", "length"])
def test_both_forms_make_the_same_of_an_output(output: str, finish_reason: str) -> None:
    one = plain(output=output, finish_reason=finish_reason)
    other = of(batch(output, finish_reason=finish_reason))
    assert (one.kind, one.output, one.reasoning) == (other.kind, other.output, other.reasoning)


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"error": "out of memory"}, "reported_error", "out of memory"),
        ({"error": {"message": "too long", "code": 400}}, "reported_error", "too long"),
        ({"output": None}, "empty", "no text"),
        ({"output": " \n", "finish_reason": "stop"}, "empty", "no text, finish_reason 'stop'"),
    ],
)
def test_a_plain_line_without_an_answer_is_a_failure(fields: dict[str, Any], reason: str, detail: str) -> None:
    outcome = plain(**fields)
    assert (outcome.kind, outcome.reason, outcome.detail, outcome.output) == ("failed", reason, detail, None)


def test_an_empty_output_that_was_cut_is_one() -> None:
    assert plain(output="", finish_reason="length").answered


def test_a_batch_line_is_an_answer_with_its_usage_and_model() -> None:
    found = parse_output_line(json.dumps(batch()).encode())
    assert (found.qid, found.model) == ("q", "org/some-model")
    assert (found.outcome.output, found.outcome.finish_reason) == ("B", "stop")
    assert found.outcome.usage == {"prompt_tokens": 7, "completion_tokens": 2}


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_of_a_batch_line_is_kept_apart(name: str) -> None:
    outcome = of(batch("B", message={name: "Hm."}))
    assert (outcome.output, outcome.reasoning) == ("B", "Hm.")


TOO_LONG = "This model's maximum context length is 10 tokens. However, you requested 20 tokens."


@pytest.mark.parametrize(
    ("fields", "kind", "reason"),
    [
        (
            {"response": {"status_code": 400, "body": None}, "error": {"error": {"message": TOO_LONG, "code": 400}}},
            "rejected",
            "too_long",
        ),
        ({"response": {"status_code": 400, "body": {"error": {"message": TOO_LONG}}}}, "rejected", "too_long"),
        ({"response": {"status_code": 500}, "error": "engine died"}, "failed", "http_500"),
        ({"response": {"status_code": 400}, "error": "bad field"}, "rejected", "http_400"),
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, "failed", "reported_error"),
        ({"response": {"status_code": 200, "body": {"choices": []}}}, "failed", "garbage"),
        (batch("", finish_reason="stop"), "failed", "empty"),
        (batch("The ans", finish_reason="abort"), "failed", "aborted"),
        (batch("The ans", finish_reason="content_filter"), "rejected", "content_filter"),
    ],
)
def test_an_error_in_a_batch_line_is_typed_and_never_an_answer(fields: dict[str, Any], kind: str, reason: str) -> None:
    outcome = of({"custom_id": "q", **fields})
    assert (outcome.kind, outcome.reason, outcome.output) == (kind, reason, None)
    assert outcome.detail


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"qid": "q", "output"', "no JSON"),
        (b'{"qid": "q", "output": "\xff"}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'["q"]', "a JSON list"),
        (b'{"id": "q", "text": "B"}', r"neither qid nor custom_id among its names \(id, text\)"),
        (b'{"qid": "q"}', "no output among its names"),
        (b'{"qid": "q", "output": ["B"]}', "output is a list"),
        (b'{"qid": "q", "output": 3}', "output is a number, not a text"),
        (b'{"qid": "q", "output": "B", "finish_reason": 1}', "finish_reason is a number"),
        (b'{"qid": null, "output": "B"}', "qid None is no id"),
        (b'{"qid": " ", "output": "B"}', "qid ' ' is no id"),
        (b'{"qid": true, "output": "B"}', "qid True is no id"),
        (b'{"custom_id": "q", "response": null}', "neither a response nor an error"),
        (b'{"custom_id": "q", "response": "B"}', "response is a text"),
        (b'{"custom_id": "q", "response": {"status_code": 200, "body": "B"}}', "response.body is a text"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(line: bytes, words: str) -> None:
    with pytest.raises(LineProblem, match=words):
        parse_output_line(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("qid", "custom_id", "output", "finish_reason", "reasoning", "error", "response", "status_code", "body")


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.fixed_dictionaries({}, optional={"status_code": JSON})))
def test_any_object_is_a_typed_outcome_or_a_problem(fields: dict[str, Any]) -> None:
    try:
        found = parse_output_line(json.dumps(fields).encode())
    except LineProblem:
        return  # said by the file's reader, with its line
    assert found.outcome.answered == (found.outcome.output is not None)
    assert found.outcome.answered or found.outcome.reason


def write(folder: Path, *lines: str | dict[str, Any], end: str = "\n") -> Path:
    path = folder / "outputs.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)
    return path


def answer(qid: str | int, output: str = "B") -> dict[str, Any]:
    return {"qid": qid, "output": output}


def test_outputs_are_found_by_qid_in_any_order_and_form(tmp_path: Path) -> None:
    path = write(tmp_path, answer("b", "two"), "", {**batch("one"), "custom_id": "a"}, answer(7, "seven"), end="")
    with Outputs(path) as outputs:
        found = {qid: outcome.output for qid in ("a", "b", "7", "c") if (outcome := outputs.find(qid))}
        assert found == {"a": "one", "b": "two", "7": "seven"}
        assert (len(outputs), outputs.model) == (3, "org/some-model")


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "outputs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(answer("a", "one")).encode())
    with Outputs(path) as outputs:
        found = outputs.find("a")
        assert found is not None
        assert found.output == "one"


def test_what_no_question_wanted_is_known_by_line(tmp_path: Path) -> None:
    with Outputs(write(tmp_path, answer("a"), "", answer("x"), answer("b"), answer("y"))) as outputs:
        assert [outputs.want(qid) for qid in ("a", "b", "c")] == [True, True, False]
        assert (outputs.unwanted, list(outputs.iter_unwanted())) == (2, [(3, "x"), (5, "y")])


def test_every_line_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, answer("a"), "no", answer("b"), answer("a"), '{"qid": "c", "outp', end="")
    with pytest.raises(InputError) as refused:
        Outputs(path)
    words = str(refused.value)
    assert "3 lines cannot be used" in words
    assert "line 2: no JSON" in words
    assert "line 4: qid 'a' stood in line 1 already" in words
    assert "line 5: no JSON" in words
    assert words.count("the file ends in the middle of it") == 1


def test_many_problems_are_counted_and_the_first_ones_listed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="… and 15 more"):
        Outputs(write(tmp_path, *["no"] * 25))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "outputs.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match="no line in it"):
        Outputs(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Outputs(tmp_path / "outputs.jsonl")


def test_the_digest_is_the_files_content(tmp_path: Path) -> None:
    digests = []
    for lines in ([answer("a")], [answer("a")], [answer("a", "C")]):
        with Outputs(write(tmp_path, *lines)) as outputs:
            digests.append(outputs.digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("status", ["200", 201])
def test_a_status_of_success_is_one_however_it_is_written(status: Any) -> None:
    line = batch("B")
    line["response"]["status_code"] = status
    assert (of(line).kind, of(line).output) == ("answered", "B")
