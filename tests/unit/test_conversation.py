from __future__ import annotations

from captionqa.core.conversation import Conversation, Picture

A, B = (Picture(name, {"type": "image_url", "image_url": {"url": name}}, {"name": name}) for name in "ab")


def test_what_was_said_is_sent_along_and_pictures_stand_with_their_question() -> None:
    talk = Conversation()
    talk.waiting.append(A)
    assert talk.messages("What?", None) == [
        {"role": "user", "content": [A.part, {"type": "text", "text": "What?"}]},
    ]
    talk.record("What?", "A dog.")
    assert talk.waiting == []
    talk.waiting.append(B)
    assert talk.messages("And <image> this?", "Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [A.part, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A dog."},
        {"role": "user", "content": [{"type": "text", "text": "And"}, B.part, {"type": "text", "text": "this?"}]},
    ]


def test_a_question_without_pictures_is_plain_text() -> None:
    assert Conversation().messages("Why?", None) == [{"role": "user", "content": "Why?"}]


def test_asking_changes_nothing_until_the_answer_is_recorded() -> None:
    talk = Conversation(waiting=[A])
    assert talk.messages("What?", None) == talk.messages("What?", None)
    assert (talk.turns, talk.waiting) == ([], [A])


def test_a_turn_for_a_file_has_no_image_bytes_and_says_when_it_was_stopped() -> None:
    talk = Conversation(waiting=[A])
    talk.record("What?", "A d", complete=False)
    (turn,) = talk.turns
    assert turn.to_dict() == {"question": "What?", "images": [{"name": "a"}], "answer": "A d", "stopped": True}
    talk.reset()
    assert talk.messages("x", None) == [{"role": "user", "content": "x"}]
