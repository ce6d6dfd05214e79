"""Order: each item exactly once, the questions on one image together, no more held back than is allowed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.items import ImageSource, Item
from captionqa.errors import InputError
from captionqa.run import order
from captionqa.run.order import GROWS_BY, ITEM_BYTES, READ_AHEAD_ITEMS, side_by_side


def item(number: int, *names: str, data: bytes | None = None) -> Item:
    images = [ImageSource(name, path=None if data else f"/d/{name}", data=data, version=name) for name in names]
    return Item(f"q{number}", number, "00", (*images, f"question {number}"))


def items(names: Sequence[str]) -> list[Item]:
    return [item(number, name) for number, name in enumerate(names)]


def arranged(source: Sequence[Item], **settings: Any) -> list[int]:
    return [each.ordinal for each in side_by_side(iter(source), **settings)]


def runs(source: Sequence[Item], numbers: Sequence[int]) -> int:
    """How often the image changes."""
    names = [source[number].images[0].name for number in numbers]
    return 1 + sum(before != after for before, after in itertools.pairwise(names))


@given(st.lists(st.sampled_from("abcdefg")), st.integers(0, 9), st.integers(1, 20 * ITEM_BYTES))
def test_every_item_comes_exactly_once_and_unchanged(names: list[str], ahead: int, max_bytes: int) -> None:
    source = items(names)
    given_on = list(side_by_side(iter(source), ahead=lambda: ahead, max_bytes=max_bytes))
    assert sorted(each.ordinal for each in given_on) == list(range(len(source)))
    for each in given_on:
        before = source[each.ordinal]
        assert (each.id, each.key, each.content, each.facts) == (before.id, before.key, before.content, before.facts)


@given(st.lists(st.sampled_from("abcdefg"), max_size=200))
def test_within_the_window_images_follow_each_other_in_order_of_their_first_question(names: list[str]) -> None:
    numbers = arranged(items(names))
    assert numbers == sorted(range(len(names)), key=lambda number: (names.index(names[number]), number))


def test_a_set_that_is_sorted_by_image_streams_as_it_is_and_no_further_ahead_than_the_first_window() -> None:
    read: list[int] = []

    def source() -> Iterator[Item]:
        for each in items([f"{number // 5}.png" for number in range(5 * READ_AHEAD_ITEMS)]):
            read.append(each.ordinal)
            yield each

    for number, each in enumerate(side_by_side(source())):
        assert each.ordinal == number
        assert len(read) <= number + READ_AHEAD_ITEMS + 1


def test_of_a_shuffled_set_more_and_more_is_read_ahead() -> None:
    source = items([f"{number % 600}.png" for number in range(20 * 600)])
    random.Random(0).shuffle(source)
    source = [item(number, each.images[0].name) for number, each in enumerate(source)]
    held = [order.side_by_side(iter(source))]
    fixed = [number for start in range(0, len(source), 1024) for number in _sorted(source[start : start + 1024])]
    assert runs(source, [each.ordinal for each in held[0]]) < runs(source, fixed) / 3


def _sorted(some: Sequence[Item]) -> list[int]:
    return [each.ordinal for each in sorted(some, key=lambda each: each.images[0].name)]


def test_of_a_shuffled_set_too_only_the_first_window_is_read_before_the_first_item() -> None:
    read: list[int] = []

    def source() -> Iterator[Item]:
        for each in items([f"{number % 600}.png" for number in range(20 * 600)]):
            read.append(each.ordinal)
            yield each

    given_on = side_by_side(source())
    for number in range(1, 1000):
        next(given_on)
        assert len(read) <= READ_AHEAD_ITEMS + number * (1 + GROWS_BY)


def test_what_is_held_back_is_bounded_in_bytes() -> None:
    taken = 0

    def source() -> Iterator[Item]:
        for number in range(500):
            assert number - taken <= 11
            yield item(number, "ab"[number % 2])

    for _ in side_by_side(source(), max_bytes=10 * ITEM_BYTES):
        taken += 1
    assert taken == 500


def test_image_bytes_that_several_rows_carry_are_held_and_counted_once() -> None:
    picture = b"x" * 100_000
    rows = [item(number, "ab"[number % 2], data=bytes(bytearray(picture))) for number in range(40)]
    given_on = list(side_by_side(iter(rows), max_bytes=220_000 + 40 * ITEM_BYTES))
    assert [each.ordinal for each in given_on] == [*range(0, 40, 2), *range(1, 40, 2)]
    for half in (given_on[:20], given_on[20:]):
        assert len({id(each.images[0].data) for each in half}) == 1
    assert all(each.images[0].data == picture for each in given_on)


@pytest.mark.parametrize("questions", [2, 3, 20])
@pytest.mark.parametrize("ahead", [1, 8, 64])
def test_the_first_question_on_an_image_goes_ahead_of_the_others(questions: int, ahead: int) -> None:
    count = 200 * questions
    numbers = arranged(items([f"{number // questions}.png" for number in range(count)]), ahead=lambda: ahead)
    place = {number: index for index, number in enumerate(numbers)}
    leads = [place[first + 1] - place[first] for first in range(0, count, questions)]
    steady = leads[ahead : -1 - ahead]  # nothing to be ahead of at the beginning, nothing to go ahead at the end
    assert min(steady) > ahead
    assert max(leads) <= 2 * (ahead + questions)
    for first in range(0, count, questions):
        others = [place[number] for number in range(first + 1, first + questions)]
        assert others == sorted(others)
        assert max(others) - min(others) <= 2 * questions


def test_items_know_whether_they_have_company() -> None:
    source = [*items(["a", "b", "a"]), Item("text", 3, "00", ("no image",)), Item("more text", 4, "00", ("none",))]
    assert {each.id: each.shared for each in side_by_side(iter(source))} == {
        "q0": True,
        "q1": False,
        "q2": True,
        "text": False,
        "more text": False,
    }


def test_questions_on_several_images_stand_with_those_on_their_first() -> None:
    source = [item(0, "a", "b"), item(1, "b"), item(2, "a"), item(3, "b", "a")]
    assert arranged(source) == [0, 2, 1, 3]


def test_an_error_of_the_source_comes_after_everything_before_it() -> None:
    def source() -> Iterator[Item]:
        yield from items(["a", "b", "a"])
        raise InputError("damaged")

    given_on = side_by_side(source())
    assert [next(given_on).ordinal for _ in range(3)] == [0, 2, 1]
    with pytest.raises(InputError, match="damaged"):
        next(given_on)
