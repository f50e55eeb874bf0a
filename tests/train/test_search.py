"""Tests of mpnas/train/search.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny_train import BUDGET, SEARCH, differing, leaves, model

import mpnas.train.step as step_module
from mpnas.control import DBP, Gumbel
from mpnas.cost import COSTS, Budget, measure, satisfied
from mpnas.errors import BudgetError, ConfigError, NonFiniteLossError
from mpnas.supernet import discretize
from mpnas.train import (
    Hooks,
    Optimizer,
    Phase,
    accuracy,
    calibrate,
    fit,
    module_accuracy,
    module_outputs,
    one_hot_gates,
    retrain,
    search,
    teacher,
    with_float_parts,
)

FLOAT = Phase(steps=60, batch=32, weights=Optimizer(lr=2e-2))
RETRAIN = Phase(
    steps=30, batch=32, weights=Optimizer(lr=1e-2), ranges=Optimizer(lr=1e-3), distill=1.0, bins=1e-3
)


@pytest.fixture(scope="module")
def fitted(data):
    trained = model()
    return trained, fit(trained, data, phase=FLOAT)


@pytest.fixture(scope="module")
def float_parts(net, fitted):
    return with_float_parts(net, fitted[1])


@pytest.fixture(scope="module")
def found(net, data, float_parts):
    return search(net, data, controller=Gumbel(), budget=BUDGET, parts=float_parts, phase=SEARCH, seed=1)


@pytest.fixture(scope="module")
def retrained(net, data, fitted, found):
    return retrain(net, found.assignment, data, parts=found.parts, teacher=fitted[1], phase=RETRAIN)


def test_fit_trains_the_model_itself_and_gives_it_as_a_teacher(fitted, data):
    trained, taught = fitted
    # Three clouds of points some two deviations apart: a guess would be right in one of three.
    assert module_accuracy(trained, data, "test") > 0.8
    assert accuracy(taught.net, taught.parts, {}, data, "test") == module_accuracy(trained, data, "test")


def test_fit_leaves_the_model_alone_when_the_loss_is_not_finite(data):
    broken = model()
    before = leaves(nnx.state(broken))
    with pytest.raises(NonFiniteLossError, match="stage 'float'"):
        fit(broken, data, phase=Phase(steps=3, weights=Optimizer(lr=1e38, decay="constant")))
    after = leaves(nnx.state(broken))
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_teacher_says_what_the_model_says(fitted, data):
    trained, _ = fitted
    taught = teacher(trained, data)
    x = jnp.asarray(data.select[0])
    outputs, _ = taught.net.apply(taught.parts, {}, x, train=False)
    np.testing.assert_allclose(outputs, module_outputs(trained, data, "select"), atol=1e-6)


def test_float_parts_are_the_float_network_in_the_attached_one(net, fitted, float_parts, data):
    trained, _ = fitted
    assert not differing(float_parts.params, nnx.state(trained, nnx.Param))
    assert not differing(float_parts.ranges, net.parts.ranges)
    means = [name for name in leaves(float_parts.stats) if "norm" in name and "mean" in name]
    assert means
    assert np.any(leaves(float_parts.stats)[means[0]])


def test_calibration_fits_activation_ranges_to_the_data(net, float_parts, data):
    calibrated = calibrate(net, float_parts, data)
    assert not differing(calibrated.params, float_parts.params)
    changed = differing(calibrated.ranges, float_parts.ranges)
    assert any("input" in name for name in changed)
    assert all(np.all(np.isfinite(leaf)) for leaf in leaves(calibrated.ranges).values())


@pytest.mark.parametrize("controller", [Gumbel(), DBP(distortion_weight=1e-3)], ids=["gumbel", "dbp"])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_search_meets_its_budget_exactly(net, data, float_parts, controller, share):
    phase = dataclasses.replace(SEARCH, steps=6)
    budget = Budget({"weight_bytes": share})
    result = search(net, data, controller=controller, budget=budget, parts=float_parts, phase=phase)
    costs = measure(COSTS, net.space, result.assignment)
    full = measure(COSTS, net.space, net.space.uniform(8))
    assert result.limits == {"weight_bytes": share * full["weight_bytes"]}
    assert satisfied(costs, result.limits)
    net.space.check(result.assignment)


def test_search_with_the_same_seed_finds_the_same(net, data, float_parts, found):
    again = search(net, data, controller=Gumbel(), budget=BUDGET, parts=float_parts, phase=SEARCH, seed=1)
    assert again.assignment == found.assignment
    assert again.gap == found.gap
    assert not differing(again.parts, found.parts)


def test_gap_tells_soft_and_hard_numbers_side_by_side(net, data, found):
    assert set(found.gap) == {
        "expected_costs", "discrete_costs", "mean_choice_entropy", "undecided_fraction", "soft_metric",
        "hard_metric",
    }
    names = {cost.name for cost in COSTS}
    assert set(found.gap["expected_costs"]) == set(found.gap["discrete_costs"]) == names
    assert all(0 <= found.gap[key] <= 1 for key in set(found.gap) - {"expected_costs", "discrete_costs"})
    hard = accuracy(net, found.parts, one_hot_gates(net, found.assignment), data, "select")
    assert found.gap["hard_metric"] == hard


def test_impossible_budget_is_refused_before_any_step(net, data):
    seen = []
    hooks, budget = Hooks(report=seen.append, every=1), Budget({"weight_bytes": "1 b"})
    with pytest.raises(BudgetError, match="budget weight_bytes = .* cannot be met: this space reaches from"):
        search(net, data, controller=Gumbel(), budget=budget, phase=SEARCH, hooks=hooks)
    assert seen == []


def test_retraining_needs_a_teacher_where_it_distils(net, data, found):
    with pytest.raises(ConfigError, match="stage 'retrain' distils"):
        retrain(net, found.assignment, data, parts=found.parts, phase=RETRAIN)


def test_retraining_leaves_the_given_parts_alone(net, data, found, fitted, retrained):
    assert differing(retrained.params, found.parts.params)
    assert differing(retrained.ranges, found.parts.ranges)
    assert all(not leaf.is_deleted() for leaf in jax.tree.leaves(found.parts))
    gates = one_hot_gates(net, found.assignment)
    assert accuracy(net, retrained, gates, data, "test") > 0.5


def test_discretised_network_equals_the_retrained_supernet(net, data, found, retrained):
    gates = one_hot_gates(net, found.assignment)
    outputs, _ = net.apply(retrained, gates, jnp.asarray(data.test[0]), train=False)
    small = discretize(net, retrained, found.assignment)
    np.testing.assert_allclose(module_outputs(small, data, "test"), outputs, atol=1e-5)
    assert module_accuracy(small, data, "test") == accuracy(net, retrained, gates, data, "test")


def test_one_program_retrains_every_assignment(net, data, found, fitted, monkeypatch):
    traces = []
    real = step_module.soft_cross_entropy
    monkeypatch.setattr(step_module, "soft_cross_entropy", lambda *a: traces.append(1) or real(*a))
    for seed, assignment in enumerate((net.space.uniform(8), net.space.uniform(4), found.assignment)):
        phase = dataclasses.replace(RETRAIN, steps=2, weights=Optimizer(lr=1e-3 * (seed + 2)))
        retrain(net, assignment, data, parts=found.parts, teacher=fitted[1], phase=phase, seed=seed)
    assert len(traces) <= 1  # none, if an earlier test has left the program behind
