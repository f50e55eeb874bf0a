"""Tests of mpnas/train/step.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_train import SEARCH, attached, blobs, differing, search_start

import mpnas.train.step as step_module
from mpnas.control import DBP, Arch, Gumbel, Softmax
from mpnas.cost import COSTS, PID, BandedLog, Budget, expected
from mpnas.space import Rule
from mpnas.supernet import Parts
from mpnas.train import Optimizer, Phase, run_phase
from mpnas.train.step import StepSpec, compiled_step, descended, limited

KNOBS = {
    "progress": 0.5, "distill": 0.0, "temperature": 1.0, "bins": 0.0, "smoothing": 0.0, "penalty": 5.0,
    "rate/weights": 1e-2, "rate/ranges": 1e-2, "rate/arch": 0.1,
}
STEP = {name: Optimizer() for name in ("weights", "ranges", "arch")}


def spec_of(net, *names, controller=Gumbel(), **more):
    costs = limited(COSTS, {"weight_bytes": 0})
    return StepSpec(
        net, tuple((name, STEP[name]) for name in names), controller, costs=costs, **more
    )


def one_step(net, *names, controller=Gumbel(), knobs=KNOBS, limit=40.0, **more):
    """A state before and after one update of some collections."""
    before, _ = search_start(net, controller=controller)
    kept = jax.tree.map(jnp.array, before)
    x, y = blobs().batch("train", 0, 0, 16)
    step = compiled_step(spec_of(net, *names, controller=controller, **more))
    scalars = {name: np.float32(value) for name, value in knobs.items()}
    after, metrics = step(before, x, y, scalars, {}, {"weight_bytes": jnp.float32(limit)}, None)
    return kept, after, metrics, before


def test_update_of_weights_leaves_ranges_and_logits_alone(net):
    before, after, _, _ = one_step(net, "weights")
    assert differing(before.parts.params, after.parts.params)
    assert differing(before.parts.stats, after.parts.stats)
    assert not differing(before.parts.ranges, after.parts.ranges)
    assert not differing(before.arch, after.arch)
    assert not differing(before.opt["arch"], after.opt["arch"])


def test_update_of_logits_leaves_weights_ranges_and_statistics_alone(net):
    before, after, _, _ = one_step(net, "arch")
    assert not differing(before.parts, after.parts)
    assert not differing(before.opt["weights"], after.opt["weights"])
    assert differing(before.arch.logits, after.arch.logits)


def test_update_of_ranges_leaves_weights_and_statistics_alone(net):
    before, after, _, _ = one_step(net, "ranges")
    assert differing(before.parts.ranges, after.parts.ranges)
    assert not differing(before.parts.params, after.parts.params)
    assert not differing(before.parts.stats, after.parts.stats)


@pytest.mark.parametrize("counts, expected", [(True, 1), (False, 0)])
def test_step_is_counted_by_the_update_that_counts(net, counts, expected):
    _, after, _, _ = one_step(net, "arch", counts=counts)
    assert int(after.step) == expected


def test_state_is_donated(net):
    _, _, _, given = one_step(net, "weights", "ranges", "arch")
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given.parts.params))


def test_rate_scales_the_change(net):
    before, after, _, _ = one_step(net, "weights")
    _, twice, _, _ = one_step(net, "weights", knobs=KNOBS | {"rate/weights": 2e-2})
    change = jax.tree.map(lambda new, old: new - old, after.parts.params, before.parts.params)
    double = jax.tree.map(lambda new, old: new - old, twice.parts.params, before.parts.params)
    for one, two in zip(jax.tree.leaves(change), jax.tree.leaves(double), strict=True):
        np.testing.assert_allclose(two, 2 * one, atol=2e-6)


def test_penalty_pulls_the_widest_candidates_down_above_the_limit_only(net):
    def widest(limit, weight):
        before, after, _, _ = one_step(net, "arch", knobs=KNOBS | {"penalty": weight}, limit=limit)
        change = jax.tree.map(lambda new, old: new - old, after.arch.logits, before.arch.logits)
        return np.concatenate([np.asarray(change[site])[:, -1] for site in net.space.weight_site.values()])

    # So heavy a penalty decides the sign of every gradient, and Adam's first step is the rate, 0.1.
    np.testing.assert_allclose(widest(1.0, 1000.0), -0.1, atol=1e-4)
    np.testing.assert_array_equal(widest(1e9, 1000.0), widest(1e9, 0.0))


def test_drop_events_follow_the_update_and_the_limit(net):
    controller = DBP(threshold=0.5, distortion_weight=0.0)
    # A rate of 1 sends beta from 1 to 0 in Adam's first step wherever bytes cost anything.
    knobs = KNOBS | {"rate/arch": 1.0, "penalty": 1000.0}
    before, after, _, _ = one_step(net, "arch", controller=controller, knobs=knobs, limit=1.0)
    levels = {site: (np.asarray(before.arch.memory[site]), np.asarray(after.arch.memory[site]))
              for site in net.space.weight_site.values()}
    assert all(np.all(new == old - 1) for old, new in levels.values())
    _, within, _, _ = one_step(net, "arch", controller=controller, knobs=knobs, limit=1e9)
    assert not differing(within.arch.memory, before.arch.memory)


def test_one_compiled_program_serves_budgets_rates_and_seeds(net, data, monkeypatch):
    traces = []
    real = step_module.cross_entropy
    monkeypatch.setattr(step_module, "cross_entropy", lambda *a: traces.append(1) or real(*a))
    phases = [
        dataclasses.replace(SEARCH, steps=3, penalty=1.0),
        Phase(
            steps=4, batch=16, penalty=3.0, smoothing=0.1,
            weights=Optimizer(lr=3e-3, warmup=0.5, decay="constant"), ranges=Optimizer(lr=0.1),
            arch=Optimizer(lr=1.0),
        ),
    ]
    for seed, (phase, asked) in enumerate(zip(phases, (0.3, 0.7), strict=True)):
        state, rest = search_start(net, phase, seed)
        rest["limits"] = Budget({"weight_bytes": asked}).absolute(net.space, COSTS)
        run_phase("search", net, state, data, phase, **rest)
    assert len(traces) <= 1  # none, if an earlier test has left the program behind


def test_step_can_be_mapped_over_a_population(net):
    spec = spec_of(net, "weights", "ranges", "arch")
    step = compiled_step(spec)
    x, y = blobs().batch("train", 0, 0, 16)
    knobs = {name: np.float32(value) for name, value in KNOBS.items()}
    limits = [{"weight_bytes": jnp.float32(limit)} for limit in (30.0, 60.0)]

    def fresh(seed):
        return search_start(net, seed=seed)[0]

    looped = [step(fresh(seed), x, y, knobs, {}, limit, None) for seed, limit in enumerate(limits)]
    stack = lambda *trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    mapped = jax.vmap(step, in_axes=(0, None, None, None, None, 0, None))
    states, metrics = mapped(stack(fresh(0), fresh(1)), x, y, knobs, {}, stack(*limits), None)
    np.testing.assert_allclose(metrics["loss"], [m["loss"] for _, m in looped], rtol=1e-5)
    logits = stack(*(state.arch.logits for state, _ in looped))
    for both, one_by_one in zip(*map(jax.tree.leaves, (states.arch.logits, logits)), strict=True):
        np.testing.assert_allclose(both, one_by_one, atol=1e-5)


def test_limited_keeps_the_costs_that_have_a_limit():
    assert [cost.name for cost in limited(COSTS, {"bops": 1.0, "macs": 2.0})] == ["macs", "bops"]


def test_looking_ahead_is_the_closed_form_on_a_quadratic():
    # L_train = |w - A o|^2 / 2 and L_val = |w - b|^2 / 2: one step from w leads to w' = w - xi (w - A o),
    # so the slope in o is xi A^T (w' - b).
    draw = np.random.default_rng(0)
    a, w, o, b = (draw.normal(size=shape).astype(np.float32) for shape in ((3, 2), 3, 2, 3))

    def loss(o, xi):
        ahead = descended(lambda weights: 0.5 * jnp.sum((weights["w"] - a @ o) ** 2), {"w": w}, xi)["w"]
        return 0.5 * jnp.sum((ahead - b) ** 2)

    for xi in (0.0, 0.1, 1.0):
        exact = xi * a.T @ (w - xi * (w - a @ o) - b)
        np.testing.assert_allclose(jax.grad(loss)(o, xi), exact, rtol=1e-4, atol=1e-6)


def test_slope_of_unrolled_logits_is_the_finite_difference_of_the_unrolled_loss():
    # Only 0 and 32 bits: nothing is rounded, so that differences are what the slope is of.
    net = attached((Rule(match="*", weights=(32,)),
                    Rule(match="first", weights=(0, 32), granularity="channel")))
    controller, xi, rate = Softmax(lean=0.5), 0.5, 0.1
    phase = dataclasses.replace(SEARCH, arch=Optimizer(name="sgd", lr=rate))
    state, _ = search_start(net, phase, controller=controller)
    parts, memory = jax.tree.map(jnp.array, (state.parts, state.arch.memory))
    logits = {site: np.asarray(leaf) for site, leaf in state.arch.logits.items()}
    (x, y), ahead = (blobs().batch("train", seed, 0, 16) for seed in (0, 1))

    def cross(params, logits, x, y):
        gates = controller.gates(Arch(logits, memory), net.space.choices, progress=0.5, key=None)
        out, _ = net.apply(Parts(params, parts.ranges, parts.stats), gates, x, train=True)
        return -jnp.mean(jax.nn.log_softmax(out)[jnp.arange(16), y])

    @jax.jit
    def unrolled(logits):
        slope = jax.grad(cross)(parts.params, logits, *ahead)
        return cross(jax.tree.map(lambda w, s: w - xi * s, parts.params, slope), logits, x, y)

    site, draw = "first/kernel", np.random.default_rng(2)
    direction = draw.normal(size=logits[site].shape).astype(np.float32)
    moved = [unrolled(logits | {site: logits[site] + sign * 0.05 * direction}) for sign in (1, -1)]
    difference = float(moved[0] - moved[1]) / 0.1

    def slope(unroll):
        state, _ = search_start(net, phase, controller=controller)
        spec = StepSpec(net, (("arch", phase.arch),), controller, unroll=unroll)
        knobs = {name: np.float32(value) for name, value in (KNOBS | {"unroll": xi}).items()}
        after, _ = compiled_step(spec)(state, x, y, knobs, {}, {}, None, ahead)
        # Nesterov's first step is 1.9 times the slope.
        change = np.asarray(after.arch.logits[site]) - logits[site]
        return float(np.sum(change * direction)) / -(1.9 * rate)

    assert slope(True) == pytest.approx(difference, rel=0.02)
    assert abs(slope(False) - difference) > 0.1 * abs(difference)


def test_multiplier_is_in_the_state_and_weighs_the_next_step(net):
    phase = dataclasses.replace(SEARCH, budget=PID(kp=2.0, ki=0.0), penalty=1.0)
    state, rest = search_start(net, phase)
    limits = {name: jnp.float32(limit) for name, limit in rest["limits"].items()}
    spec = dataclasses.replace(spec_of(net, "arch"), pull=phase.budget)
    x, y = blobs().batch("train", 0, 0, 16)
    knobs = {name: np.float32(value) for name, value in (KNOBS | {"penalty": 1.0, "rate/arch": 0.0}).items()}
    soft = expected(spec.costs, net.space, Gumbel().probabilities(state.arch, net.space.choices))
    over = float(soft["weight_bytes"]) / float(limits["weight_bytes"])
    assert float(state.pull["multiplier"]["weight_bytes"]) == 0
    state, first = compiled_step(spec)(state, x, y, knobs, {}, limits, None)
    multiplier = float(state.pull["multiplier"]["weight_bytes"])
    assert multiplier == pytest.approx(max(2 * np.log(over), 0), rel=1e-4) and multiplier > 0
    # Nothing has moved and the draw is the same: what is added to the loss is the multiplier's.
    _, second = compiled_step(spec)(
        dataclasses.replace(state, step=state.step - 1), x, y, knobs, {}, limits, None
    )
    assert float(second["loss"] - first["loss"]) == pytest.approx(multiplier * over, rel=1e-4)


def test_banded_penalty_reads_the_preferred_candidates(net):
    """The mixture is over the limit, its arg-max far below: the band pushes the expected cost up."""
    state, _ = search_start(net)
    low = {s: jnp.zeros_like(logits).at[:, 0].set(0.01) for s, logits in state.arch.logits.items()}
    state = dataclasses.replace(state, arch=dataclasses.replace(state.arch, logits=low))
    space, spec = net.space, dataclasses.replace(spec_of(net, "arch"), pull=BandedLog())
    soft = expected(spec.costs, space, Gumbel().probabilities(state.arch, space.choices))["weight_bytes"]
    limits = {"weight_bytes": soft * 0.99}
    x, y = blobs().batch("train", 0, 0, 16)
    knobs = {name: np.float32(value) for name, value in (KNOBS | {"penalty": 1000.0}).items()}
    before = {site: np.asarray(logits) for site, logits in state.arch.logits.items()}
    after, _ = compiled_step(spec)(state, x, y, knobs, {}, limits, None)
    for site in space.weight_site.values():
        # Adam's first step is the rate, 0.1, in the direction of a gradient that the penalty decides.
        np.testing.assert_allclose(after.arch.logits[site][:, -1] - before[site][:, -1], 0.1, atol=1e-4)
