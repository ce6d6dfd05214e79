from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.caption_statistics import CaptionStatistics, count_words, distribution, refuses
from captionqa.core.captions import CaptionFold


@given(st.lists(st.integers(0, 400), min_size=1, max_size=60))
def test_quartiles_are_numpys(values: list[int]) -> None:
    found = distribution(Counter(values))
    assert found is not None
    expected = [round(float(value), 2) for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])]
    assert [found[name] for name in ("min", "q1", "median", "q3", "max")] == pytest.approx(expected, abs=0.011)
    assert found["mean"] == pytest.approx(float(np.mean(values)), abs=0.0051)


def test_there_is_no_distribution_of_nothing() -> None:
    assert distribution({}) is None
    assert CaptionStatistics().fields()["words"] is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("A dog's life, half-finished.", 4),
        ("一只猫坐在桌子上。", 8),
        ("A 猫 and 3 dogs", 5),
        ("… — !", 0),
    ],
)
def test_words_are_counted_in_both_scripts(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize(
    "caption",
    [
        "I cannot describe this image.",
        "I'm sorry, but I can't help with that.",
        "Sorry, I can't see the picture",
        "**I am unable to view images.**",
        "As an AI language model, I have no eyes.",
        "Unfortunately, I can't make it out.",
        "I don't see any image.",
        "抱歉,我无法识别这张图片。",
        "很遗憾,图片无法显示",
        "我无法查看图片。",
        "作为一个AI,我看不到图片。",
    ],
)
def test_refusals_are_seen_in_both_languages(caption: str) -> None:
    assert refuses(caption)


@pytest.mark.parametrize(
    "caption",
    [
        "A sign reads «Sorry, we are closed». I cannot tell more.",
        "A man says that he is sorry.",
        "The image shows a dog that cannot reach the ball.",
        "图中一位女士正在说抱歉。",
        "Sorrel grows beside the path.",
        "I see a red square.",
        "",
    ],
)
def test_a_caption_that_speaks_of_such_words_is_no_refusal(caption: str) -> None:
    assert not refuses(caption)


def test_the_fold_counts_what_looks_wrong() -> None:
    fold = CaptionFold()
    captions = ["A cat.", "A cat.", "A cat.", "A dog.", "A dog.", "One of a kind.", "the cat and " * 40, "I'm sorry."]
    for number, caption in enumerate(captions):
        reason = "length" if number == 6 else "stop"
        fold.add({"id": str(number), "outcome": "answered", "output": caption, "finish_reason": reason})
    fold.add({"id": "8", "outcome": "failed", "reason": "empty"})
    fold.add({"id": "9", "outcome": "failed", "reason": "timeout"})
    fold.add({"id": "10", "outcome": "bad_image", "reason": "empty"})  # the file has 0 bytes: nothing was answered
    found = fold.statistics.fields()
    assert {name: found[name] for name in ("truncated", "repetitive", "refusals", "empty")} == {
        **{"truncated": 1, "repetitive": 1, "refusals": 1, "empty": 1}
    }
    assert found["truncated_first"] == ["6"]
    assert found["duplicates"] == {"captions": 5, "groups": 2, "largest_group": 3}
    assert (found["characters"]["min"], found["characters"]["max"]) == (6, 480)
    assert found["words"] == {"min": 2, "q1": 2, "median": 2, "q3": 2.5, "max": 120, "mean": 17.0}


def test_no_more_than_a_hundred_captions_that_were_cut_are_named() -> None:
    statistics = CaptionStatistics()
    for number in range(250):
        statistics.add(f"{number}.jpg", f"Caption {number}", truncated=number % 2 == 1)
    assert statistics.fields()["truncated"] == 125
    assert statistics.fields()["truncated_first"] == [f"{number}.jpg" for number in range(1, 200, 2)]
