"""Tests of mpnas/control/uniform.py."""

import numpy as np
import pytest
from control_choices import bit_sum, chain

from mpnas.control import Uniform


@pytest.mark.parametrize(
    "bits, weight, act", [(8, 8, 8), (4, 4, 4), (3, 4, 4), (6, 8, 8), (2, 2, 4), (99, 8, 8)]
)
def test_every_decision_takes_the_candidate_nearest_to_the_wanted_bits(bits, weight, act):
    space = chain()
    (found,) = Uniform(bits).ask(None, space, np.random.default_rng(0), 1, bit_sum, {})
    assert {b for site, bits in found.bits.items() if site.endswith("/kernel") for b in bits} == {weight}
    assert {b for site, bits in found.bits.items() if site.endswith("/input") for b in bits} == {act}


def test_limits_are_not_looked_at():
    space = chain()
    asked = Uniform(8).ask(None, space, np.random.default_rng(0), 2, bit_sum, {"bits": 1.0})
    assert asked == [space.uniform(8)] * 2
