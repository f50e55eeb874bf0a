"""Tests of mpnas/export/curves.py: how far each table is from its function, by that of Python's `math`."""

import math

import numpy as np
import pytest

from mpnas.errors import GraphError
from mpnas.export.curves import CURVES
from mpnas.export.rounding import looked_up

FUNCTIONS = {
    "logistic": lambda x: 1 / (1 + math.exp(-x)), "tanh": math.tanh, "erf": math.erf, "erfc": math.erfc,
}


@pytest.mark.parametrize("exponent", [-30, -22, -12, 0], ids=["too_fine", "fine", "coarse", "segment"])
@pytest.mark.parametrize("name", CURVES)
def test_no_number_is_further_from_the_function_than_the_bound(name, exponent):
    """With steps from the finest that the table has to one as long as a segment."""
    curve, width = CURVES[name], 2 * CURVES[name].reach / 2**12
    scale = max(width * 2.0**exponent, curve.finest)
    table = curve.table("t", "a", "b", scale)
    places = np.linspace(-3 * curve.reach, 3 * curve.reach, 20_001)
    q = np.clip(np.rint(places / scale), -(2**31), 2**31 - 1).astype(np.int64)
    exact = np.array([FUNCTIONS[name](x) for x in np.clip(q * scale, -700, 700).tolist()])
    off = np.abs(looked_up(table, q) * curve.scale - exact)
    assert off.max() <= curve.error


def test_bounds_are_those_of_a_straight_line_between_two_places():
    """h^2 / 8 max |f''|: the second derivatives from differences, h from 4096 segments; and a step."""
    for name, curve in CURVES.items():
        x, d = np.linspace(-4, 4, 8001), 1e-3
        f = np.vectorize(FUNCTIONS[name])
        bend = np.abs(f(x + d) - 2 * f(x) + f(x - d)).max() / d**2
        h = 2 * curve.reach / 4096
        assert curve.error == pytest.approx(h**2 / 8 * bend + curve.size / 2**30, rel=1e-3), name
    assert CURVES["logistic"].error < 7.4e-7 and CURVES["tanh"].error < 1.5e-6


def test_a_step_longer_than_a_segment_is_refused():
    with pytest.raises(GraphError, match=r"'t' has .* segments of 2\^-1 steps"):
        CURVES["logistic"].table("t", "a", "b", 2.0**-6)
