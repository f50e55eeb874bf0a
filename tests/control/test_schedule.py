"""Tests of mpnas/control/schedule.py."""

import jax
import pytest

from mpnas.control import Exponential, Ramp
from mpnas.errors import ConfigError


def test_exponential_goes_from_start_to_end_by_equal_factors():
    schedule = Exponential(8.0, 0.5)
    assert [float(schedule(p)) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([8, 4, 2, 1, 0.5])


def test_exponential_may_rise_stay_and_be_traced():
    assert float(Exponential(1.0, 100.0)(0.5)) == pytest.approx(10)
    assert float(Exponential(3.0, 3.0)(0.3)) == 3
    assert float(jax.jit(Exponential(1.0, 4.0))(0.5)) == pytest.approx(2)


@pytest.mark.parametrize("start, end", [(0, 1), (1, 0), (-1, 1), (float("nan"), 1)])
def test_exponential_needs_positive_ends(start, end):
    with pytest.raises(ConfigError, match="start > 0 and end > 0"):
        Exponential(start, end)


def test_ramp_rises_to_one_at_its_share_and_stays():
    ramp = Ramp(start=0.2, share=0.5)
    assert [ramp(p) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([0.2, 0.6, 1, 1, 1])
    assert Ramp(start=1.0)(0.0) == 1


@pytest.mark.parametrize("start, share", [(-0.1, 0.5), (1.1, 0.5), (0.5, 0), (0.5, 1.1)])
def test_ramp_needs_shares(start, share):
    with pytest.raises(ConfigError, match="0 <= start <= 1 and 0 < share <= 1"):
        Ramp(start=start, share=share)
