"""Tests of mpnas/quant/gradient: what every gradient estimator promises.

A new member is one new row in `MEMBERS`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant import (
    EWGS,
    Clipped,
    IntFormat,
    InverseTanh,
    LearnedStep,
    MagnitudeAware,
    Quantizer,
    StraightThrough,
)

MEMBERS = [
    Clipped(),
    StraightThrough(),
    MagnitudeAware(),
    EWGS(),
    EWGS(delta=1.5),
    InverseTanh(),
    InverseTanh(delta=1.5, alpha=0.3),
]
EVERY_MEMBER = pytest.mark.parametrize("gradient", MEMBERS, ids=str)
FORMATS = [IntFormat(1), IntFormat(3), IntFormat(8, signed=False), IntFormat(4, midrise=True)]
EVERY_FORMAT = pytest.mark.parametrize("fmt", FORMATS, ids=str)
X = jnp.asarray(np.random.default_rng(0).normal(size=(40, 10)) * 2, jnp.float32)
STEP = {"step": jnp.array([0.7])}


def quantizer(gradient, fmt):
    return Quantizer(format=fmt, scale=LearnedStep(), gradient=gradient)


@EVERY_MEMBER
@EVERY_FORMAT
def test_values_are_those_of_every_other_gradient_in_every_bit(gradient, fmt):
    expected = quantizer(Clipped(), fmt).quantize(X, STEP)
    for run in (lambda f: f, jax.jit):
        np.testing.assert_array_equal(run(quantizer(gradient, fmt).quantize)(X, STEP), expected)
    found, _ = jax.vjp(lambda x: quantizer(gradient, fmt).quantize(x, STEP), X)
    np.testing.assert_array_equal(found, expected)


@EVERY_MEMBER
def test_whole_numbers_round_to_themselves(gradient):
    whole = jnp.arange(-40.0, 41.0)
    np.testing.assert_array_equal(gradient.round(whole), whole)


@EVERY_MEMBER
@EVERY_FORMAT
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_gradient_changes_its_sign_or_more_than_doubles(gradient, fmt, sign):
    slope = jax.grad(lambda x: sign * quantizer(gradient, fmt).quantize(x, STEP).sum())(X) * sign
    assert jnp.isfinite(slope).all() and (slope >= 0).all() and (slope <= 2).all()


@EVERY_MEMBER
@EVERY_FORMAT
def test_a_value_on_a_code_passes_its_gradient_whole(gradient, fmt):
    codes = jnp.arange(fmt.qmin, fmt.qmax + 1) + fmt.offset
    slope = jax.grad(lambda x: quantizer(gradient, fmt).quantize(x, {"step": jnp.ones(1)}).sum())(codes)
    np.testing.assert_array_equal(slope, np.ones(len(codes)))


@EVERY_MEMBER
def test_a_population_is_a_leading_axis(gradient):
    slope = jax.grad(lambda x: (quantizer(gradient, IntFormat(3)).quantize(x, STEP) ** 2).sum())
    np.testing.assert_allclose(jax.vmap(slope)(X), jnp.stack([slope(x) for x in X]), rtol=1e-6)


@EVERY_MEMBER
def test_members_are_equal_by_value_and_static_under_jit(gradient):
    twin = type(gradient)(**vars(gradient))
    assert twin == gradient and hash(twin) == hash(gradient)
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def run(member, x):
        traced.append(member)
        return member.round(x)

    np.testing.assert_array_equal(run(gradient, X), run(twin, X))
    assert traced == [gradient]
