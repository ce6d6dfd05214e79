from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.identity import identity_differences, identity_digest

IDENTITY: dict[str, Any] = {
    "task": "qa",
    "sampling": {"temperature": 0.0, "max_tokens": 128},
    "data": {"question_path": "/old/q.parquet"},
}

identities = st.dictionaries(
    st.sampled_from(["task", "model", "prompt", "data"]),
    st.integers(0, 2) | st.dictionaries(st.sampled_from(["seed", "top_p"]), st.integers(0, 2), min_size=1),
)


def test_a_moved_data_set_is_a_difference_but_the_same_run() -> None:
    moved = {**IDENTITY, "data": {"question_path": "/new/q.parquet"}}
    assert identity_digest(moved) == identity_digest(IDENTITY)
    assert identity_differences(IDENTITY, moved) == [("data.question_path", "/old/q.parquet", "/new/q.parquet")]


def test_everything_else_makes_another_run() -> None:
    warmer = {**IDENTITY, "sampling": {"temperature": 0.7, "max_tokens": 128}}
    assert identity_digest(warmer) != identity_digest(IDENTITY)
    assert identity_differences(IDENTITY, warmer) == [("sampling.temperature", 0.0, 0.7)]


def test_a_leaf_on_one_side_only_is_a_difference_from_nothing() -> None:
    recorded = {"sampling": {"top_k": 20}, "task": "qa"}
    wanted = {"sampling": {"seed": 0}, "task": "qa"}
    assert identity_differences(recorded, wanted) == [("sampling.seed", None, 0), ("sampling.top_k", 20, None)]


@given(identities, identities)
def test_differences_are_symmetric_and_absent_only_between_equals(one: dict[str, Any], two: dict[str, Any]) -> None:
    there, back = identity_differences(one, two), identity_differences(two, one)
    assert [(name, new, old) for name, old, new in there] == back
    assert (not there) == (one == two)
    if not there:
        assert identity_digest(one) == identity_digest(two)
