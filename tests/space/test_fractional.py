"""Tests of mpnas/space/fractional.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.quant import IntFormat, PerChannel, PerTensor, Quantizer, format_of
from mpnas.space import Choice, Presence
from mpnas.space.fractional import (
    finest,
    grid_widths,
    implied_bits,
    is_implied,
    plane_bits,
    plane_count,
    power_of_two,
    shares_of,
)


def choice_of(*bits, kind="weight", signed=True, decisions=1):
    candidates = tuple(Quantizer(format=format_of(b, signed)) for b in bits)
    return Choice("w", kind, ("w",), candidates, PerChannel(-1), (3, decisions))


@pytest.mark.parametrize("bits, planes", [((2, 4, 8), 7), ((0, 2, 4), 3), ((1, 2, 3, 32), 2), ((8,), 0),
                                          ((0, 8), 0), ((8, 32), 0)])
def test_planes_are_the_magnitude_of_the_widest_grid(bits, planes):
    assert plane_count(choice_of(*bits)) == planes


def test_only_grids_of_both_signs_alike_can_be_planes_or_implied():
    candidates = tuple(Quantizer(format=IntFormat(b, signed=False, symmetric=False)) for b in (4, 8))
    shifted = Choice("x", "act", ("x",), candidates, PerTensor(), (1,))
    assert grid_widths(shifted) == () and not is_implied(shifted)
    unsigned = choice_of(2, 4, kind="act", signed=False)
    assert plane_count(unsigned) == 0 and is_implied(unsigned)
    mask = Choice("m", "mask", ("w",), (Presence(0), Presence(1)), PerChannel(0), (4,))
    assert plane_count(mask) == 0 and not is_implied(mask)


@pytest.mark.parametrize("open_planes, expected", [
    ([1, 1, 1, 1, 1, 1, 1], 8), ([0, 0, 0, 0, 0, 0, 1], 2), ([0, 0, 0, 0, 1, 1, 1], 4),
    ([0, 0, 0, 0, 0, 0.5, 1], 2.5), ([0] * 7, 2),
])
def test_bits_of_planes_are_the_open_ones_and_the_sign(open_planes, expected):
    bits = plane_bits(choice_of(2, 4, 8), jnp.asarray([open_planes], jnp.float32))
    np.testing.assert_allclose(bits, [expected])


@pytest.mark.parametrize("open_planes, expected", [
    ([0, 0, 0], 0), ([0, 0, 1], 2), ([1, 1, 1], 4), ([0.5, 0.5, 0], 1 + 0.5), ([0.25, 0, 0.75], 1 + 0.75),
])
def test_where_channels_can_go_the_sign_goes_with_the_last_plane(open_planes, expected):
    bits = plane_bits(choice_of(0, 2, 4), jnp.asarray([open_planes], jnp.float32))
    np.testing.assert_allclose(bits, [expected])


@pytest.mark.parametrize("signed", [True, False])
def test_implied_bits_are_those_of_the_smallest_format_that_counts_so_far(signed):
    choice = choice_of(*((2, 4, 8) if signed else (1, 4, 8)), kind="act", signed=signed)
    for levels in range(1, 128):
        smallest = next(b for b in range(1, 9) if IntFormat(b, signed).qmax >= levels)
        bits = implied_bits(choice, jnp.array([0.25]), jnp.array([0.25 * levels]))
        assert float(bits[0]) == max(smallest, choice.bits[0])


def test_implied_bits_fall_with_the_step_and_rise_with_the_range():
    # The acceptance test of the method: d bits / d step < 0 < d bits / d range.
    choice = choice_of(2, 4, 8)
    for step, top in ((0.01, 0.5), (0.1, 1.0), (2.0**-7, 1 - 2.0**-7)):
        slopes = jax.grad(lambda s, t: implied_bits(choice, s, t).sum(), argnums=(0, 1))(
            jnp.array([step]), jnp.array([top])
        )
        assert slopes[0][0] < 0 < slopes[1][0]
        # Both ends of log2(top / step + 1): relative changes of the two cancel.
        assert float(slopes[0][0]) * step == pytest.approx(-float(slopes[1][0]) * top, rel=1e-4)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_finest_grid_has_the_codes_of_its_format(signed, bits):
    choice = choice_of(2, bits, kind="act", signed=signed)
    step, top = finest(choice)
    assert math.log2(step) == round(math.log2(step))
    assert top / step == IntFormat(bits, signed).qmax
    assert float(implied_bits(choice, jnp.array([step]), jnp.array([top]))[0]) == bits


@pytest.mark.parametrize("bits, expected", [
    (0.0, [1, 0, 0, 0]), (1.0, [0.5, 0.5, 0, 0]), (2.0, [0, 1, 0, 0]), (5.0, [0, 0, 0.75, 0.25]),
    (8.0, [0, 0, 0, 1]), (9.5, [0, 0, 0, 1]), (-1.0, [1, 0, 0, 0]),
])
def test_shares_are_those_of_the_candidates_beside_the_width(bits, expected):
    np.testing.assert_allclose(shares_of(choice_of(0, 2, 4, 8), jnp.array([bits])), [expected])


@pytest.mark.parametrize("bits", [0.0, 1.3, 2.0, 4.0, 7.9, 8.0])
def test_expected_bits_are_the_width_and_their_slope_is_one(bits):
    choice = choice_of(0, 2, 4, 8)

    def expected(width):
        return (shares_of(choice, width) @ jnp.array([0.0, 2.0, 4.0, 8.0])).sum()

    value, slope = jax.value_and_grad(expected)(jnp.array([bits]))
    assert float(value) == pytest.approx(bits, abs=1e-5) and float(slope[0]) == pytest.approx(1, abs=1e-5)


def test_one_candidate_has_the_whole_share():
    np.testing.assert_array_equal(shares_of(choice_of(8, decisions=3), jnp.array([1.0, 8.0, 9.0])), 1)


def test_powers_of_two_are_exact_with_the_slope_of_the_exponential():
    exponents = np.arange(-126, 128)
    found = jax.jit(power_of_two)(jnp.asarray(exponents, jnp.float32))
    np.testing.assert_array_equal(found, np.ldexp(np.float32(1), exponents))
    assert float(jax.grad(power_of_two)(jnp.float32(3))) == pytest.approx(8 * np.log(2))
