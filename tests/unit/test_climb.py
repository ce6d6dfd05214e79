"""The climb: a step up stays when it pays, a step down when it costs nothing, and noise moves neither."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.climb import Climb, Move

MOST = 512.0


def climb(
    rate: Callable[[float], float], start: float = 16.0, looks: int = 400, noise: float = 0.0, seed: int = 0
) -> list[Climb]:
    """One look a second at a server that does ``rate(limit)`` a second."""
    rng = random.Random(seed)
    path = [Climb(start)]
    for _ in range(looks):
        done = rate(path[-1].limit) * (1 + rng.uniform(-noise, noise))
        path.append(path[-1].observe(done, done, 1.0, MOST))
    return path


def settled(path: list[Climb]) -> float:
    """The limit that the search last came to rest at."""
    return next(state.limit for state in reversed(path) if state.move is Move.STAY)


@pytest.mark.parametrize("slots", [24, 48, 64, 100, 200, 400])
def test_it_finds_where_more_brings_nothing_more_and_rests_there(slots: int) -> None:
    path = climb(lambda limit: 4 * min(limit, slots))
    assert slots / 1.05 <= settled(path) <= 2 * slots
    assert sum(state.move is Move.STAY for state in path[100:]) > 0.7 * len(path[100:])


@given(slots=st.integers(1, 600), start=st.integers(1, 512), noise=st.floats(0, 0.02), seed=st.integers(0, 99))
def test_it_never_leaves_its_bounds_and_always_gets_nearly_all_there_is(
    slots: int, start: int, noise: float, seed: int
) -> None:
    path = climb(lambda limit: 2 * min(limit, slots), start, looks=600, noise=noise, seed=seed)
    assert all(1 <= state.limit <= MOST for state in path)
    assert min(settled(path), slots) >= 0.9 * min(slots, MOST)


def test_a_server_that_gets_slower_with_more_is_given_little() -> None:
    path = climb(lambda limit: 40 / (1 + limit / 8), start=64, looks=3000)
    assert max(state.limit for state in path) <= 128
    assert settled(path) <= 8


@pytest.mark.parametrize("first", [True, False])
def test_noise_of_a_tenth_does_not_drive_it_down_a_slope(first: bool) -> None:
    def rate(limit: float) -> float:
        return 4 * min(limit, 64)

    for seed in range(20):
        assert settled(climb(rate, start=64, looks=1000, noise=0.1, seed=seed)) >= 40


def test_the_first_round_after_a_change_does_not_count() -> None:
    state = Climb(16, first=False, settle=16)
    state = state.observe(15, 15, 1, MOST).observe(1, 1, 1, MOST)
    assert (state.settle, state.seconds) == (0, 0)
    assert state.observe(8, 8, 1, MOST).seconds == 1


def test_a_limit_that_is_not_used_is_no_ground_for_more_and_its_measurement_is_void() -> None:
    path = climb(lambda limit: 4 * limit, looks=2)
    tried = path[-1]
    assert (tried.move, tried.limit) == (Move.UP, 32)
    assert (tried.idle().move, tried.idle().limit) == (Move.STAY, 16)
    state = Climb(16, first=False)
    for _ in range(100):
        state = state.observe(16, 16, 1, MOST).idle()
    assert state.limit == 16


def test_a_trial_that_changes_nothing_is_repeated_less_and_less_often() -> None:
    path = climb(lambda limit: 4 * min(limit, 64), looks=2000)
    begun = [
        n
        for n, (before, after) in enumerate(itertools.pairwise(path))
        if before.move is Move.STAY is not after.move and n > 10
    ]
    assert begun[-1] - begun[-2] >= 3 * (begun[1] - begun[0])
