"""Tests of mpnas/train/keep.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_train import SEARCH, differing, search_start

import mpnas.train.loop as loop_module
from mpnas.control import Arch, Gumbel
from mpnas.cost import COSTS, measure, satisfied
from mpnas.train import Checkpoints, Hooks, run_phase
from mpnas.train.checkpoint import filled
from mpnas.train.keep import WINDOWS, handed_on, kept
from mpnas.train.step import compiled_step

KEEPING = dataclasses.replace(SEARCH, keep="best_feasible")
BYTES = [cost for cost in COSTS if cost.name == "weight_bytes"]


def pushed(net, state, towards):
    """The state whose logits all prefer the lowest (-1) or the highest (1) candidates."""
    logits = {
        site: jnp.asarray(np.tile(towards * np.arange(leaf.shape[1], dtype=np.float32), (leaf.shape[0], 1)))
        for site, leaf in state.arch.logits.items()
    }
    return dataclasses.replace(state, arch=Arch(logits, state.arch.memory))


def noted(net, state, losses, directions, limit, steps=10 * WINDOWS):
    """The best state after windows of ten steps with these losses and leanings."""
    for window, (loss, towards) in enumerate(zip(losses, directions, strict=True)):
        state = pushed(net, state, towards)
        for k in range(10):
            state = kept(
                state, jnp.float32(loss), step=10 * window + k + 1, steps=steps, net=net,
                controller=Gumbel(), costs=COSTS, limits={"weight_bytes": limit},
            )
    return state


@pytest.mark.parametrize("losses, directions, expected", [
    ([3.0, 2.0, 2.5], [-1, -1, -1], 2.0),  # the lowest loss
    ([3.0, 1.0, 2.5], [-1, 1, -1], 2.5),   # the lowest loss of those within the limit
    ([1.0, 2.0, 0.5], [1, 1, 1], np.inf),  # none within the limit
    ([np.nan, 2.0, 3.0], [-1, -1, -1], 2.0),
])
def test_lowest_loss_within_the_limits_is_kept(net, losses, directions, expected):
    state, rest = search_start(net, KEEPING)
    low = measure(BYTES, net.space, net.space.nearest(pushed(net, state, -1).arch.logits))["weight_bytes"]
    end = noted(net, state, losses, directions, low)
    assert float(end.best.loss) == expected
    chosen = handed_on(end)
    if np.isfinite(expected):
        best = net.space.nearest(chosen.arch.logits)
        assert satisfied(measure(BYTES, net.space, best), {"weight_bytes": low})
    else:
        assert chosen is end


def test_phase_hands_on_a_state_that_is_within_the_limits_although_its_last_one_is_not(net, data):
    # The limit is that of the narrowest network, and without a penalty nothing keeps the logits there.
    phase = dataclasses.replace(KEEPING, steps=20, penalty=0.0)
    state, rest = search_start(net, phase)
    state = pushed(net, state, -0.35)
    limits = measure(BYTES, net.space, net.space.nearest(state.arch.logits))
    ends = [
        run_phase("search", net, jax.tree.map(jnp.copy, state), data, dataclasses.replace(phase, keep=keep),
                  **(rest | {"limits": limits}))
        for keep in ("best_feasible", "last")
    ]
    met = [satisfied(measure(BYTES, net.space, net.space.nearest(end.arch.logits)), limits) for end in ends]
    assert met == [True, False]
    assert differing(ends[0].parts, ends[1].parts)


@pytest.mark.parametrize("steps, at", [(20, 7), (120, 61)])
def test_resumed_phase_keeps_what_the_uninterrupted_one_keeps(net, data, tmp_path, steps, at):
    phase = dataclasses.replace(KEEPING, steps=steps)
    state, rest = search_start(net, phase)
    with Checkpoints(tmp_path) as checkpoints:
        def keep_one(state):
            if int(state.step) == at:
                checkpoints.save(at, state, {})

        hooks = Hooks(every=1000, checkpoint=keep_one, checkpoint_every=1)
        end = run_phase("search", net, state, data, phase, hooks=hooks, **rest)
        _, arrays, _ = checkpoints.latest()
    fresh, _ = search_start(net, phase)
    again = run_phase("search", net, filled(fresh, arrays, tmp_path), data, phase, **rest)
    assert np.isfinite(end.best.loss)
    assert differing(end, again) == []


def test_a_finished_phase_hands_on_the_same_when_it_is_called_again(net, data):
    state, rest = search_start(net, KEEPING)
    saved = []
    hooks = Hooks(checkpoint=lambda state: saved.append(jax.tree.map(jnp.copy, state)))
    end = run_phase("search", net, state, data, KEEPING, hooks=hooks, **rest)
    again = run_phase("search", net, saved[-1], data, KEEPING, **rest)
    assert differing(end, again) == []


def test_keeping_a_state_costs_no_second_compilation(net, data, monkeypatch):
    state, rest = search_start(net, KEEPING)
    programs, sizes = {}, []

    def watched(spec):
        programs[spec] = compiled_step(spec)
        return programs[spec]

    monkeypatch.setattr(loop_module, "compiled_step", watched)
    hooks = Hooks(lambda p: sizes.append(sum(step._cache_size() for step in programs.values())), 1)
    end = run_phase("search", net, state, data, KEEPING, hooks=hooks, **rest)
    assert len(sizes) == KEEPING.steps and set(sizes) == {sizes[0]}
    assert np.isfinite(end.best.loss)
