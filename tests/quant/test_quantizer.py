"""Tests of mpnas/quant/quantizer.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant.format import FloatFormat, IntFormat, Pruned
from mpnas.quant.granularity import PerChannel, PerTensor, Subgroup
from mpnas.quant.qtensor import decode
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.dorefa import DoReFa
from mpnas.quant.scale.learned import LearnedStep
from mpnas.quant.scale.moving import MovingAverage
from mpnas.quant.scale.mse import MSE
from mpnas.quant.scale.octav import Octav
from mpnas.quant.scale.percentile import Percentile


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel()])
def test_min_max_passes_the_whole_gradient_because_it_clips_nothing(bits, granularity):
    quantizer = Quantizer(format=IntFormat(bits), granularity=granularity)
    x = jnp.asarray(np.random.default_rng(bits).normal(size=(30, 40)), jnp.float32)
    slope = jax.grad(lambda v: quantizer.quantize(v).sum())(x)
    # scale * (1 / scale) is 1 to the last place; a clipped extreme would lose half or all of it.
    np.testing.assert_allclose(slope, np.ones_like(x), rtol=1e-6)


def test_negative_values_that_round_to_zero_give_the_one_zero_that_codes_have():
    x = jnp.array([-0.3, -0.0, 0.3, 7.0])
    quantize = Quantizer(format=IntFormat(4)).quantize
    assert not np.signbit(quantize(x)).any()
    assert not np.signbit(jax.jit(quantize)(x)).any()


@pytest.mark.parametrize(
    "fmt", [IntFormat(16, False, False), IntFormat(16), IntFormat(8, True, False), IntFormat(1)],
    ids=str,
)
def test_compiling_changes_no_bit_of_many_values(fmt):
    # Many values: an expression that the compiler rewrites moves only those near a tie, but those
    # by a whole step.
    x = jnp.asarray(np.random.default_rng(7).uniform(-3, 5, 300_000), jnp.float32)
    quantizer = Quantizer(format=fmt)
    plain, stored = quantizer.quantize(x), jax.jit(quantizer.to_codes)(x)
    for found in (jax.jit(quantizer.quantize)(x), decode(stored), jax.jit(decode)(stored)):
        np.testing.assert_array_equal(
            np.asarray(found).view(np.uint32), np.asarray(plain).view(np.uint32)
        )


@pytest.mark.parametrize("fmt, scale", [
    (IntFormat(16, midrise=True), DoReFa()),
    (IntFormat(16), Octav()),
    (IntFormat(8), MSE(8)),
    (IntFormat(16, signed=False), Percentile(99.0)),
], ids=str)
def test_compiling_changes_no_bit_of_many_values_whose_range_is_a_sum_or_a_rank(fmt, scale):
    x = jnp.asarray(np.random.default_rng(8).normal(size=200_000), jnp.float32)
    quantizer = Quantizer(format=fmt, scale=scale)
    plain, stored = quantizer.quantize(x), jax.jit(quantizer.to_codes)(x)
    for found in (jax.jit(quantizer.quantize)(x), decode(stored), quantizer.quantize(x + 0)):
        np.testing.assert_array_equal(
            np.asarray(found).view(np.uint32), np.asarray(plain).view(np.uint32)
        )


def test_shape_is_what_the_error_is_measured_against():
    x = jnp.array([-2.0, 0.5])
    assert Quantizer(format=IntFormat(4)).shape(x) is x
    assert Quantizer(format=Pruned(), scale=DoReFa()).shape(x) is x
    bent = Quantizer(format=IntFormat(4, midrise=True), scale=DoReFa()).shape(x)
    np.testing.assert_allclose(bent, np.tanh([-2.0, 0.5]) / np.tanh(2.0), rtol=1e-6)


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_are_those_of_onnx_quantize_linear(bits):
    # Its definition, in NumPy: saturate(round_half_even(x / y_scale) + y_zero_point).
    fmt = IntFormat(bits, signed=False, symmetric=False)
    x = np.random.default_rng(bits).normal(size=20_000).astype(np.float32)
    q = Quantizer(format=fmt).to_codes(jnp.asarray(x))
    scale, zero_point = np.asarray(q.scale), np.asarray(q.zero_point)
    expected = np.clip(np.rint(x / scale) + zero_point, fmt.qmin, fmt.qmax)
    np.testing.assert_array_equal(q.codes, expected)


def test_pruned_is_zero_with_zero_gradient_even_for_infinite_values():
    quantizer = Quantizer(format=Pruned())
    x = jnp.array([1.0, jnp.inf])
    assert quantizer.quantize(x).tolist() == [0, 0]
    assert jax.grad(lambda v: quantizer.quantize(v).sum())(x).tolist() == [0, 0]
    assert (quantizer.bits, quantizer.init(x)) == (0, ({}, {}))


def test_float_passes_values_and_gradients_unchanged():
    quantizer = Quantizer(format=FloatFormat())
    x = jnp.array([1.1, -2.7e-30])
    np.testing.assert_array_equal(quantizer.quantize(x), x)
    assert jax.grad(lambda v: quantizer.quantize(v).sum())(x).tolist() == [1, 1]
    assert (quantizer.bits, quantizer.init(x)) == (32, ({}, {}))


def test_bfloat16_values_are_computed_in_float32_and_returned_as_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(size=50), jnp.bfloat16)
    quantizer = Quantizer(format=IntFormat(8))
    found = quantizer.quantize(x)
    assert found.dtype == jnp.bfloat16
    exact = quantizer.quantize(x.astype(jnp.float32))
    assert (found == exact.astype(jnp.bfloat16)).all()


def test_observed_range_clips_later_values():
    quantizer = Quantizer(format=IntFormat(8, signed=False), scale=MovingAverage())
    params, stats = quantizer.init(jnp.array([0.0, 2.55]))
    np.testing.assert_allclose(
        quantizer.quantize(jnp.array([9.0, 0.014]), params, stats), [2.55, 0.01], rtol=1e-5
    )


def test_quantizers_are_static_under_jit():
    traces = []
    run = jax.jit(lambda quantizer, x: traces.append(1) or quantizer.quantize(x), static_argnums=0)
    x = jnp.array([0.1, 0.7])
    np.testing.assert_array_equal(run(Quantizer(format=IntFormat(2)), x),
                                  run(Quantizer(format=IntFormat(2)), x))
    assert len(traces) == 1


def test_a_population_is_a_leading_axis():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(3, 4, 5)), jnp.float32)
    quantizer = Quantizer(format=IntFormat(3), granularity=Subgroup(2), scale=LearnedStep())
    params, stats = jax.vmap(quantizer.init)(x)
    together = jax.vmap(quantizer.quantize)(x, params, stats)
    for member in range(3):
        alone = quantizer.quantize(x[member], {"step": params["step"][member]})
        np.testing.assert_array_equal(together[member], alone)


def test_zero_is_exact_under_asymmetric_ranges():
    quantizer = Quantizer(format=IntFormat(3, signed=False, symmetric=False))
    assert quantizer.quantize(jnp.array([-0.37, 0.0, 1.91]))[1] == 0
    q = quantizer.to_codes(jnp.array([-0.37, 0.0, 1.91]))
    assert q.codes[1] == q.zero_point[0] and decode(q)[1] == 0
