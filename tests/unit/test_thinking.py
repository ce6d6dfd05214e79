from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.thinking import split_thinking


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("A dog.", "A dog.", None),
        (" A\n", " A\n", None),
        ("", "", None),
        ("<think>\nIt barks.\n</think>\n\nA dog.", "A dog.", "It barks."),
        ("It barks.\n</think>\n\nA dog.", "A dog.", "It barks."),
        ("<think></think>\n\nA dog.", "A dog.", ""),
        ("</think>A dog.", "A dog.", ""),
        ("One.</think>No, <think>two.</think>B", "B", "One.</think>No, <think>two."),
        ("\n<think>It barks, so", "", "It barks, so"),
        ("It barks.</think>", "", "It barks."),
        ("A sign that says <think>.", "A sign that says <think>.", None),
        ("I think it is B", "I think it is B", None),
    ],
)
def test_reasoning_ends_at_the_last_mark(text: str, answer: str, reasoning: str | None) -> None:
    assert split_thinking(text) == (answer, reasoning)


@given(st.text(alphabet="ab \n<>/think", max_size=40).map(lambda text: text.replace("</think>", "")), st.text("ab "))
def test_an_answer_never_holds_what_came_before_the_mark(thought: str, answer: str) -> None:
    assert split_thinking(f"{thought}</think>{answer}")[0] == answer.lstrip()


@given(st.text(max_size=40).filter(lambda text: "think>" not in text))
def test_a_text_without_marks_is_untouched(text: str) -> None:
    assert split_thinking(text) == (text, None)
