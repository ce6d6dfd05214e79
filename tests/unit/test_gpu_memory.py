"""The memory rule against published logs and counts, and the laws of what fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captionqa.core.gpu_fit import SEQUENCES, Fit, Wish, fit, fits
from captionqa.core.gpu_memory import (
    BATCHED_TOKENS,
    CARDS_GB,
    DRIVER,
    GIB,
    MIB,
    PARALLEL_SIZES,
    Architecture,
    Format,
    cache_bytes_per_token,
    card_bytes,
    memory_needed,
    overhead_bytes,
    parallel_sizes,
    weight_bytes,
    weight_bytes_per_gpu,
)
from captionqa.server.models import Preset, catalogue, named_preset

PRESETS = st.sampled_from(catalogue().presets)
MEMORY = st.integers(4 * GIB, 200 * GIB)
GPUS = st.integers(1, 8)


def best(preset: Preset, gpu_bytes: int, **wish: int) -> Fit | None:
    return fit(preset.architecture, preset.format.form, gpu_bytes, preset.wish(**wish))


# Start logs of vLLM that people have published: weights in GiB on each GPU, tokens in GiB of cache, and all else.
@pytest.mark.parametrize(
    ("name", "without_vision", "sharing", "weights", "tokens", "cache", "sequences", "batched", "overhead"),
    [
        # vLLM 0.10.2, one GPU of 79.19 GiB, 0.9 of it: 1.97 activations, 0.07 not torch, 0.67 CUDA graphs.
        ("llava-v1.6-mistral-7b", False, 1, 14.08, 451_744, 55.15, 256, 16384, 2.71),
        # github.com/vllm-project/vllm/issues/21348: the text model, 4 × H100 (79.25 GiB), 0.9 of it.
        ("qwen3-vl-235b-a22b-instruct-fp8", True, 4, 55.05, 178_880, 8.11, 1024, 8192, 8.15),
    ],
)
def test_the_rule_agrees_with_what_vllm_logged(
    name: str,
    without_vision: bool,
    sharing: int,
    weights: float,
    tokens: int,
    cache: float,
    sequences: int,
    batched: int,
    overhead: float,
) -> None:
    preset = named_preset(name)
    model, form = preset.architecture, preset.format.form
    if without_vision:
        model = replace(model, vision_parameters=0, image_patches=1, image_tokens=1, vision_hidden=1, deepstack=0)
    assert weight_bytes_per_gpu(model, form, sharing) / GIB == pytest.approx(weights, rel=0.002)
    assert cache * GIB / cache_bytes_per_token(model, sharing) == pytest.approx(tokens, rel=0.015)
    assert overhead <= overhead_bytes(model, sharing, sequences, batched) / GIB <= 1.6 * overhead


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("qwen3-vl-8b-instruct-awq", 7.55),  # what its users report for cyankiwi's repository
        ("qwen3-vl-32b-instruct-awq", 20),  # QuantTrio's: «~20 GB»
    ],
)
def test_quantised_weights_are_as_large_as_reported(name: str, gigabytes: float) -> None:
    preset = named_preset(name)
    assert weight_bytes(preset.architecture, preset.format.form) / 1e9 == pytest.approx(gigabytes, rel=0.03)


def test_a_cache_is_two_times_layers_times_heads_times_two_bytes() -> None:
    model = named_preset("qwen3-vl-8b").architecture
    assert cache_bytes_per_token(model, 1) == 2 * 36 * 8 * 128 * 2
    assert [cache_bytes_per_token(model, size) for size in PARALLEL_SIZES] == [147456, 73728, 36864, 18432]


def test_gpus_beyond_the_kv_heads_hold_copies_of_the_cache() -> None:
    model = named_preset("qwen2.5-vl-3b").architecture
    assert model.kv_heads == 2
    assert cache_bytes_per_token(model, 4) == cache_bytes_per_token(model, 2)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("qwen3-vl-8b", (1, 2, 4, 8)),
        ("qwen3-vl-4b-fp8", (1, 2, 4)),  # 9,728 inputs are 76 blocks of 128: 8 GPUs would cut one
        ("qwen2.5-vl-7b", (1, 2, 4)),  # 28 heads
        ("llava-onevision-0.5b", (1, 2)),  # 14 heads
        ("qwen2-vl-72b-awq", (1, 2, 4, 8)),  # 29,696 inputs; the unpadded 29,568 are 231 blocks
        ("qwen3-vl-235b-fp8", (1, 2, 4, 8)),  # experts are spread whole
    ],
)
def test_a_model_is_shared_by_as_many_gpus_as_divide_it(name: str, sizes: tuple[int, ...]) -> None:
    preset = named_preset(name)
    assert parallel_sizes(preset.architecture, preset.format.form) == sizes


def test_an_unpadded_72b_in_awq_cannot_be_shared() -> None:
    model, form = named_preset("qwen2-vl-72b").architecture, named_preset("qwen2-vl-72b-awq").format.form
    assert model.intermediate == 29568
    assert parallel_sizes(model, form) == (1,)


@given(PRESETS)
def test_every_number_of_gpus_is_a_divisor(preset: Preset) -> None:
    model, form = preset.architecture, preset.format.form
    for size in parallel_sizes(model, form):
        assert model.heads % size == 0
        assert model.kv_heads % size == 0 or size % model.kv_heads == 0
        if form.block > 1 and size > 1:
            assert (model.experts or model.intermediate // form.block) % size == 0


@given(PRESETS, MEMORY, st.integers(0, 100 * GIB), GPUS, st.integers(0, 7))
def test_more_memory_or_more_gpus_never_fit_less(
    preset: Preset, memory: int, more: int, gpus: int, further: int
) -> None:
    before = best(preset, memory, gpus=gpus)
    assume(before is not None)
    assert before is not None
    after = best(preset, memory + more, gpus=gpus)
    assert after is not None
    assert after.tensor_parallel <= before.tensor_parallel or after.max_model_len >= before.max_model_len
    assert best(preset, memory, gpus=gpus + further) is not None
    assert {one.tensor_parallel for one in all_fits(preset, memory, gpus)} <= {
        one.tensor_parallel for one in all_fits(preset, memory + more, gpus)
    }


def all_fits(preset: Preset, memory: int, gpus: int) -> list[Fit]:
    return fits(preset.architecture, preset.format.form, memory, preset.wish(gpus=gpus))


@given(PRESETS, MEMORY, st.integers(1, 262144), st.integers(1, 262144))
def test_a_longer_context_never_fits_where_a_shorter_does_not(
    preset: Preset, memory: int, one: int, other: int
) -> None:
    short, long = sorted((one, other))
    if best(preset, memory, exact_length=long) is not None:
        assert best(preset, memory, exact_length=short) is not None


@given(PRESETS, MEMORY, GPUS)
def test_what_fits_is_within_the_card_and_holds_one_request_of_full_length(
    preset: Preset, memory: int, gpus: int
) -> None:
    found = best(preset, memory, gpus=gpus)
    assume(found is not None)
    assert found is not None
    assert found.memory.total <= (memory - DRIVER) * found.utilization
    assert found.cache_tokens >= found.max_model_len
    assert found.max_model_len <= min(preset.length, preset.architecture.context)
    assert found.tensor_parallel <= gpus
    assert found.tensor_parallel in parallel_sizes(preset.architecture, preset.format.form)
    assert (found.sequences, found.batched_tokens) in {(s, b) for s in SEQUENCES for b in BATCHED_TOKENS}


@given(PRESETS, st.integers(0, 500_000), st.sampled_from(PARALLEL_SIZES), st.integers(0, 100_000))
def test_memory_grows_with_what_is_in_the_cache_and_shrinks_with_sharing(
    preset: Preset, tokens: int, sharing: int, more: int
) -> None:
    model, form = preset.architecture, preset.format.form
    one = memory_needed(model, form, tokens=tokens, tensor_parallel=sharing)
    assert memory_needed(model, form, tokens=tokens + more, tensor_parallel=sharing).total >= one.total
    halved = memory_needed(model, form, tokens=tokens, tensor_parallel=2 * sharing)
    assert halved.weights <= one.weights
    assert halved.cache <= one.cache


def test_a_users_settings_are_kept() -> None:
    preset = named_preset("8b-fp8")
    wish = preset.wish(tensor_parallel=4, exact_length=5000, sequences=3, utilization=0.5)
    found = fit(preset.architecture, preset.format.form, card_bytes(24), wish)
    assert found is not None
    assert (found.tensor_parallel, found.max_model_len, found.sequences, found.utilization) == (4, 5000, 3, 0.5)
    assert fit(preset.architecture, preset.format.form, card_bytes(24), preset.wish(tensor_parallel=3)) is None


def test_cards_are_as_large_as_nvidia_smi_says_and_others_decimal() -> None:
    assert [card_bytes(size) // MIB for size in CARDS_GB] == [15360, 23028, 40960, 81559, 143771]
    assert card_bytes(12) == 12_000_000_000
    assert card_bytes(23.5) == 23_500_000_000


def test_a_model_with_experts_counts_those_that_are_used() -> None:
    model = named_preset("30b").architecture
    assert model.parameters == 31_070_754_032
    assert 3e9 < model.active_parameters < 4e9
    dense = Architecture(1, 8, 2, 1, 4, 16, 10, 100, True, 5, 4, 4, 4, 1)
    assert dense.active_parameters == dense.parameters == 10 * 8 + (8 * 4 * 6 + 3 * 8 * 16) + (16 + 8) + 5


def test_a_plain_format_is_two_bytes_for_everything() -> None:
    model = named_preset("4b").architecture
    assert weight_bytes(model, Format(2.0, 1, 8.0, 8.0)) == 2 * model.parameters


def test_a_wish_for_more_than_the_context_is_cut_to_it() -> None:
    preset = named_preset("llava-1.5-7b")
    found = fit(preset.architecture, preset.format.form, card_bytes(80), Wish(100_000, 1024))
    assert found is not None
    assert found.max_model_len == preset.architecture.context == 4096
