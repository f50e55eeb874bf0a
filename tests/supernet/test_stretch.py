"""Tests of mpnas/supernet/stretch.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.space import Lanes
from mpnas.supernet.stretch import stretch_matrix, stretched_kernel

COUNTS = (2, 3, 6)


def pooled(x, size):
    """Adaptive average pooling of a row, entry by entry."""
    n = len(x)
    return [np.mean(x[i * n // size : -(-(i + 1) * n // size)]) for i in range(size)]


@pytest.mark.parametrize("narrow, wide", [(0, 1), (0, 2), (1, 2)])
def test_two_widths_are_a_sum_of_adaptive_poolings(narrow, wide):
    gates = np.zeros(3, np.float32)
    gates[narrow], gates[wide] = 0.25, 0.75
    x = np.random.default_rng(0).normal(size=8)
    found = np.asarray(stretch_matrix(jnp.asarray(gates), COUNTS, 8)) @ x
    expected = 0.25 * np.array(pooled(x[: COUNTS[narrow]], COUNTS[wide])) + 0.75 * x[: COUNTS[wide]]
    np.testing.assert_allclose(found[: COUNTS[wide]], expected, atol=1e-6)
    np.testing.assert_array_equal(found[COUNTS[wide] :], 0)


@pytest.mark.parametrize("chosen, count", list(enumerate(COUNTS)))
def test_one_width_alone_is_a_mask(chosen, count):
    found = stretch_matrix(jnp.eye(3)[chosen], COUNTS, 8)
    np.testing.assert_array_equal(found, np.diag(np.arange(8) < count))


def test_a_kernel_of_stretched_channels_computes_what_stretched_inputs_would():
    rng = np.random.default_rng(1)
    matrix = np.asarray(stretch_matrix(jnp.array([0.5, 0.0, 0.5]), (1, 2, 4), 4))
    lanes = Lanes((("b", (0, 1)), ("a", (0, 1, 2, 3) * 2)))
    kernel, x = rng.normal(size=(3, 10, 5)).astype(np.float32), rng.normal(size=10)
    stretched = np.concatenate([x[:2], matrix @ x[2:6], matrix @ x[6:]])
    found = stretched_kernel(jnp.asarray(kernel), 1, lanes, {"a": jnp.asarray(matrix)})
    np.testing.assert_allclose(
        np.einsum("i,kio->ko", x, found), np.einsum("i,kio->ko", stretched, kernel), rtol=1e-5
    )
