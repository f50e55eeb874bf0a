"""Tests of mpnas/quant/fake_quantize.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.quant.fake_quantize import fake_quantize
from mpnas.quant.format import IntFormat


@pytest.mark.parametrize(
    "x, expected", [(0.4, -0.4), (6.9, 0.1), (99.0, 7.0), (-99.0, -8.0)],
    ids=["inside", "last_bin", "clipped_high", "clipped_low"],
)
def test_gradient_of_scale_is_lsq_eq_3(x, expected):
    slope = jax.grad(lambda s: fake_quantize(jnp.array([x]), s, None, IntFormat(4)).sum())
    np.testing.assert_allclose(slope(jnp.ones(1)), [expected], atol=1e-6)


@pytest.mark.parametrize(
    "x, expected", [(0.4, 1), (6.9, 1), (7.0, 1), (-8.0, 1), (7.1, 0), (99.0, 0), (-8.1, 0)]
)
def test_gradient_of_values_is_one_up_to_the_bounds_and_zero_beyond(x, expected):
    slope = jax.grad(lambda v: fake_quantize(v, jnp.ones(1), None, IntFormat(4)).sum())
    assert slope(jnp.array([x])).tolist() == [expected]


@pytest.mark.parametrize(
    "fmt, zero_point, x, expected",
    [
        (IntFormat(4), None, [0.24, -9.0, 9.0, 0.3], [0.0, -4.0, 3.5, 0.5]),
        (IntFormat(4), None, [0.25, 0.75, -0.25, -0.75], [0.0, 1.0, 0.0, -1.0]),  # ties to even
        (IntFormat(1), None, [0.01, 7.0, -0.01, -7.0], [0.25, 0.25, -0.25, -0.25]),
        (IntFormat(2, False), None, [-1.0, 0.3, 0.9, 5.0], [0.0, 0.5, 1.0, 1.5]),
        (IntFormat(2, False, False), 1.0, [-1.0, 0.0, 0.3, 5.0], [-0.5, 0.0, 0.5, 1.0]),
    ],
)
def test_values_land_where_hand_calculation_puts_them(fmt, zero_point, x, expected):
    shift = None if zero_point is None else jnp.array([zero_point])
    assert fake_quantize(jnp.array(x), jnp.array([0.5]), shift, fmt).tolist() == expected


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 5, 8, 16]), st.booleans(), st.booleans()
)
def test_it_picks_the_nearest_of_all_representable_values(seed, bits, signed, symmetric):
    rng = np.random.default_rng(seed)
    fmt = IntFormat(bits, signed, symmetric)
    scale = np.float32(rng.uniform(1e-3, 2))
    zero_point = None if symmetric else np.float32(rng.integers(fmt.qmin, fmt.qmax + 1))
    x = (rng.normal(size=64) * scale * max(-fmt.qmin, fmt.qmax, 0.5)).astype(np.float32)
    levels = np.arange(fmt.qmin, fmt.qmax + 1) - float(zero_point or 0) + fmt.offset
    grid = float(scale) * levels
    shift = None if zero_point is None else jnp.array([zero_point])
    found = np.asarray(fake_quantize(jnp.asarray(x), jnp.array([scale]), shift, fmt), np.float64)
    best = np.abs(x[:, None].astype(np.float64) - grid).min(axis=1)
    np.testing.assert_allclose(np.abs(found - x), best, atol=1e-6 * np.abs(grid).max())


def test_rank_mismatch_names_both_shapes():
    with pytest.raises(ValueError, match=r"scale \(8,\) for x \(8, 64\)"):
        fake_quantize(jnp.zeros((8, 64)), jnp.ones(8), None, IntFormat(4))
