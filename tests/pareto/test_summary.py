"""Tests of mpnas/pareto/summary.py."""

import pytest
from front_maker import MIXED, SITES, UNIFORM, made, record

from mpnas.pareto.summary import budget_text, label_of, over_seeds, standard_error, stat


def test_one_value_has_no_spread():
    assert stat([0.5]) == {"mean": 0.5, "std": None, "n": 1, "values": [0.5]}


def test_spread_is_of_a_sample():
    # Squared distances from the mean 2 sum to 2; over n - 1 = 2 that is 1.
    assert stat([1, 2, 3]) == {"mean": 2.0, "std": 1.0, "n": 3, "values": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    "one, label",
    [
        (record("a", "float", assignment={}), "float"),
        (record("a", "uniform", assignment=UNIFORM[4]), "uniform 4-bit"),
        (record("a", "random", budget={"bops": 0.25}), "random bops=0.25"),
        (record("a", budget={"weight_bytes": "25%", "bops": 1e6}),
         "gumbel bops=1000000 weight_bytes=25%"),
    ],
    ids=["float", "uniform", "random", "search"],
)
def test_a_label_says_everything_but_the_seed(one, label):
    assert label_of(one.to_json(), SITES) == label


def test_a_uniform_label_tells_weights_from_activations():
    assignment = UNIFORM[4] | {
        site: {"granularity": "layer", "bits": 8} for site in SITES if site.endswith("input")
    }
    one = record("a", "uniform", assignment=assignment)
    assert label_of(one.to_json(), SITES) == "uniform W4A8"


def test_budgets_that_differ_in_the_sixth_place_have_different_texts():
    assert budget_text({"b": 0.123456}) != budget_text({"b": 0.123457})


def test_seeds_are_averaged_by_label():
    rows = [record(f"s{s}", accuracy=a, seed=s) for s, a in ((0, 0.8), (1, 0.9))]
    rows.append(record("t", accuracy=0.7, budget={"bops": 1.0}))
    pair, single = sorted(over_seeds(made(rows)["points"]), key=lambda mean: -len(mean.seeds))
    assert (pair.label, pair.seeds, pair.points) == ("gumbel", [0, 1], ["p001", "p000"])
    assert pair.metrics["accuracy"]["mean"] == pytest.approx(0.85)
    assert pair.metrics["accuracy"]["std"] == pytest.approx(0.1 / 2**0.5)
    assert pair.costs["weight_bytes"]["std"] == 0
    assert single.metrics["accuracy"]["std"] is None


def test_a_metric_that_one_seed_lacks_is_left_out():
    rows = [
        record("a", metrics={"accuracy": 0.5, "test_accuracy": 0.5}, assignment=MIXED),
        record("b", metrics={"accuracy": 0.5}, assignment=MIXED, seed=1),
    ]
    assert set(over_seeds(made(rows)["points"])[0].metrics) == {"accuracy"}


def test_standard_error_of_a_difference():
    # sqrt(3**2 / 9 + 4**2 / 1) = sqrt(17)
    assert standard_error({"std": 3.0, "n": 9}, {"std": 4.0, "n": 1}) == pytest.approx(17**0.5)
    assert standard_error({"std": None, "n": 1}, {"std": 4.0, "n": 2}) is None
