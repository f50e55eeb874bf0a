"""Tests of mpnas/report/gap.py."""

from mpnas.report import gap_warnings
from mpnas.report.gap import gap_words

GAP = {
    "expected_costs": {"weight_bytes": 1040.0, "bops": 5e6},
    "discrete_costs": {"weight_bytes": 1000.0, "bops": 5e6},
    "mean_choice_entropy": 0.3, "undecided_fraction": 0.25,
}


def test_the_widest_gap_is_named_with_what_to_change():
    words = gap_words(GAP)
    assert "expected weight bytes 1,040, discrete 1,000 (4.0 % apart), 25 % of the decisions" in words
    assert "more steps, a larger learning rate of the logits, or a lower temperature" in words


def test_a_gap_of_one_percent_is_silent():
    assert gap_words(GAP | {"expected_costs": {"weight_bytes": 1010.0}}) == ""
    assert gap_words({}) == "" and gap_words({"discrete_costs": {"weight_bytes": 7.0}}) == ""


def test_every_searched_point_is_looked_at():
    front = {"points": [{"trial": "gumbel-s0", "gap": GAP}, {"trial": "uniform8", "gap": {}}]}
    assert [s.split(":")[0] for s in gap_warnings(front)] == ["Discretisation gap of gumbel-s0"]
