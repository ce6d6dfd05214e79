"""Every kind of reply that a real vLLM 0.32 was seen to give, and what it means to the client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captionqa.core.replies import NoAnswer, Verdict, classify_error, read_completion

REPLIES = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "vllm-0.32" / "replies.jsonl").read_text().splitlines()
]

ANSWERED = {
    **dict.fromkeys(
        (
            *("chat_1image", "chat_1image_jpeg", "chat_1image_uuid", "chat_1image_uuid_only_cached", "chat_logprobs"),
            *("chat_max_completion_tokens", "chat_n2", "chat_prompt_logprobs", "chat_seed", "chat_stop", "chat_text"),
            *("chat_template_kwargs", "err_bad_role", "err_empty_user_content", "err_image_token_in_text", "priority"),
            *("err_image_token_in_text_no_image", "err_missing_model", "err_prompt_too_long_truncate", "img_gray"),
            *("guided_choice_legacy", "img_mime_mismatch", "img_rgba", "img_tiny_1px", "img_webp", "system_message"),
            *("media_chat_1image", "media_file_url", "media_mm_processor_kwargs", "media_mm_processor_kwargs_bad"),
            *("media_mm_processor_kwargs_max_pixels", "structured_choice", "structured_choice_words"),
            *("structured_regex", "unknown_field", "x_request_id"),
        ),
        "stop",
    ),
    **dict.fromkeys(
        ("chat_length", "logit_bias", "media_x_request_id", "response_format_json_object"),
        "length",
    ),
    "response_format_json_schema": "length",
}
"""finish_reason, by the reply's name."""

_REFUSED, _REJECTED, _BUSY, _TRANSIENT = Verdict.REFUSED, Verdict.REJECTED, Verdict.BUSY, Verdict.TRANSIENT
UNANSWERED = {
    # 200 without an answer
    "chat_2images": (_TRANSIENT, "empty"),
    "err_prompt_plus_max_tokens_too_long": (_TRANSIENT, "empty"),  # this model says nothing to so long a prompt
    "completions_text": (_TRANSIENT, "garbage"),
    "sig_int_abort2": (_TRANSIENT, "aborted"),
    "sig_term_abort": (_TRANSIENT, "aborted"),
    # nothing can be asked this way
    "err_no_key": (_REFUSED, "http_401"),
    "err_bad_key": (_REFUSED, "http_401"),
    "models_no_key": (_REFUSED, "http_401"),
    "err_unknown_model": (_REFUSED, "http_404"),
    "err_lora_unknown": (_REFUSED, "http_404"),
    "not_found_path": (_REFUSED, "http_404"),
    "method_not_allowed": (_REFUSED, "http_405"),
    "err_max_tokens_too_big": (_REFUSED, "max_tokens"),
    # this request cannot be answered
    "err_prompt_too_long": (_REJECTED, "too_long"),
    "err_prompt_of_the_whole_context": (_REJECTED, "too_long"),  # max_tokens 50 was asked for: there was no room for 1
    "err_max_tokens_zero": (_REJECTED, "too_long"),  # never sent: --max-tokens is at least 1
    "err_max_tokens_negative": (_REJECTED, "too_long"),
    "err_too_many_images": (_REJECTED, "too_many_images"),
    "img_200Mpixel": (_REJECTED, "image_too_large"),
    **dict.fromkeys(("file_url", "file_url_dotdot", "file_url_missing", "file_url_outside"), (_REJECTED, "http_500")),
    "media_file_url_missing": (_REJECTED, "http_500"),
    "err_http_url_404": (_REJECTED, "http_422"),
    **dict.fromkeys(
        (
            *("err_bad_json", "err_bad_part_type", "err_empty_messages", "err_no_messages", "err_temperature_negative"),
            *("err_img_aspect_ratio", "err_img_empty", "err_img_garbage_bytes", "err_img_not_base64", "err_top_p"),
            *("err_img_truncated_jpeg", "err_img_truncated_png", "err_temperature_string", "err_url_no_scheme"),
            *("err_video_disabled", "err_wrong_content_type", "chat_logprobs_toomany", "logit_bias_bad_id"),
            *("media_err_http_url_404", "media_err_http_url_refused", "media_file_url_dotdot"),
            *("media_file_url_outside", "mm_processor_kwargs", "mm_processor_kwargs_bad", "stream_error_validation"),
            *("mm_processor_kwargs_max_pixels", "structured_bad_regex", "structured_empty_choice"),
            "structured_two_kinds",
        ),
        (_REJECTED, "http_400"),
    ),
    # later
    "queuefull_chat_1image": (_BUSY, "http_503"),
    "err_http_url_refused": (_TRANSIENT, "http_500"),
    **dict.fromkeys(
        (
            *("sig_int_abort", "sig_int_abort2_2", "sig_kill_engine", "sig_kill_worker", "sig_kill_worker_2"),
            *("sig_rep_1", "sig_rep_3", "sig_rep_5", "sig_rep_5_2", "sig_term_abort_2", "sig_term_default"),
            "sig_term_drain20",
        ),
        (_TRANSIENT, "http_500"),
    ),
}
NO_COMPLETION = {"models"}


def _meaning(reply: dict[str, Any]) -> object:
    body = json.dumps(reply["body"]).encode()
    try:
        if reply["status"] != 200:
            raise classify_error(reply["status"], reply.get("headers", {}), body)
        return read_completion(body).finish_reason
    except NoAnswer as found:
        return found.verdict, str(found.reason)


@pytest.mark.parametrize("reply", REPLIES, ids=[reply["name"] for reply in REPLIES])
def test_what_vllms_reply_means(reply: dict[str, Any]) -> None:
    if reply["name"] not in NO_COMPLETION:
        assert _meaning(reply) == {**ANSWERED, **UNANSWERED}[reply["name"]]


def test_every_reply_has_its_meaning_and_every_meaning_its_reply() -> None:
    assert {reply["name"] for reply in REPLIES} == ANSWERED.keys() | UNANSWERED.keys() | NO_COMPLETION
    assert not ANSWERED.keys() & UNANSWERED.keys()
