"""Chat completions: what both engines answer, and in which shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from captionqa.core.replies import NoAnswer, Verdict, read_completion

from .endpoint import BLUE, GREEN, MAX_MODEL_LEN, QUESTION, Endpoint, image, picture


def test_an_image_and_a_lettered_question_get_a_letter(endpoint: Endpoint) -> None:
    reply = endpoint.ask(image(picture()), QUESTION)
    assert reply.text == "A"
    assert (reply.json["object"], reply.json["model"]) == ("chat.completion", endpoint.model)
    assert (reply.choice["index"], reply.choice["finish_reason"], reply.choice["stop_reason"]) == (0, "stop", None)
    message = reply.choice["message"]
    assert (message["role"], message["reasoning"], message["refusal"]) == ("assistant", None, None)
    completion = read_completion(reply.body)
    assert (completion.text, completion.finish_reason, completion.reasoning) == ("A", "stop", None)


def test_a_reply_has_these_fields_and_no_others(endpoint: Endpoint) -> None:
    reply = endpoint.ask(image(picture()), QUESTION)
    assert set(reply.json) == {
        *("id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage"),
        *("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "ec_transfer_params", "metrics"),
    }
    assert set(reply.choice) == {
        *("index", "message", "logprobs", "finish_reason", "stop_reason", "token_ids", "routed_experts"),
    }
    assert set(reply.choice["message"]) == {
        *("role", "content", "refusal", "annotations", "audio", "function_call", "reasoning"),
    }


def test_the_answer_follows_the_picture(endpoint: Endpoint) -> None:
    asked = [endpoint.ask(image(picture(color)), QUESTION).text for color in (BLUE, GREEN)]
    assert asked == ["B", "C"]


def test_a_caption_names_what_is_there(endpoint: Endpoint) -> None:
    said = endpoint.ask(image(picture()), "Describe the image.", max_tokens=64).text
    assert "red circle" in said


def test_text_alone_is_answered(endpoint: Endpoint) -> None:
    content = "Is the shape red? Answer yes or no."
    plain = endpoint.chat({"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 8})
    assert plain.text
    as_part = endpoint.ask(content, max_tokens=8)
    assert (as_part.text, as_part.usage) == (plain.text, plain.usage)


def test_a_system_message_is_part_of_the_prompt(endpoint: Endpoint) -> None:
    asked = endpoint.asking(image(picture()), QUESTION)
    without = endpoint.chat(asked).usage
    asked["messages"].insert(0, {"role": "system", "content": "You are a helpful assistant."})
    reply = endpoint.chat(asked)
    assert reply.usage["prompt_tokens"] > without["prompt_tokens"]


def test_the_same_greedy_request_gets_the_same_answer(endpoint: Endpoint) -> None:
    asked = endpoint.asking(image(picture(BLUE)), "Describe the image.", max_tokens=32)
    assert endpoint.chat(asked).text == endpoint.chat(asked).text


def test_usage_adds_up_and_counts_the_answers_end(endpoint: Endpoint) -> None:
    usage = endpoint.ask(image(picture()), QUESTION).usage
    assert usage["completion_tokens"] == 2  # the letter, and the token that ends the turn
    assert usage["total_tokens"] == usage["prompt_tokens"] + 2


def test_an_image_costs_a_token_for_every_32_pixels_squared(endpoint: Endpoint) -> None:
    sizes = ((256, 256), (512, 512), (512, 256))
    used = [endpoint.ask(image(picture(size=size)), "?", max_tokens=1).usage["prompt_tokens"] for size in sizes]
    assert [tokens - used[0] for tokens in used] == [0, 256 - 64, 128 - 64]


def test_a_cut_answer_says_length(endpoint: Endpoint) -> None:
    reply = endpoint.ask(image(picture()), "Describe the image.", max_tokens=2)
    assert (reply.choice["finish_reason"], reply.usage["completion_tokens"]) == ("length", 2)
    whole = endpoint.ask(image(picture()), "Describe the image.", max_tokens=64)
    assert whole.text.startswith(reply.text)
    assert read_completion(reply.body).finish_reason == "length"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_room_for_the_letter_but_not_for_its_end_is_a_cut(endpoint: Endpoint, name: str) -> None:
    asked = endpoint.asking(image(picture()), QUESTION)
    del asked["max_tokens"]
    choice = endpoint.chat(asked | {name: 1}).choice
    assert (choice["message"]["content"], choice["finish_reason"]) == ("A", "length")


def test_max_tokens_is_clamped_to_what_the_prompt_leaves(endpoint: Endpoint) -> None:
    reply = endpoint.ask("A red circle. " * 800, max_tokens=MAX_MODEL_LEN - 100, ignore_eos=True)
    assert reply.choice["finish_reason"] == "length"
    assert reply.usage["total_tokens"] == MAX_MODEL_LEN


def test_without_a_limit_the_answer_may_fill_the_context(endpoint: Endpoint) -> None:
    asked = endpoint.asking("A red circle. " * 1000, ignore_eos=True)
    del asked["max_tokens"]
    assert endpoint.chat(asked).usage["total_tokens"] == MAX_MODEL_LEN


def test_min_tokens_and_ignore_eos_go_on(endpoint: Endpoint) -> None:
    least = endpoint.ask(image(picture()), QUESTION, min_tokens=5)
    assert 5 < least.usage["completion_tokens"] <= 16
    endless = endpoint.ask(image(picture()), QUESTION, ignore_eos=True)
    assert (endless.choice["finish_reason"], endless.usage["completion_tokens"]) == ("length", 16)


def test_a_stop_string_ends_the_answer_before_it(endpoint: Endpoint) -> None:
    choice = endpoint.ask(image(picture()), "Describe the image.", max_tokens=64, stop=[" circle"]).choice
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", " circle")
    assert choice["message"]["content"].endswith(" red")


CHOICES = [["A", "B"], ["red", "light green"], ["one of these", "one of those"]]


@pytest.mark.parametrize("choice", CHOICES, ids=[" or ".join(choice) for choice in CHOICES])
def test_structured_choice_constrains(endpoint: Endpoint, choice: list[str]) -> None:
    reply = endpoint.ask(image(picture()), QUESTION, structured_outputs={"choice": choice})
    assert reply.text in choice
    assert reply.choice["finish_reason"] == "stop"


def test_legacy_guided_choice_is_accepted_and_does_nothing(endpoint: Endpoint) -> None:
    """What makes a probe at the start necessary: it looks like success."""
    assert endpoint.ask(image(picture()), QUESTION, guided_choice=["Zebra"]).text == "A"


IGNORED: list[dict[str, Any]] = [
    {"no_such_field": 1},
    {"extra_body": {"top_k": 1}},
    {"user": "somebody"},
    {"model": None},
    {"seed": 7},
    {"best_of": 2},
    {"structured_outputs": None},
    {"chat_template_kwargs": {"enable_thinking": False, "no_such_argument": 1}},
    {"top_k": -1, "repetition_penalty": 1.0, "presence_penalty": 0.0, "min_p": 0.0},
]


@pytest.mark.parametrize("fields", IGNORED, ids=["+".join(fields) for fields in IGNORED])
def test_these_fields_change_nothing_here(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    assert endpoint.ask(image(picture()), QUESTION, **fields).text == "A"


def test_a_request_without_a_model_is_answered(endpoint: Endpoint) -> None:
    asked = endpoint.asking(image(picture()), QUESTION)
    del asked["model"]
    assert endpoint.chat(asked).json["model"] == endpoint.model


def test_empty_content_is_no_answer(endpoint: Endpoint) -> None:
    """vLLM says 200 with nothing in it when a model ends its turn at once."""
    reply = endpoint.ask(image(picture()), "?", structured_outputs={"choice": [" "]})
    assert (reply.status, reply.text.strip(), reply.choice["finish_reason"]) == (200, "", "stop")
    with pytest.raises(NoAnswer) as caught:
        read_completion(reply.body)
    assert (caught.value.verdict, caught.value.reason) == (Verdict.TRANSIENT, "empty")


# Streams


def events(endpoint: Endpoint, **fields: Any) -> list[Any]:
    """The stream's events; the last one is ``[DONE]``."""
    asked = endpoint.asking(image(picture()), "Describe the image.", max_tokens=64, stream=True, **fields)
    reply = endpoint.chat(asked)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    *chunks, done, end = reply.body.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]


def test_a_stream_says_the_same_as_a_whole_reply(endpoint: Endpoint) -> None:
    whole = endpoint.ask(image(picture()), "Describe the image.", max_tokens=64)
    first, *tokens, last, usage = events(endpoint, stream_options={"include_usage": True})
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["object"] for chunk in (first, *tokens, last, usage)} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in (first, *tokens, last, usage)}) == 1
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in tokens) == whole.text
    assert {chunk["choices"][0]["finish_reason"] for chunk in tokens} == {None}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"] == whole.usage


def test_a_stream_has_no_usage_unless_it_was_wanted(endpoint: Endpoint) -> None:
    chunks = events(endpoint)
    assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_stream_that_is_cut_by_the_limit_says_length(endpoint: Endpoint) -> None:
    asked = endpoint.asking(image(picture()), "Describe the image.", max_tokens=2, stream=True)
    *_, last, _done, _end = endpoint.chat(asked).body.decode().split("\n\n")
    assert json.loads(last.removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
