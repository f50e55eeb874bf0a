"""Tests of mpnas/quant/scale/entropy.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import PerChannel, PerTensor
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.base import SCALE_FLOOR
from mpnas.quant.scale.entropy import Entropy
from mpnas.quant.scale.minmax import MinMax
from mpnas.space import Rule
from mpnas.supernet import attach

GAUSS = jnp.asarray(stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000), jnp.float32)


def quantizer(bits, scale=Entropy()):
    return Quantizer(format=IntFormat(bits, midrise=bits > 1), granularity=PerTensor(), scale=scale)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_values_are_those_of_the_normalised_weights_on_levels_from_minus_one_to_one(bits):
    # The method's own words: w~ = 2^(b-1) / (2^b - 1) * n / ||w||_1 * w, then 2^b levels from -1 to 1.
    w = np.random.default_rng(bits).standard_normal(500)
    factor = 2 ** (bits - 1) / (2**bits - 1) / np.mean(np.abs(w))
    levels = np.linspace(-1, 1, 2**bits)
    wanted = levels[np.argmin(np.abs(np.clip(w * factor, -1, 1)[:, None] - levels), axis=1)] / factor
    found = np.asarray(quantizer(bits).quantize(jnp.asarray(w, jnp.float32), {}))
    # The mean magnitude is kept to 13 bits, so a value on the edge of two levels may fall to either.
    close = np.isclose(found, wanted, rtol=1e-3)
    assert close.mean() > 0.995


def test_scale_is_the_mean_magnitude_over_a_power_of_two_for_each_channel():
    x = jnp.array([[1.0, -8.0], [-3.0, 0.0]])
    found = Entropy().range(x, {}, {}, IntFormat(4, midrise=True), PerChannel(axis=1)).scale
    np.testing.assert_array_equal(found, [2 / 4, 4 / 4])


def test_one_bit_is_the_mean_magnitude_with_its_sign():
    found = quantizer(1).quantize(jnp.array([1.0, -3.0, 0.5, -3.5]), {})
    np.testing.assert_array_equal(found, [2, -2, 2, -2])


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_codes_of_gaussian_weights_have_more_entropy_than_under_their_extremes(bits):
    def entropy(scale):
        q = quantizer(bits, scale)
        codes = np.asarray(q.quantize(GAUSS, {}))
        shares = np.unique(codes, return_counts=True)[1] / codes.size
        return -np.sum(shares * np.log2(shares))

    assert entropy(Entropy()) > entropy(MinMax()) + 0.5
    assert entropy(Entropy()) > bits - 0.15  # nearly all that so many bits can carry


def test_range_is_a_constant_of_the_gradient():
    scale = lambda x: jnp.sum(Entropy().range(x, {}, {}, IntFormat(2, midrise=True), PerTensor()).scale)
    assert not np.any(jax.grad(scale)(jnp.array([1.0, -3.0])))


def test_a_group_of_zeros_has_the_smallest_scale():
    found = Entropy().range(jnp.zeros((4, 2)), {}, {}, IntFormat(4), PerChannel(axis=1)).scale
    np.testing.assert_array_equal(found, np.full(2, SCALE_FLOOR, np.float32))


@pytest.mark.parametrize("fmt, words", [
    (IntFormat(4, signed=False), "measures weights of both signs"),
    (IntFormat(4, symmetric=False), "finds a scale without a zero point"),
])
def test_formats_without_both_signs_are_refused(fmt, words):
    with pytest.raises(ConfigError, match=words):
        Entropy().range(jnp.ones(3), {}, {}, fmt, PerTensor())


def test_a_rule_can_name_it_and_gets_levels_on_both_sides_of_zero():
    net = attach(
        nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.Linear(4, 2, rngs=nnx.Rngs(1))),
        np.ones((2, 3), np.float32), [Rule(match="*", weights=(2, 4), weight_range="entropy")],
    )
    for choice in net.space.choices.values():
        assert all(c.scale == Entropy() and c.format.midrise for c in choice.candidates)
    for kernel, *_ in net.quantized_kernels(net.parts).values():
        # Two bits: two magnitudes for each channel, and no zero.
        assert len(np.unique(np.abs(np.asarray(kernel)))) <= 2 * kernel.shape[1]
        assert np.all(np.asarray(kernel) != 0)
