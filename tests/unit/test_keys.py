from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.keys import canonical, digest, facts_key, id_digest, item_key, shard_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_the_canonical_form_is_sorted_dense_ascii() -> None:
    assert canonical({"b": [1, None], "a": "é猫"}) == b'{"a":"\\u00e9\\u732b","b":[1,null]}'


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_names(value: dict[str, object]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


def test_a_key_is_the_same_in_every_version() -> None:
    """Journals hold these: another value would ask everything again."""
    assert item_key("q1", [("a.png", 12), "What?", ("b.png", None)]) == "6e3d98a1c1fc3a66"
    assert facts_key({"answer": "B"}) == "5ef6fe1feeb2e1e1"
    assert [shard_of(name, 8) for name in ("a.png", "b.png", "sub/a.png")] == [0, 5, 7]


BASE = ("q1", [("a.png", 12), "What?"])


@pytest.mark.parametrize(
    "other",
    [
        ("q2", [("a.png", 12), "What?"]),
        ("q1", [("a.png", 12), "What"]),
        ("q1", [("a.png", 12), "What", "?"]),
        ("q1", ["What?", ("a.png", 12)]),
        ("q1", [("b.png", 12), "What?"]),
        ("q1", [("a.png", 13), "What?"]),
        ("q1", [("a.png", "12"), "What?"]),
        ("q1", [("a.png", None), "What?"]),
        ("q1", [("a.png", 12), ("a.png", 12), "What?"]),
        ("q1", ["What?"]),
    ],
)
def test_every_part_of_a_request_is_in_its_key(other: tuple[str, list[str | tuple[str, int]]]) -> None:
    assert item_key(*other) != item_key(*BASE)


def test_the_order_of_images_is_in_the_key() -> None:
    images = [("a.png", 1), ("b.png", 2)]
    assert item_key("q", [*images, "t"]) != item_key("q", [*images[::-1], "t"])


def test_names_that_are_no_unicode_have_keys_and_shards() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert len(item_key(name, [(name, 1)])) == 16
    assert len(id_digest(name)) == 12
    assert 0 <= shard_of(name, 3) < 3


@given(st.text(), st.integers(min_value=1, max_value=1000))
def test_an_item_is_in_exactly_one_shard(item_id: str, shards: int) -> None:
    assert 0 <= shard_of(item_id, shards) < shards
    assert shard_of(item_id, 1) == 0


def test_shards_are_about_equally_large() -> None:
    sizes = Counter(shard_of(f"images/Processed-{number}-0.jpg", 8) for number in range(8000))
    assert sorted(sizes) == list(range(8))
    assert max(sizes.values()) - min(sizes.values()) < 200
