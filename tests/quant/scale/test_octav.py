"""Tests of mpnas/quant/scale/octav.py."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import PerChannel, PerTensor, Subgroup
from mpnas.quant.quantizer import Quantizer
from mpnas.quant.scale.base import SCALE_FLOOR
from mpnas.quant.scale.mse import MSE
from mpnas.quant.scale.octav import Octav, best_clip

SMALL = jnp.array([0.1, -0.2, 0.4, -0.8, 1.6, -3.2])
# The quantiles of a distribution stand for a large sample of it, without its noise.
SHARES = (np.arange(400_000) + 0.5) / 400_000
GAUSS = jnp.asarray(stats.norm.ppf(SHARES), jnp.float32)
LAPLACE = jnp.asarray(stats.laplace.ppf(SHARES) / np.sqrt(2), jnp.float32)


@pytest.mark.parametrize("steps, clip", [(0, 1.05), (1, 2.393766), (2, 3.179301), (20, 3.179301)])
def test_the_steps_from_the_mean_are_those_of_the_worked_example(steps, clip):
    found = best_clip(SMALL, IntFormat(4), PerTensor(), steps)
    np.testing.assert_allclose(found, [clip], rtol=1e-6)


@pytest.mark.parametrize("x, bits, clip", [
    (GAUSS, 2, 1.741), (GAUSS, 4, 2.571), (GAUSS, 6, 3.285), (GAUSS, 8, 3.90),
    (LAPLACE, 2, 2.04), (LAPLACE, 4, 3.57), (LAPLACE, 6, 5.27),
])
def test_clips_of_known_distributions_are_those_of_the_literature_in_sigmas(x, bits, clip):
    assert float(best_clip(x, IntFormat(bits), PerTensor())[0]) == pytest.approx(clip, abs=0.03)


def gauss_slope(s, rounding):
    """Derivative of the error model, s^2 rounding P(|x| < s) + E[(|x| - s)^2; |x| > s], at fixed P."""
    tail = 2 * stats.norm.sf(s)
    return s * (rounding * (1 - tail) + tail) - 2 * stats.norm.pdf(s)


def laplace_slope(s, rounding):
    tail = np.exp(-np.sqrt(2) * s)
    return s * (rounding * (1 - tail) + tail) - (s + np.sqrt(0.5)) * tail


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize("slope, x", [(gauss_slope, GAUSS), (laplace_slope, LAPLACE)])
def test_the_clip_is_the_zero_of_the_errors_derivative(slope, x, bits):
    exact = optimize.brentq(slope, 0.5, 12, args=(4.0**-bits / 3,))
    # Twenty of the 400,000 quantiles lie beyond the farthest clip.
    np.testing.assert_allclose(best_clip(x, IntFormat(bits), PerTensor()), [exact], rtol=4e-3)


def test_an_unsigned_format_has_the_clip_of_a_signed_one_with_a_bit_more():
    # A twelfth of 4^-B is a third of 4^-(B + 1): the sign bit resolves the magnitude instead.
    for bits in (2, 3, 7):
        unsigned = best_clip(jnp.abs(GAUSS), IntFormat(bits, signed=False), PerTensor())
        np.testing.assert_allclose(unsigned, best_clip(GAUSS, IntFormat(bits + 1), PerTensor()), rtol=1e-5)


def test_the_scale_splits_the_clip_into_the_steps_of_the_format():
    clip = best_clip(GAUSS, IntFormat(4), PerTensor())
    found = Octav().range(GAUSS, {}, {}, IntFormat(4), PerTensor())
    np.testing.assert_allclose(found.scale, clip / 8, rtol=2e-4)
    positive = Octav().range(jnp.abs(GAUSS), {}, {}, IntFormat(3, False), PerTensor())
    np.testing.assert_allclose(positive.scale, clip / 8, rtol=2e-4)


@pytest.mark.parametrize("value", [1.0, 0.3, 1e-4])
def test_values_of_one_magnitude_are_not_clipped_and_do_not_oscillate(value):
    x = value * jnp.array([1.0, -1.0, 1.0, -1.0])
    for steps in (1, 2, 19, 20):
        np.testing.assert_allclose(best_clip(x, IntFormat(4), PerTensor(), steps), [value], rtol=1e-6)


@pytest.mark.parametrize("x", [jnp.zeros(5), jnp.array([-1.0, -2.0])], ids=["zeros", "nothing_above_zero"])
def test_a_group_without_anything_to_quantize_gets_the_floor(x):
    found = Octav().range(x, {}, {}, IntFormat(4, signed=False), PerTensor())
    np.testing.assert_allclose(found.scale, [SCALE_FLOOR])


def test_zeros_change_nothing():
    padded = jnp.concatenate([SMALL, jnp.zeros(100)])
    np.testing.assert_allclose(best_clip(padded, IntFormat(4), PerTensor()), [3.179301], rtol=1e-6)


@pytest.mark.parametrize("granularity", [PerChannel(), Subgroup(2)], ids=str)
def test_groups_are_solved_apart(granularity):
    x = np.random.default_rng(0).standard_t(3, size=(50, 4)).astype(np.float32)
    found = best_clip(jnp.asarray(x), IntFormat(4), granularity)
    member = np.broadcast_to(granularity.expand(jnp.arange(len(found)), x.shape), x.shape)
    for group, clip in enumerate(found):
        alone = best_clip(jnp.asarray(x[member == group]), IntFormat(4), PerTensor())
        np.testing.assert_allclose(clip, alone[0], rtol=1e-5)


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("name, x", [("gauss", GAUSS[::40]), ("laplace", LAPLACE[::40])])
def test_it_errs_hardly_more_than_a_sweep(bits, name, x):
    # The model does not know that two's complement lacks the topmost level: 2.2 % at 4 bits.
    octav, sweep = (
        jnp.mean((Quantizer(format=IntFormat(bits), scale=scale).quantize(x) - x) ** 2)
        for scale in (Octav(), MSE())
    )
    assert octav <= 1.03 * sweep


def test_asymmetric_formats_are_refused_with_the_way_out():
    with pytest.raises(ConfigError, match="Octav finds a scale without a zero point.*MinMax"):
        Quantizer(format=IntFormat(4, symmetric=False), scale=Octav())
