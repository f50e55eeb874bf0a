"""Tests of mpnas/quant/scale/minmax.py."""

import jax
import jax.numpy as jnp
import numpy as np

from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import PerChannel, PerTensor
from mpnas.quant.scale.base import SCALE_FLOOR
from mpnas.quant.scale.minmax import MinMax

X = jnp.array([[-4.0, 0.5, 0.0], [3.5, -2.0, 0.0]])


def test_it_trains_and_observes_nothing():
    assert MinMax().init(X, IntFormat(4), PerTensor()) == ({}, {})
    assert MinMax().observe(X, {}, IntFormat(4), PerTensor()) == {}


def test_each_group_gets_the_scale_of_its_own_extremes():
    found = MinMax().range(X, {}, {}, IntFormat(4), PerChannel())
    # 4 / 8 and 3.5 / 7; 2 / 8 over 0.5 / 7; nothing but zeros.
    np.testing.assert_allclose(found.scale, [0.5, 0.25, SCALE_FLOOR], rtol=1e-6)


def test_the_range_is_a_constant_of_the_gradient():
    scale = jax.grad(lambda x: MinMax().range(x, {}, {}, IntFormat(4), PerTensor()).scale.sum())
    np.testing.assert_array_equal(scale(X), np.zeros_like(X))
