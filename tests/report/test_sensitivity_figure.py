"""Tests of mpnas/report/sensitivity_figure.py."""

import numpy as np
import pytest
from front_maker import made
from page_tags import Tags

from mpnas.report.evidence import Evidence
from mpnas.report.sensitivity_figure import sensitivity_rows

ONE = {
    "head/kernel": np.array([[0.0, 4.0]]),
    "block/conv1/kernel": np.array([[0.0, 1.0], [0.5, 0.0]]),
    "gone": np.ones((1, 1)),
}
TWO = {"head/kernel": np.array([[0.0, 1.0]]), "block/conv1/kernel": np.array([[2.0, 0.0]])}


def test_a_site_weighs_the_worst_of_each_decision_against_the_most_sensitive_site():
    rows = sensitivity_rows(made(), Evidence(scores=[ONE]))
    # 1 + 0.5 of 4 for the convolution, which comes first; sites of other networks are left out.
    found = [(site, words) for site, _, words in rows]
    assert found == [("block/conv1/kernel", "37.5"), ("head/kernel", "100.0")]


def test_several_measurements_are_averaged_and_each_is_a_dot():
    rows = sensitivity_rows(made(), Evidence(scores=[ONE, TWO]))
    bars = {site: Tags(bar).found for site, bar, _ in rows}
    assert float(bars["head/kernel"][0][1]["data-x"]) == pytest.approx((1 + 0.5) / 2)
    assert [a["data-x"] for tag, a in bars["block/conv1/kernel"] if tag == "circle"] == ["0.375", "1.0"]


@pytest.mark.parametrize("scores", [[], [{"head/kernel": np.zeros((1, 2))}]], ids=["none", "zero"])
def test_without_a_measurement_there_is_no_figure(scores):
    assert sensitivity_rows(made(), Evidence(scores=scores)) == []
