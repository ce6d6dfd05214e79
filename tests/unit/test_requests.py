from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from captionqa.core.requests import CAPTION_SAMPLING, QUESTION_SAMPLING, RequestFormat, Sampling

PARTS = [
    (b'{"type":"image_url","image_url":{"url":"data:image/png;base64,', b"AAAA", b'"}}'),
    (b'{"type":"text","text":"What?"}',),
]


def test_a_body_is_what_the_server_is_to_read() -> None:
    body = RequestFormat.of("Qwen/Qwen3-VL-4B-Instruct", None, QUESTION_SAMPLING).body(PARTS)
    assert json.loads(body) == {
        "model": "Qwen/Qwen3-VL-4B-Instruct",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "text", "text": "What?"},
                ],
            }
        ],
        "max_tokens": 128,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 0,
        "presence_penalty": 0.0,
        "top_k": -1,
        "repetition_penalty": 1.0,
    }


def test_a_system_prompt_is_the_first_message() -> None:
    request = json.loads(RequestFormat.of("m", 'Say "yes".\n«ü»', CAPTION_SAMPLING).body(PARTS))
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["messages"][0]["content"] == 'Say "yes".\n«ü»'


def test_a_models_name_with_quotes_cannot_break_the_body() -> None:
    assert json.loads(RequestFormat.of('a","b', None, CAPTION_SAMPLING).body(PARTS))["model"] == 'a","b'


def test_without_vllms_extensions_only_openai_fields_are_sent() -> None:
    plain = replace(CAPTION_SAMPLING, top_k=None, repetition_penalty=None)
    request = json.loads(RequestFormat.of("m", None, plain).body(PARTS))
    assert request.keys() - {"model", "messages"} == {"max_tokens", "temperature", "top_p", "seed", "presence_penalty"}


def test_the_letters_of_a_question_constrain_its_answer_and_no_other() -> None:
    request_format = RequestFormat.of("m", None, QUESTION_SAMPLING)
    constrained = json.loads(request_format.body(PARTS, ("A", "B")))
    assert constrained.pop("structured_outputs") == {"choice": ["A", "B"]}
    assert json.loads(request_format.body(PARTS)) == constrained


def test_thinking_is_said_only_when_the_user_says_it() -> None:
    extras = {"chat_template_kwargs": {"enable_thinking": False}}
    request = json.loads(RequestFormat.of("m", None, QUESTION_SAMPLING, extras).body(PARTS, ("A", "B")))
    assert request["chat_template_kwargs"] == {"enable_thinking": False}
    assert request["structured_outputs"] == {"choice": ["A", "B"]}
    assert request["temperature"] == 0


@pytest.mark.parametrize("sampling", [CAPTION_SAMPLING, QUESTION_SAMPLING])
def test_no_sampling_parameter_is_left_to_the_server(sampling: Sampling) -> None:
    """vLLM fills in generation_config.json of the model where a request says nothing."""
    request = json.loads(RequestFormat.of("m", None, sampling).body(PARTS))
    assert {name: request[name] for name in asdict(sampling)} == asdict(sampling)
    assert asdict(sampling).keys() == {
        *("max_tokens", "temperature", "top_p", "top_k", "seed", "presence_penalty", "repetition_penalty")
    }


def test_a_seed_of_its_own_takes_the_place_of_the_runs() -> None:
    request_format = RequestFormat.of("m", None, CAPTION_SAMPLING)
    plain = json.loads(request_format.body(PARTS))
    body = request_format.body(PARTS, ("A",), seed=7)
    assert body.count(b'"seed"') == 1
    assert json.loads(body) == {**plain, "seed": 7, "structured_outputs": {"choice": ["A"]}}
