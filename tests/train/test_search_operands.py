"""Tests of mpnas/train/search.py: every controller of the package, from search to the small network."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny_train import BUDGET, SEARCH, blobs, differing, search_start

from mpnas.control import DBP, NCE, RELAXATIONS, BitPlane, Exponential, Gumbel, Implied, Softmax
from mpnas.cost import COSTS, Budget, measure, satisfied
from mpnas.errors import ConfigError
from mpnas.models import MLP
from mpnas.space import Rule
from mpnas.supernet import attach, discretize, reformed
from mpnas.train import (
    Checkpoints,
    Hooks,
    Optimizer,
    Phase,
    accuracy,
    describe_gap,
    fit,
    module_outputs,
    one_hot_gates,
    retrain,
    run_phase,
    search,
    with_float_parts,
)
from mpnas.train.checkpoint import filled

CONTROLLERS = {
    "gumbel": Gumbel(),
    "dbp": DBP(distortion_weight=1e-3),
    "softmax": Softmax(tau=Exponential(1.0, 0.2)),
    "bitplane": BitPlane(),
    "implied": Implied(),
    "nce": NCE(),
}
RETRAIN = Phase(steps=20, batch=32, weights=Optimizer(lr=1e-2), ranges=Optimizer(lr=1e-3))
RULES = {
    "channel": (Rule(match="*", weights=(2, 4, 8), activations=(4, 8)),
                Rule(match="dense0", weights=(0, 2, 4, 8), granularity="channel")),
    "subgroup": (Rule(match="*", weights=(2, 4, 8), activations=(8,), activation_range="moving"),
                 Rule(match="dense0", weights=(0, 2, 4, 8), granularity=4)),
}
OPERANDS = pytest.mark.parametrize("controller", [BitPlane(), Implied()], ids=["bitplane", "implied"])


@pytest.fixture(scope="module")
def fitted():
    data = blobs()
    mlp = MLP((6, 10, 3), rngs=nnx.Rngs(0))
    return data, mlp, fit(mlp, data, phase=Phase(steps=60, batch=32, weights=Optimizer(lr=2e-2)))


def test_every_controller_is_here():
    assert {type(member) for member in CONTROLLERS.values()} == set(RELAXATIONS.values())


@pytest.mark.parametrize("name, rule", [
    *((name, "channel") for name in CONTROLLERS), ("dbp", "subgroup"), ("bitplane", "subgroup"),
    ("implied", "subgroup"),
])
def test_search_is_repaired_retrained_and_made_small(fitted, name, rule):
    data, mlp, taught = fitted
    net = attach(mlp, data.example(), RULES[rule])
    ranges = Optimizer(lr=1e-2 if name == "bitplane" else 1e-3)
    phase = dataclasses.replace(SEARCH, steps=30, ranges=ranges)
    found = search(
        net, data, controller=CONTROLLERS[name], budget=Budget({"weight_bytes": 0.6}), phase=phase,
        parts=with_float_parts(net, taught),
    )
    assert satisfied(measure(COSTS, net.space, found.assignment), found.limits)
    assert found.gap["soft_metric"] > 0.5  # of three clouds, with a network that was trained before
    parts = retrain(net, found.assignment, data, parts=found.parts, phase=RETRAIN)
    gates = one_hot_gates(net, found.assignment)
    outputs, _ = net.apply(parts, gates, jnp.asarray(data.test[0]), train=False)
    small = discretize(net, parts, found.assignment)
    np.testing.assert_allclose(module_outputs(small, data, "test"), outputs, atol=1e-5)
    assert accuracy(net, parts, gates, data, "test") > 0.6


@OPERANDS
def test_search_by_operands_keeps_the_float_accuracy_where_the_budget_is_wide(fitted, controller):
    data, mlp, taught = fitted
    net = attach(mlp, data.example(), (Rule(match="*", weights=(4, 8), activations=(8,)),))
    phase = dataclasses.replace(SEARCH, steps=40, penalty=0.0, arch=Optimizer(lr=1e-2))
    found = search(net, data, controller=controller, budget=Budget({"weight_bytes": 1.0}), phase=phase,
                   parts=with_float_parts(net, taught))
    assert found.gap["hard_metric"] > accuracy(taught.net, taught.parts, {}, data, "select") - 0.1


@OPERANDS
def test_search_by_operands_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(
    net, data, tmp_path, controller
):
    phase = dataclasses.replace(SEARCH, steps=8, keep="best_feasible", unroll=0.01)
    state, rest = search_start(net, phase, controller=controller)
    searched = reformed(net, controller.operand)
    with Checkpoints(tmp_path) as checkpoints:
        def keep_five(state):
            if int(state.step) == 5:
                checkpoints.save(5, state, {})

        hooks = Hooks(checkpoint=keep_five, checkpoint_every=1)
        end = run_phase("search", searched, state, data, phase, hooks=hooks, **rest)
        _, arrays, _ = checkpoints.latest()
    fresh, _ = search_start(net, phase, controller=controller)
    assert differing(end.parts, fresh.parts)
    again = run_phase("search", searched, filled(fresh, arrays, tmp_path), data, phase, **rest)
    assert differing(end, again) == []


@OPERANDS
def test_a_searched_state_is_described_by_the_network_that_was_given(net, controller):
    state, _ = search_start(net, controller=controller)
    gap = describe_gap(net, state, controller, COSTS)
    costs = measure(COSTS, net.space, net.space.uniform(8))
    for name in ("expected_costs", "discrete_costs"):
        # Both start at their widest candidates, or near them.
        assert 0.6 * costs["weight_bytes"] < gap[name]["weight_bytes"] <= 1.0001 * costs["weight_bytes"]


def test_bins_of_candidates_that_nobody_mixes_are_refused(net, data):
    phase = dataclasses.replace(SEARCH, bins=1e-3)
    with pytest.raises(ConfigError, match="searches by planes and mixes none. Set bins = 0"):
        search(net, data, controller=BitPlane(), budget=BUDGET, phase=phase)


def test_a_tight_budget_closes_planes_and_coarsens_steps(fitted):
    data, mlp, taught = fitted
    net = attach(mlp, data.example(), RULES["channel"])
    phase = dataclasses.replace(SEARCH, steps=60, penalty=5.0, arch=Optimizer(lr=5e-2, decay="constant"))
    for controller in (BitPlane(), Implied()):
        budget = Budget({"weight_bytes": 0.5})
        found = search(net, data, controller=controller, budget=budget, phase=phase,
                       parts=with_float_parts(net, taught))
        start = measure(COSTS, net.space, net.space.uniform(8))["weight_bytes"]
        assert found.gap["expected_costs"]["weight_bytes"] < 0.75 * start, controller
