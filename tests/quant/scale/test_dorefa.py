"""Tests of mpnas/quant/scale/dorefa.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat, format_of
from mpnas.quant.granularity import PerChannel, PerTensor
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.dorefa import DoReFa

# tanh of these over its maximum is 1, 0.5, -1/3 and -1.
W = jnp.asarray(np.arctanh([0.9, 0.45, -0.3, -0.9]), jnp.float32)


def dorefa(bits, granularity=PerTensor()):
    return Quantizer(format=format_of(bits, midrise=True), granularity=granularity, scale=DoReFa())


def published(w, bits):
    """The formula as it stands in the paper, in float64."""
    top = 2**bits - 1
    return 2 * np.round(top * (np.tanh(w) / (2 * np.abs(np.tanh(w)).max()) + 0.5)) / top - 1


@pytest.mark.parametrize("bits, expected", [
    (2, [1, 1 / 3, -1 / 3, -1]),      # the levels are +-1 and +-1/3
    (3, [1, 3 / 7, -3 / 7, -1]),      # 0.5 lies between 3/7 and 5/7, -1/3 between -1/7 and -3/7
])
def test_values_land_where_hand_calculation_puts_them(bits, expected):
    np.testing.assert_allclose(dorefa(bits).quantize(W), expected, rtol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_values_are_those_of_the_published_formula(bits):
    w = np.random.default_rng(bits).normal(size=5_000) * 0.3
    found = np.asarray(dorefa(bits).quantize(jnp.asarray(w, jnp.float32)))
    expected = published(w, bits)
    # Float32 may decide a tie the other way.
    assert np.mean(np.abs(found - expected) < 1e-6) > 0.999


def test_one_bit_is_the_sign_times_the_mean_magnitude():
    found = dorefa(1).quantize(W)
    mean = np.abs(W).mean()
    np.testing.assert_allclose(found, [mean, mean, -mean, -mean], rtol=2e-4)


def test_each_group_is_stretched_by_its_own_maximum():
    x = jnp.stack([W, W * 0.01], axis=1)
    found = dorefa(4, PerChannel()).quantize(x)
    assert jnp.abs(found).max(axis=0).tolist() == pytest.approx([1, 1])
    together = dorefa(4).quantize(x)
    assert jnp.abs(together[:, 1]).max() == pytest.approx(1 / 15)


@pytest.mark.parametrize("bits", [2, 8])
def test_the_gradient_passes_through_tanh_and_not_through_the_maximum(bits):
    slope = jax.grad(lambda w: dorefa(bits).quantize(w).sum())(W)
    np.testing.assert_allclose(slope, (1 - np.tanh(W) ** 2) / 0.9, rtol=1e-5)


def test_a_group_of_zeros_gets_the_smallest_positive_value():
    np.testing.assert_allclose(dorefa(2).quantize(jnp.zeros(3)), [1 / 3] * 3, rtol=1e-6)
    assert jnp.isfinite(jax.grad(lambda w: dorefa(2).quantize(w).sum())(jnp.zeros(3))).all()


def test_settled_the_maximum_is_stored():
    settled, stored = dorefa(4).settled(W)
    assert settled == dorefa(4)
    np.testing.assert_allclose(stored["peak"], [0.9], rtol=1e-6)
    np.testing.assert_array_equal(settled.quantize(W[1:3], stored), dorefa(4).quantize(W)[1:3])


@pytest.mark.parametrize("fmt", [IntFormat(4), IntFormat(4, False), IntFormat(4, symmetric=False)], ids=str)
def test_levels_that_include_zero_are_refused(fmt):
    with pytest.raises(ConfigError, match="none at zero, got .*midrise=True"):
        Quantizer(format=fmt, scale=DoReFa())
