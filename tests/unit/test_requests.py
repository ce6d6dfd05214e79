from __future__ import annotations

import json
from dataclasses import replace

from captionqa.core.requests import CAPTION_SAMPLING, QUESTION_SAMPLING, RequestFormat

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
