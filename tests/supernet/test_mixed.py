"""Tests of mpnas/supernet/mixed.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant import (
    FloatFormat,
    IntFormat,
    LearnedStep,
    PerChannel,
    PerTensor,
    Pruned,
    Quantizer,
    Subgroup,
)
from mpnas.space import Choice, Lanes
from mpnas.supernet import Gate, MixedProduct, RangeParam
from mpnas.supernet.operand import initial_ranges, mixture, range_entries

STEPS = {"2/step": jnp.array([0.5]), "4/step": jnp.array([0.1]), "8/step": jnp.array([0.01])}


def choice_of(formats, granularity=PerChannel(-1), shape=(2, 2)):
    candidates = tuple(Quantizer(format=fmt, scale=LearnedStep()) for fmt in formats)
    return Choice("w", "weight", ("w",), candidates, granularity, shape)


def test_mixture_is_the_hand_computation():
    # 2 bits in steps of 0.5 reach -1 to 0.5; 4 bits in steps of 0.1 reach -0.8 to 0.7.
    choice = choice_of([IntFormat(2), IntFormat(4)])
    x = jnp.array([[0.26, -0.74], [0.90, 0.04]])
    gates = jnp.array([[0.25, 0.75], [1.0, 0.0]])
    expected = [[0.25 * 0.5 + 0.75 * 0.3, -0.5], [0.25 * 0.5 + 0.75 * 0.7, 0.0]]
    np.testing.assert_allclose(mixture(choice, gates, x, STEPS, {}), expected, rtol=1e-6)


def test_pruned_adds_nothing_and_float_adds_the_value():
    choice = choice_of([Pruned(), IntFormat(4), FloatFormat()])
    gates = jnp.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    mixed = mixture(choice, gates, jnp.array([[0.26, 0.26]]), STEPS, {})
    np.testing.assert_allclose(mixed, [[0.25 * 0.3 + 0.25 * 0.26, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("granularity, decisions", [
    (PerTensor(), 1), (PerChannel(-1), 5), (Subgroup(2, -1), 3),
])
def test_one_hot_gates_give_each_channel_its_candidate_in_every_bit(granularity, decisions):
    choice = choice_of([Pruned(), IntFormat(2), IntFormat(4), FloatFormat()], granularity, (7, 5))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 5)), jnp.float32)
    picks = np.arange(decisions)[::-1] % 4
    mixed = mixture(choice, jnp.eye(4)[picks], x, STEPS, {})
    channel_pick = picks[granularity.index(5)]
    for channel, pick in enumerate(channel_pick):
        candidate = choice.candidates[pick]
        alone = candidate.quantize(x, range_entries(STEPS, candidate.bits))
        np.testing.assert_array_equal(mixed[:, channel], alone[:, channel])


def test_gates_receive_the_candidates_as_their_gradient():
    choice = choice_of([IntFormat(2), IntFormat(4)])
    x = jnp.array([[0.26, -0.74]])
    slope = jax.grad(lambda g: mixture(choice, g, x, STEPS, {}).sum())(jnp.full((2, 2), 0.5))
    np.testing.assert_allclose(slope, [[0.5, 0.3], [-0.5, -0.7]], rtol=1e-6)


def test_half_precision_stays_half_precision():
    choice = choice_of([IntFormat(2), IntFormat(4)])
    mixed = mixture(choice, jnp.full((2, 2), 0.5), jnp.ones((3, 2), jnp.bfloat16), STEPS, {})
    assert mixed.dtype == jnp.bfloat16


def test_entries_of_one_candidate_lose_their_prefix():
    entries = {"1/step": 1, "16/step": 2, "16/low": 3}
    assert range_entries(entries, 16) == {"step": 2, "low": 3} and range_entries(entries, 1) == {"step": 1}


def test_initial_ranges_are_those_of_every_candidate():
    choice = choice_of([Pruned(), IntFormat(2), IntFormat(4), FloatFormat()])
    x = jnp.array([[0.5, -1.5], [1.0, 1.0]])
    params, stats = initial_ranges(choice, x)
    assert set(params) == {"2/step", "4/step"} and stats == {}
    np.testing.assert_array_equal(params["4/step"], choice.candidates[2].init(x)[0]["step"])


def product(weight=choice_of([IntFormat(2), IntFormat(4)])):
    kernel = jnp.array([[0.26, -0.74], [0.90, 0.04]])
    made = MixedProduct(jnp.matmul, kernel, weight=weight, act=None, in_axis=0,
                        reads=Lanes.of("a", 2))
    made.weight_ranges = {name: RangeParam(STEPS[name]) for name in ("2/step", "4/step")}
    return made, kernel


def test_a_new_product_stands_at_its_highest_candidate_with_all_channels():
    made, kernel = product()
    np.testing.assert_allclose(made.quantized_kernel(kernel), [[0.3, -0.7], [0.7, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(made.quantized_input(kernel), kernel)


def test_removed_input_channels_are_zero_rows_of_the_kernel():
    made, kernel = product()
    made.in_alive = Gate(jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(made.quantized_kernel(kernel), [[0.0, 0.0], [0.35, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(made(jnp.array([[100.0, 2.0]]), kernel), [[0.7, 0.0]], rtol=1e-6)


def test_a_mask_alone_leaves_the_kernel_float():
    made = MixedProduct(jnp.matmul, jnp.ones((2, 2)), weight=None, act=None, in_axis=0,
                        reads=Lanes.of("a", 2))
    made.in_alive = Gate(jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(made(jnp.array([[0.5, 0.25]]), jnp.ones((2, 2))), [[0.5, 0.5]])


def test_recording_quantises_nothing_and_takes_the_ranges_of_what_it_sees():
    made, kernel = product()
    made.recording = True
    np.testing.assert_array_equal(made(jnp.eye(2), kernel), kernel)
    expected = made.weight.candidates[0].init(kernel)[0]["step"]
    np.testing.assert_array_equal(made.weight_ranges["2/step"][...], expected)
