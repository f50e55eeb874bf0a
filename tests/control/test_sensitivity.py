"""Tests of mpnas/control/sensitivity.py."""

import numpy as np
import pytest

from mpnas.control import Sensitivity
from mpnas.errors import ConfigError


def test_largest_increase_has_the_logarithm_minus_29_and_none_has_0():
    wanted = Sensitivity().preference({"a": np.array([[4.0, 1.0, 0.0]]), "b": np.array([[2.0, 0.0]])})
    np.testing.assert_allclose(np.log(wanted["a"]), [[-29, -29 / 4, 0]])
    np.testing.assert_allclose(np.log(wanted["b"]), [[-29 / 2, 0]])


def test_unknown_measure_names_the_nearest():
    with pytest.raises(ConfigError, match="no measure 'fischer'; nearest: 'fisher'"):
        Sensitivity(measure="fischer")


@pytest.mark.parametrize("changes", [{"batches": 0}, {"batch": 0}])
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(ConfigError, match="Sensitivity needs batches >= 1 and batch >= 1"):
        Sensitivity(**changes)
