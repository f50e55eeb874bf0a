"""Tests of mpnas/quant/gradient/clipping.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant import IntFormat, LearnedStep, Quantizer, fake_quantize
from mpnas.quant.gradient import Clipped, MagnitudeAware, StraightThrough

# 4 signed bits at scale 0.5 reach from -4 to 3.5.
X = jnp.array([-8.0, -4.0, -0.2, 0.0, 3.5, 7.0])


def slopes(gradient, fmt=IntFormat(4)):
    return jax.grad(lambda x: fake_quantize(x, jnp.array([0.5]), None, fmt, gradient).sum())(X)


@pytest.mark.parametrize("gradient, expected", [
    (Clipped(), [0, 1, 1, 1, 1, 0]),
    (StraightThrough(), [1, 1, 1, 1, 1, 1]),
    (MagnitudeAware(), [4 / 8, 1, 1, 1, 1, 3.5 / 7]),
], ids=str)
def test_derivative_beyond_the_range_is_that_of_the_paper(gradient, expected):
    np.testing.assert_allclose(slopes(gradient), expected, rtol=1e-6)


def test_magnitude_aware_lets_nothing_through_below_an_unsigned_range_that_ends_at_zero():
    unsigned = slopes(MagnitudeAware(), IntFormat(3, signed=False))
    np.testing.assert_allclose(unsigned, [0, 0, 0, 1, 1, 3.5 / 7], rtol=1e-6)


@pytest.mark.parametrize("gradient", [Clipped(), StraightThrough(), MagnitudeAware()], ids=str)
def test_a_learned_step_keeps_its_own_gradient_under_every_clip(gradient):
    quantizer = Quantizer(format=IntFormat(4), scale=LearnedStep(), gradient=gradient)
    slope = jax.grad(lambda step: quantizer.quantize(jnp.array([99.0]), {"step": step}).sum())
    np.testing.assert_allclose(slope(jnp.ones(1)), [7 / np.sqrt(7)], rtol=1e-6)
