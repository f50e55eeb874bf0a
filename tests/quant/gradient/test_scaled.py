"""Tests of mpnas/quant/gradient/scaled.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.errors import ConfigError
from mpnas.quant import IntFormat, fake_quantize
from mpnas.quant.gradient import EWGS, Clipped, InverseTanh

X = np.array([-1.4, -0.5, 0.2, 0.5, 3.75], np.float32)
REMAINDER = np.array([-0.4, -0.5, 0.2, 0.5, -0.25])


def pulled(gradient, upstream):
    _, back = jax.vjp(gradient.round, jnp.asarray(X))
    return back(jnp.asarray(upstream, jnp.float32))[0]


@pytest.mark.parametrize("upstream", [np.full(5, 3.0), np.full(5, -0.5), np.array([1, -2, 0, 4, -1e-3])])
def test_ewgs_is_g_times_one_plus_delta_sign_g_remainder(upstream):
    expected = upstream * (1 + 0.3 * np.sign(upstream) * REMAINDER)
    np.testing.assert_allclose(pulled(EWGS(delta=0.3), upstream), expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_inverse_tanh_follows_its_formula(alpha):
    g = np.array([1.0, -2.0, 0.5, 4.0, -1.0])
    bent = [0.5 / math.atanh(0.95 * alpha) * math.atanh(1.9 * alpha * r) for r in REMAINDER]
    expected = g * (1 + 0.3 * np.sign(g) * np.array(bent))
    np.testing.assert_allclose(pulled(InverseTanh(delta=0.3, alpha=alpha), g), expected, rtol=1e-4)


def test_inverse_tanh_meets_ewgs_on_a_code_and_at_a_tie_and_lies_below_between():
    ewgs, atanh = EWGS(), InverseTanh()
    r = jnp.array([0.0, 0.1, 0.25, 0.4, 0.5])
    np.testing.assert_allclose(atanh.pull(r)[jnp.array([0, 4])], [0, 0.5], rtol=1e-5)
    assert (atanh.pull(r)[1:4] < ewgs.pull(r)[1:4]).all()
    np.testing.assert_allclose(InverseTanh(alpha=1e-3).pull(r), ewgs.pull(r), rtol=1e-5)


@pytest.mark.parametrize("gradient", [EWGS(), InverseTanh()], ids=str)
def test_nothing_passes_beyond_the_range_and_values_are_those_of_clipped(gradient):
    x, scale = jnp.array([-9.0, 0.6, 9.0]), jnp.array([0.5])
    found, back = jax.vjp(lambda v: fake_quantize(v, scale, None, IntFormat(4), gradient), x)
    np.testing.assert_array_equal(found, fake_quantize(x, scale, None, IntFormat(4), Clipped()))
    slopes = back(jnp.ones(3))[0]
    # 0.6 is 1.2 steps: the remainder is 0.2, and the gradient that arrives is positive.
    assert slopes[0] == slopes[2] == 0
    expected = 1 + 5e-3 * gradient.pull(jnp.float32(0.2))
    np.testing.assert_allclose(slopes[1], expected, rtol=1e-6)


@pytest.mark.parametrize("member", [EWGS, InverseTanh])
@pytest.mark.parametrize("delta", [-0.1, 2.0, math.nan, math.inf])
def test_a_strength_that_turns_gradients_around_is_refused(member, delta):
    with pytest.raises(ConfigError, match=f"{member.__name__} needs 0 <= delta < 2, got {delta}"):
        member(delta=delta)


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1.06, math.nan])
def test_a_steepness_without_a_finite_formula_is_refused(alpha):
    with pytest.raises(ConfigError, match=f"InverseTanh needs 0 < alpha < 1.0526.*got {alpha}"):
        InverseTanh(alpha=alpha)
