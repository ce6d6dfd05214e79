"""Sizes and tokens of Qwen3-VL: tables for the documented values, properties for the laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionqa.core.vision import (
    ASPECT_LIMIT,
    QWEN2_VL,
    QWEN3_VL,
    ImagePolicy,
    fit_within,
    reduced,
    reduced_to_tokens,
    size_problem,
    vision_tokens,
)
from captionqa.errors import ImageProblem

EDGES = st.integers(1, 70_000)
AREAS = st.integers(1, 1 << 25)


@pytest.mark.parametrize(
    ("size", "max_pixels", "expected"),
    [
        ((640, 480), 4_194_304, (640, 480)),
        ((2048, 2048), 4_194_304, (2048, 2048)),
        ((4096, 4096), 4_194_304, (2048, 2048)),
        ((8000, 2000), 4_194_304, (4096, 1024)),
        ((2000, 8000), 4_194_304, (1024, 4096)),
        ((4000, 3000), 3_000_000, (2000, 1500)),
        ((3, 3), 1, (1, 1)),
        ((1, 1), 1, (1, 1)),
    ],
)
def test_an_image_is_reduced_to_the_area_and_keeps_its_shape(size, max_pixels, expected):
    assert fit_within(*size, max_pixels) == expected


@given(EDGES, EDGES, AREAS)
def test_a_fitted_size_is_within_every_limit(width, height, max_pixels):
    new_width, new_height = fit_within(width, height, max_pixels)
    assert 1 <= new_width <= width
    assert 1 <= new_height <= height
    assert new_width * new_height <= max_pixels
    if width * height <= max_pixels:
        assert (new_width, new_height) == (width, height)


@given(EDGES, EDGES, AREAS)
def test_fitting_treats_width_and_height_alike_and_is_idempotent(width, height, max_pixels):
    fitted = fit_within(width, height, max_pixels)
    assert fit_within(height, width, max_pixels) == fitted[::-1]
    assert fit_within(*fitted, max_pixels) == fitted


@given(EDGES, EDGES, st.integers(1024, 1 << 25))
def test_an_acceptable_image_stays_acceptable_when_reduced(width, height, max_pixels):
    if size_problem(width, height) is None:
        assert size_problem(*fit_within(width, height, max_pixels)) is None


@given(st.integers(100, 70_000), st.integers(100, 70_000), st.integers(65_536, 1 << 25))
def test_the_aspect_ratio_bends_by_less_than_one_pixel(width, height, max_pixels):
    short, long = sorted((width, height))
    new_short, new_long = sorted(fit_within(width, height, max_pixels))
    if long < ASPECT_LIMIT * short:
        assert abs(new_long / new_short - long / short) * new_short <= long / short + 1


@pytest.mark.parametrize("arguments", [(0, 5, 5), (5, 0, 5), (5, 5, 0), (-1, 5, 5)])
def test_nonsense_sizes_cannot_be_fitted(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        fit_within(*arguments)


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ((1, 1), ImageProblem.TOO_SMALL),
        ((1, 5000), ImageProblem.TOO_SMALL),
        ((300, 1), ImageProblem.TOO_SMALL),
        ((2, 2), None),
        ((2, 399), None),
        ((399, 2), None),
        ((2, 400), ImageProblem.ASPECT_RATIO),
        ((5000, 20), ImageProblem.ASPECT_RATIO),
        ((1999, 10), None),
        ((60_000, 60_000), None),
    ],
)
def test_shapes_the_model_cannot_take_are_named(size, problem):
    found = size_problem(*size)
    assert (found and found[0]) == problem
    if found:
        assert f"{size[0]}×{size[1]}" in found[1]


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((256, 256), 64),
        ((32, 32), 64),  # enlarged to 65,536 pixels
        ((2, 2), 64),
        ((1024, 1024), 1024),
        ((1280, 960), 1200),
        ((2048, 2048), 4096),
        ((4096, 4096), 16_384),
        ((8192, 8192), 16_384),  # reduced to 16,777,216 pixels
        ((640, 480), 300),
        ((1000, 700), 682),  # 31 × 22: rounded to the nearest grid line
    ],
)
def test_tokens_are_counted_on_the_servers_grid(size, tokens):
    assert vision_tokens(*size) == tokens
    assert vision_tokens(*size[::-1]) == tokens


@given(EDGES, EDGES)
def test_tokens_stay_within_the_models_range(width, height):
    if size_problem(width, height) is None:
        assert 64 <= vision_tokens(width, height) <= 16_384
    else:
        with pytest.raises(ValueError, match="px"):
            vision_tokens(width, height)


@pytest.mark.parametrize(
    "values", [{"max_pixels": 1023}, {"jpeg_quality": 0}, {"jpeg_quality": 101}, {"max_file_bytes": 0}]
)
def test_a_policy_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        ImagePolicy(**values)


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((448, 448), 256), ((28, 28), 4), ((640, 480), 391), ((4096, 4096), 16_384), ((2048, 2048), 5329)],
)
def test_qwen2_vl_and_2_5_count_on_a_finer_grid(size, tokens):
    assert QWEN2_VL.tokens(*size) == tokens


SIZES = st.lists(st.tuples(st.integers(32, 2048), st.integers(32, 2048)), min_size=1, max_size=4)


@given(SIZES, st.floats(0, 1))
def test_a_share_of_the_pixels_keeps_every_shape(sizes, share):
    for (width, height), (new_width, new_height) in zip(sizes, reduced(sizes, share), strict=True):
        assert new_width <= width
        assert new_height <= height
        assert new_width * new_height <= max(1024, width * height * share)
    assert reduced(sizes, 1.0) == sizes


@given(SIZES, st.integers(64, 20_000), st.sampled_from([QWEN3_VL, QWEN2_VL]))
def test_sizes_are_reduced_to_the_room_and_only_when_it_takes_that(sizes, room, rule):
    found = reduced_to_tokens(sizes, rule, room)
    before = sum(rule.tokens(*size) for size in sizes)
    if found is None:
        assert sum(rule.tokens(*size) for size in reduced(sizes, 0.0)) > room
    else:
        assert sum(rule.tokens(*size) for size in found) <= room
        assert (found == sizes) == (before <= room)


def test_all_images_of_an_item_are_reduced_alike():
    large, small = reduced_to_tokens([(2048, 1024), (1024, 512)], QWEN3_VL, 700)
    assert (large[0] / small[0], large[1] / small[1]) == pytest.approx((2, 2), rel=0.01)
    assert QWEN3_VL.tokens(*large) + QWEN3_VL.tokens(*small) > 600
