"""Tests of mpnas/quant/gradient/base.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant.gradient import Clipped, MagnitudeAware, StraightThrough, grad_scale

X = jnp.array([-9.0, -8.0, 0.3, 7.0, 7.1])


def test_rounding_is_half_to_even():
    x = jnp.array([-2.5, -1.5, -0.4, 0.5, 1.5, 2.5, 2.6])
    np.testing.assert_array_equal(Clipped().round(x), [-2, -2, 0, 0, 2, 2, 3])


def test_rounding_has_derivative_one_in_both_modes():
    x = jnp.array([-2.5, 0.3, 1e6])
    np.testing.assert_array_equal(jax.grad(lambda v: Clipped().round(v).sum())(x), np.ones(3))
    _, tangent = jax.jvp(Clipped().round, (x,), (x,))
    np.testing.assert_array_equal(tangent, x)


@pytest.mark.parametrize("gradient", [Clipped(), StraightThrough(), MagnitudeAware()], ids=str)
def test_the_ends_of_a_clip_learn_from_the_values_beyond_them_whatever_the_values_learn(gradient):
    slopes = jax.grad(lambda low, high: (gradient.clip(X, low, high) * jnp.arange(1.0, 6)).sum(), (0, 1))
    assert slopes(jnp.float32(-8), jnp.float32(7)) == (1, 5)


def test_a_value_within_a_millionth_of_an_end_counts_as_inside():
    slope = jax.grad(lambda x: Clipped().clip(x, -1.0, 1.0).sum())
    assert slope(jnp.array([1 + 5e-7, 1 + 2e-6, -1 - 5e-7, -1 - 2e-6])).tolist() == [1, 0, 1, 0]


def test_grad_scale_keeps_every_bit_and_multiplies_the_gradient():
    x = jnp.array([0.1, 3.3e-9, -7e20])
    factor = np.array([0.37, 2.0, 0.0], np.float32)
    np.testing.assert_array_equal(jax.jit(grad_scale)(x, factor), x)
    np.testing.assert_array_equal(jax.grad(lambda v: grad_scale(v, factor).sum())(x), factor)
    np.testing.assert_array_equal(
        jax.grad(lambda v: grad_scale(v, 0.25).sum())(x), np.full(3, 0.25, np.float32)
    )


def test_grad_scale_works_under_vmap():
    slope = jax.vmap(jax.grad(lambda v, f: grad_scale(v, f)))
    np.testing.assert_array_equal(slope(jnp.ones(3), jnp.arange(3.0)), [0, 1, 2])
