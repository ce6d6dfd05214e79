from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.clusters import Clusters


def labels(*facts: dict[str, Any]) -> list[int]:
    clusters = Clusters()
    for each in facts:
        clusters.add({"image_paths": [], **each})
    return [int(label) for label in clusters.labels()]


def partition(found: list[int]) -> set[frozenset[int]]:
    return {frozenset(i for i, label in enumerate(found) if label == each) for each in found}


def images(*names: str) -> dict[str, Any]:
    return {"image_paths": list(names)}


def test_questions_about_one_image_are_one_cluster() -> None:
    found = labels(images("a"), images("b"), images("a"), images("c"))
    assert partition(found) == {frozenset({0, 2}), frozenset({1}), frozenset({3})}


def test_images_are_joined_by_questions_about_several() -> None:
    found = labels(images("a"), images("b"), images("c"), images("a", "d"), images("d", "c"))
    assert partition(found) == {frozenset({0, 2, 3, 4}), frozenset({1})}


def test_questions_without_an_image_stand_alone() -> None:
    assert partition(labels({}, {}, images("a"), {})) == {frozenset({i}) for i in range(4)}
    assert labels() == []


def test_a_named_cluster_counts_and_the_images_do_not() -> None:
    found = labels(
        {"cluster": "a", **images("x")},
        {"cluster": "a", **images("y")},
        {"cluster": "b", **images("x")},
        images("x"),
        images("a"),
    )
    assert partition(found) == {frozenset({0, 1}), frozenset({2}), frozenset({3}), frozenset({4})}


def test_one_question_asked_several_times_is_one_cluster() -> None:
    found = labels({"qid": "q", **images("a")}, {"qid": "q", **images("b")}, {"qid": "r"}, images("q"))
    assert partition(found) == {frozenset({0, 1}), frozenset({2}), frozenset({3})}


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=3), max_size=12))
def test_clusters_are_the_smallest_that_no_image_crosses(given_images: list[list[str]]) -> None:
    expected = [set(names) for names in given_images]
    grown = True
    while grown:  # the names that are reached from each question
        wider = [set().union(*(other for other in expected if own & other)) for own in expected]
        grown, expected = wider != expected, wider
    found = labels(*(images(*names) for names in given_images))
    for one, own in enumerate(expected):
        for other, theirs in enumerate(expected):
            assert (found[one] == found[other]) == (one == other or bool(own & theirs))
