"""Tests of mpnas/quant/gradient.py."""

import jax
import jax.numpy as jnp
import numpy as np

from mpnas.quant.gradient import StraightThrough, grad_scale


def test_straight_through_rounds_half_to_even():
    x = jnp.array([-2.5, -1.5, -0.4, 0.5, 1.5, 2.5, 2.6])
    np.testing.assert_array_equal(StraightThrough()(x), [-2, -2, 0, 0, 2, 2, 3])


def test_straight_through_has_derivative_one_in_both_modes():
    x = jnp.array([-2.5, 0.3, 1e6])
    np.testing.assert_array_equal(jax.grad(lambda v: StraightThrough()(v).sum())(x), np.ones(3))
    _, tangent = jax.jvp(StraightThrough(), (x,), (x,))
    np.testing.assert_array_equal(tangent, x)


def test_straight_through_is_equal_by_value():
    assert hash(StraightThrough()) == hash(StraightThrough())
    assert StraightThrough() == StraightThrough()


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
