"""Tests of mpnas/control/optuna.py."""

import sys

import numpy as np
import pytest
from control_choices import bit_sum, chain
from test_evolution import CHANNELS, LAYERS, best_of, run, weighted

from mpnas.control import Optuna, RandomSearch
from mpnas.control.ladder import Ladder
from mpnas.control.optuna import _decoded, _levels
from mpnas.errors import ConfigError
from mpnas.space import Rule


def test_levels_are_the_mean_candidate_and_decode_to_as_many_above():
    ladder = Ladder(CHANNELS)
    assignment = CHANNELS.from_indices({
        s: np.arange(c.decisions) % len(c.bits) for s, c in CHANNELS.choices.items()
    })
    levels = _levels(ladder, assignment)
    assert levels["l0/kernel"] == np.mean([0, 1, 2, 3, 0, 1])
    decoded = _decoded(ladder, levels)
    again = _levels(ladder, ladder.assignment(decoded))
    for site, level in levels.items():
        assert again[site] == pytest.approx(level, abs=0.5 / CHANNELS.choices[site].decisions + 1e-12)


def test_decisions_above_are_spread_evenly_over_the_channels():
    space = chain((2, 12, 2), Rule(match="l0", weights=(2, 4, 8), granularity="channel"))
    ladder = Ladder(space)
    np.testing.assert_array_equal(_decoded(ladder, {"l0/kernel": 1.25}), [1, 2, 1, 1] * 3)
    np.testing.assert_array_equal(_decoded(ladder, {"l0/kernel": 2.0}), [2] * 12)


def test_it_comes_closer_to_the_known_best_than_random_search_does():
    gaps = {"optuna": [], "random": []}
    for seed in range(3):
        loss = weighted(LAYERS, seed)
        best = best_of(LAYERS, loss, 45.0)
        for name, proposer in (("optuna", Optuna(evaluations=80)), ("random", RandomSearch(evaluations=80))):
            heard, _ = run(proposer, LAYERS, loss, 45.0, seed)
            gaps[name].append(min(value for _, value in heard) - best)
    assert np.mean(gaps["optuna"]) < np.mean(gaps["random"])


def test_every_proposal_is_feasible_and_a_network():
    heard, _ = run(Optuna(evaluations=30, startup=5), CHANNELS, weighted(CHANNELS), 40.0)
    assert len(heard) == 30
    for assignment, _ in heard:
        CHANNELS.check(assignment)
        assert bit_sum(assignment)["bits"] <= 40.0


def test_loss_that_is_not_a_number_does_not_stop_the_search():
    heard, _ = run(Optuna(evaluations=12, startup=2), LAYERS, lambda a: float("nan"), 45.0)
    assert len(heard) == 12


def test_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError) as refused:
        Optuna()
    assert str(refused.value) == (
        "controller 'optuna' needs the package optuna, which is not installed. Install it with: "
        "pip install 'mpnas[optuna]'."
    )


@pytest.mark.parametrize("changes", [{"evaluations": 0}, {"startup": 0}])
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(ConfigError, match="Optuna needs evaluations >= 1 and startup >= 1"):
        Optuna(**changes)
