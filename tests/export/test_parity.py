"""Tests of mpnas/export/parity.py."""

import numpy as np
import pytest

from mpnas.errors import ExportError
from mpnas.export.parity import Parity, parity_of

NETWORK = np.array([[0.0, 1.0, 0.0], [3.0, 2.0, 0.0], [0.0, 0.0, 5.0], [1.0, 0.0, 0.0]])


def test_equal_outputs_have_no_mismatch_and_no_difference():
    labels = np.array([1, 0, 2, 1])
    assert parity_of(NETWORK, NETWORK, labels) == Parity(n=4, mismatch_rate=0, max_abs_diff=0, metric_diff=0)


def test_one_answer_of_four_that_becomes_right_is_a_quarter_of_each():
    export = NETWORK.copy()
    export[3] = [1.0, 1.25, 0.0]
    found = parity_of(NETWORK, export, np.array([1, 0, 2, 1]))
    assert found == Parity(n=4, mismatch_rate=0.25, max_abs_diff=1.25, metric_diff=0.25)
    # The same change counts against the export where the old answer was right.
    assert parity_of(NETWORK, export, np.array([1, 0, 2, 0])).metric_diff == -0.25


def test_a_single_output_mismatches_as_soon_as_it_is_another_number():
    found = parity_of(np.array([[1.0], [2.0]]), np.array([[1.0], [2.5]]))
    assert (found.mismatch_rate, found.max_abs_diff) == (0.5, 0.5)


def test_an_input_with_several_places_mismatches_once():
    two_places = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    assert parity_of(two_places, two_places[:, :, ::-1]).mismatch_rate == 1.0
    assert parity_of(two_places, two_places[:, ::-1]).mismatch_rate == 0.5


def test_what_was_not_measured_is_left_out_of_the_front():
    assert parity_of(NETWORK, NETWORK).to_json() == {"n": 4, "mismatch_rate": 0.0, "max_abs_diff": 0.0}
    assert parity_of(NETWORK, NETWORK, np.zeros(4)).to_json()["metric_diff"] == 0.0


@pytest.mark.parametrize("found, words", [
    (NETWORK[:2], r"\(2, 3\) where the network gives \(4, 3\)"),
    (np.where(NETWORK == 5, np.nan, NETWORK), "outputs of 1 of 4 inputs are not finite"),
], ids=["other_inputs", "not_finite"])
def test_what_cannot_be_compared_is_said(found, words):
    with pytest.raises(ExportError, match=words):
        parity_of(NETWORK, found)


def test_no_inputs_at_all_prove_nothing():
    with pytest.raises(ExportError, match="at least one"):
        parity_of(NETWORK[:0], NETWORK[:0])
