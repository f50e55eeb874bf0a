"""Tests of mpnas/quant/qtensor.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant.format import FloatFormat, IntFormat, Pruned
from mpnas.quant.granularity import PerChannel, PerTensor
from mpnas.quant.qtensor import QTensor, decode


@pytest.mark.parametrize(
    "fmt, codes, zero_point, expected",
    [
        (IntFormat(4), [-8, 0, 7], None, [-4.0, 0.0, 3.5]),
        (IntFormat(1), [-1, 0, 0], None, [-0.25, 0.25, 0.25]),
        (IntFormat(4, False, False), [0, 5, 15], [5.0], [-2.5, 0.0, 5.0]),
        (IntFormat(16, False, False), [0, 65535, 65534], [65535.0], [-32767.5, 0.0, -0.5]),
    ],
)
def test_codes_mean_scale_times_code_minus_zero_point(fmt, codes, zero_point, expected):
    q = QTensor(
        jnp.array(codes, fmt.code_dtype),
        jnp.array([0.5]),
        None if zero_point is None else jnp.array(zero_point),
        fmt,
        PerTensor(),
    )
    assert decode(q).dtype == jnp.float32
    assert decode(q).tolist() == expected


def test_each_channel_uses_its_own_scale_and_zero_point():
    q = QTensor(
        jnp.array([[1, 1], [2, 2]], jnp.uint8), jnp.array([1.0, 10.0]), jnp.array([0.0, 1.0]),
        IntFormat(2, False, False), PerChannel(),
    )
    assert decode(q).tolist() == [[1, 0], [2, 10]]


def test_float_codes_are_the_values_and_pruned_ones_are_zero():
    values = jnp.array([1.5, -2.25])
    one = jnp.ones(1)
    assert decode(QTensor(values, one, None, FloatFormat(), PerTensor())).tolist() == [1.5, -2.25]
    zeros = decode(QTensor(jnp.zeros(2, jnp.int8), one, None, Pruned(), PerTensor()))
    assert zeros.dtype == jnp.float32 and zeros.tolist() == [0, 0]


def test_it_is_a_pytree_of_arrays_with_a_static_format():
    q = QTensor(jnp.zeros(3, jnp.int8), jnp.ones(1), None, IntFormat(4), PerTensor())
    assert [leaf.dtype for leaf in jax.tree.leaves(q)] == [jnp.int8, jnp.float32]
    same = jax.jit(lambda tree: tree)(q)
    assert (same.format, same.granularity, same.zero_point) == (IntFormat(4), PerTensor(), None)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), q)
    np.testing.assert_array_equal(jax.vmap(decode)(stacked), np.zeros((2, 3)))
