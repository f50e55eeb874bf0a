"""Tests of mpnas/supernet/primitives.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.supernet.primitives import (
    KEEPS_SIGN,
    NEVER_NEGATIVE,
    mixed_dimensions,
    result_nonnegative,
)

VALUES = jnp.array([0.0, 0.3, 1.0, 1.7, 40.0])
UNARY = {
    "cbrt": jnp.cbrt, "floor": jnp.floor, "ceil": jnp.ceil, "round": jnp.round, "log1p": jnp.log1p,
    "tanh": jnp.tanh, "expm1": jnp.expm1, "sign": jnp.sign, "erf": jax.scipy.special.erf,
    "asinh": jnp.arcsinh, "sinh": jnp.sinh, "atan": jnp.arctan, "sqrt": jnp.sqrt,
    "cumsum": jnp.cumsum, "cumprod": jnp.cumprod,
}
ANY_SIGN = {
    "exp": jnp.exp, "exp2": jnp.exp2, "logistic": jax.nn.sigmoid, "abs": jnp.abs, "square": jnp.square,
    "erfc": jax.scipy.special.erfc, "cosh": jnp.cosh,
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_that_keep_the_sign_do(name):
    assert name in KEEPS_SIGN and result_nonnegative(name, {}, [True])
    assert bool(jnp.all(UNARY[name](VALUES) >= 0))


@pytest.mark.parametrize("name", ANY_SIGN)
def test_functions_that_are_never_negative_are_not(name):
    assert name in NEVER_NEGATIVE and result_nonnegative(name, {}, [False])
    assert bool(jnp.all(ANY_SIGN[name](jnp.concatenate([-VALUES, VALUES])) >= 0))


@pytest.mark.parametrize("name", ["sub", "neg", "log", "sin", "lgamma", "fft"])
def test_what_can_go_below_zero_or_is_not_known_is_signed(name):
    assert not result_nonnegative(name, {}, [True, True])


@pytest.mark.parametrize("name, signs, expected", [
    ("max", [False, True], True),
    ("min", [False, True], False),
    ("add", [True, False], False),
    ("clamp", [True, False, True], True),
    ("clamp", [False, True, True], True),
    ("clamp", [False, True, False], False),
    ("select_n", [False, True, True], True),
    ("dynamic_slice", [True, False], True),
    ("dynamic_update_slice", [True, False, True], False),
])
def test_signs_of_several_operands(name, signs, expected):
    assert result_nonnegative(name, {}, signs) is expected


def test_even_powers_are_never_negative():
    assert result_nonnegative("integer_pow", {"y": 2}, [False])
    assert not result_nonnegative("integer_pow", {"y": 3}, [False])


def _params(function):
    (equation,) = jax.make_jaxpr(function)(np.zeros((2, 4, 4, 6), np.float32)).eqns
    return equation.primitive.name, equation.params


@pytest.mark.parametrize("function, dimensions", [
    (lambda x: jax.lax.rev(x, (3,)), {3}),
    (lambda x: jax.lax.sort(x, dimension=2), {2}),
    (lambda x: jax.lax.cumsum(x, axis=1), {1}),
    (lambda x: jax.lax.pad(x, 0.0, [(0, 0, 0), (0, 0, 0), (0, 0, 0), (1, -1, 0)]), {3}),
    (lambda x: jax.lax.reduce_window_max_p.bind(
        x, window_dimensions=(1, 1, 1, 3), window_strides=(1, 1, 1, 1), padding=((0, 0),) * 3 + ((1, 1),),
        base_dilation=(1,) * 4, window_dilation=(1,) * 4), {3}),
    (lambda x: jax.lax.slice(x, (0, 0, 0, 0), (2, 4, 4, 3)), set()),
])
def test_dimensions_along_which_entries_move_are_known(function, dimensions):
    assert mixed_dimensions(*_params(function)) == dimensions
