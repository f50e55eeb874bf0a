"""Tests of mpnas/report/verdict.py."""

import pytest
from front_maker import HALF, MIXED, UNIFORM, made, record
from sweep_maker import sweep

from mpnas.report.verdict import verdict

BUDGET = {"weight_bytes": "50%"}


def trials(kind, accuracies, assignment=MIXED):
    """One record per accuracy, seeds from 0, the test part as accurate as the selection part."""
    return [
        record(f"{kind}{seed}", kind, seed=seed, assignment=assignment,
               metrics={"accuracy": value, "test_accuracy": value},
               budget=BUDGET if kind in ("search", "random") else {})
        for seed, value in enumerate(accuracies)
    ]


def judged(search, random):
    """The sentence on searches against random assignments of these accuracies."""
    front = made(trials("search", search) + trials("random", random))
    return next(sentence for sentence in verdict(front) if "than random" in sentence)


def test_a_clear_lead_over_random_is_called_better():
    # Means 0.80 and 0.70; both standard deviations are 0.01, so the error is 0.01 * sqrt(2 / 3).
    sentence = judged([0.79, 0.80, 0.81], [0.69, 0.70, 0.71])
    assert sentence.startswith("gumbel weight_bytes=50% is better than random")
    assert "test accuracy +10.00 points, 3 seeds each, standard error 0.82" in sentence


@pytest.mark.parametrize(
    "search", [[0.70, 0.71, 0.69], [0.65, 0.66, 0.64]], ids=["equal", "worse"]
)
def test_no_lead_over_random_is_said_so(search):
    assert "is no better than random (" in judged(search, [0.69, 0.70, 0.71])


def test_a_lead_within_the_noise_is_no_lead():
    # Means 0.72 and 0.70, error 0.05 * sqrt(2 / 3) = 0.041.
    sentence = judged([0.67, 0.72, 0.77], [0.65, 0.70, 0.75])
    assert "no better than random beyond the noise of the seeds" in sentence


def test_single_seeds_are_called_that():
    assert "as far as single seeds can tell" in judged([0.8], [0.7])


def test_random_at_another_budget_is_no_comparison():
    rows = trials("search", [0.8])
    rows.append(record("r", "random", budget={"weight_bytes": "75%"}))
    assert any("no random assignment was measured at weight_bytes=50%" in s
               for s in verdict(made(rows)))


def test_uniform_is_compared_with_the_best_search_that_costs_no_more():
    # At most 1300 bytes: of 600 and 900 the selection part prefers the second, 900 / 1300 = 69.2 %.
    rows = trials("uniform", [0.80], UNIFORM[8]) + trials("search", [0.79])
    rows.append(record("b", assignment=HALF, budget={"weight_bytes": "75%"},
                       metrics={"accuracy": 0.85, "test_accuracy": 0.84}))
    sentence = verdict(made(rows))[0]
    assert sentence.startswith("Against uniform 8-bit: the best search that costs no more, gumbel")
    assert "weight_bytes=75%, is better than uniform" in sentence
    assert "+4.00 points" in sentence and "at 69.2 % of its weight bytes." in sentence


def test_the_selection_part_chooses_and_the_test_part_judges():
    rows = trials("uniform", [0.80], UNIFORM[8])
    for name, select, test, assignment in (("a", 0.9, 0.7, HALF), ("b", 0.8, 0.95, MIXED)):
        rows.append(record(name, assignment=assignment, budget={"bops": name},
                           metrics={"accuracy": select, "test_accuracy": test}))
    sentence = verdict(made(rows))[0]
    assert "gumbel bops=a, is no better than uniform" in sentence
    assert "-10.00 points" in sentence


def test_equal_cost_counts_as_no_dearer():
    rows = trials("uniform", [0.80], UNIFORM[4]) + trials("search", [0.9], UNIFORM[4])
    assert "at 100.0 % of its weight bytes" in verdict(made(rows))[0]


def test_a_uniform_network_that_no_search_undercuts_is_told():
    rows = trials("uniform", [0.80], UNIFORM[2]) + trials("search", [0.9])
    assert verdict(made(rows))[0] == (
        "Against uniform 2-bit (weight bytes 325): no search is as cheap; the cheapest has 600."
    )


def test_a_sweep_without_baselines_says_what_is_missing():
    sentences = verdict(made(trials("search", [0.9])))
    assert sentences[-1] == "No uniform and no random baseline was measured; sweep with one."


def test_nothing_found_is_nothing_judged():
    assert verdict(made([])) == ["No search ended within its budget, so there is nothing to judge."]


@pytest.mark.parametrize("lead, word", [(0.03, "better"), (-0.03, "no better")])
def test_a_whole_sweep_is_judged_budget_by_budget(lead, word):
    against = [s for s in verdict(sweep(lead)) if "random (" in s]
    assert len(against) == 8
    assert all(f" is {word} than random (" in sentence for sentence in against)
