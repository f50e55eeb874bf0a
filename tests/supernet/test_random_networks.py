"""Random networks: what is masked is what is sliced, ties cannot be broken, costs are those of the result.

Every seed is another graph out of the parts in `random_nets`, widened for widths above 1, with random
bits per channel or subgroup (0 among them), random widths and random ranges.
"""

import dataclasses
import functools
import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_nets import PARTS, random_net
from small_nets import outputs, run

from mpnas.cost import Bops, Macs, PeakActBytes, exact_cost
from mpnas.errors import SearchSpaceError
from mpnas.space import Assignment, Rule, build_space
from mpnas.supernet import attach, discretize, trace
from mpnas.supernet.resize import leaf_at, remaining, slice_channels
from mpnas.supernet.trace import leaf_name

SEEDS = range(24)
BITS = {"weights": (0, 2, 4, 8), "activations": (4, 8)}
RULE = Rule(match="*", **BITS, granularity="channel", widths=(0.5, 1, 1.5))
COSTS = (Macs(), Bops(), PeakActBytes())


@functools.cache
def made(seed):
    """`(supernet, arrays with random ranges, input, the model as given)` of a seed."""
    model, x, _ = random_net(seed)
    rule = RULE if seed % 3 else dataclasses.replace(RULE, granularity=2, scale=3)
    net = attach(model, x, [rule])
    draw = np.random.default_rng(seed)
    ranges = jax.tree.map(
        lambda step: step * jnp.asarray(draw.uniform(0.5, 2, step.shape), step.dtype), net.parts.ranges
    )
    model.eval()
    return net, dataclasses.replace(net.parts, ranges=ranges), x, model


def random_assignment(space, draw):
    """Any assignment that keeps a channel in every group; half of the channels are there or gone."""
    indices = {
        site: draw.integers(0, len(choice.bits), choice.decisions) for site, choice in space.choices.items()
    }
    for group, site in space.remover.items():
        decision = 0 if group in space.width_site else draw.integers(len(indices[site]))
        indices[site][decision] = max(indices[site][decision], 1)
    return space.from_indices(indices)


@functools.cache
def small(seed):
    """`(assignment, its network)` of a seed."""
    net, parts, _, _ = made(seed)
    assignment = random_assignment(net.space, np.random.default_rng(1000 + seed))
    return assignment, discretize(net, parts, assignment)


def alive_in(seed):
    space = made(seed)[0].space
    return space.existing(space.indices(small(seed)[0]))


def test_every_part_occurs_several_times():
    found = Counter(part for seed in SEEDS for part in random_net(seed)[2])
    assert all(found[part] >= 2 for part in (*PARTS, "flat", "mean")), found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_discretized_network_computes_what_the_masked_supernet_computes(seed):
    net, parts, x, _ = made(seed)
    assignment, sliced = small(seed)
    gates = {site: jnp.asarray(gate, jnp.float32) for site, gate in net.space.one_hot(assignment).items()}
    expected = np.asarray(run(net, parts, gates, x)[0])
    scale = np.abs(expected).max()
    assert np.std(expected) > 1e-4 * scale, "a lost permutation would hide in a constant output"
    np.testing.assert_allclose(outputs(sliced, x), expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_widening_preserves_the_function(seed):
    net, _, x, model = made(seed)
    wide = net.widened(model)
    grown = {name for name, group in net.space.work.groups.items()
             if group.size > trace(model, x).groups[name].size}
    assert grown == set(net.space.width_site), "every width has a candidate above 1"
    np.testing.assert_allclose(outputs(wide, x), outputs(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_array_is_as_small_as_the_channels_that_exist(seed):
    net, parts, _, _ = made(seed)
    sliced, alive = small(seed)[1], alive_in(seed)
    leaves = {leaf_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(parts.params)[0]}
    shapes = {leaf: list(leaf_at(sliced, leaf)[...].shape) for leaf in leaves}
    for (leaf, axis), lanes in net.space.work.axes.items():
        if leaf in leaves:
            exists = np.concatenate([
                alive.get(group, np.ones(max(channels) + 1, bool))[list(channels)]
                for group, channels in lanes.runs
            ])
            assert shapes[leaf][axis] == exists.sum()


def test_most_assignments_remove_something():
    assert sum(not all(exists.all() for exists in alive_in(seed).values()) for seed in SEEDS) > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_costs_are_those_of_the_result_counted_afresh(seed):
    net, _, x, model = made(seed)
    space, assignment, alive = net.space, small(seed)[0], alive_in(seed)
    plain = net.widened(model)  # without quantizers, so that its kernels are found again
    slice_channels(plain, space.work, alive)
    fresh = build_space(trace(plain, x), [dataclasses.replace(RULE, weights=(2, 4, 8), widths=())])
    bits = {}
    for site, choice in fresh.choices.items():
        kept = np.asarray(assignment.bits[site])[space.channel_decision[site]]
        if choice.kind == "weight":
            keep = remaining(space.work.layer[choice.layers[0]].writes, alive)
            kept = kept if keep is None else kept[keep]
        bits[site] = tuple(kept.tolist())
    same = dataclasses.replace(fresh.uniform(8), bits=bits)
    for cost in COSTS:
        assert exact_cost(cost, fresh, same) == pytest.approx(exact_cost(cost, space, assignment), rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tie_cannot_be_broken(seed):
    space = made(seed)[0].space
    assignment = space.uniform(4)
    several = [group for group in space.work.groups.values() if len(group.producers) > 1]
    for group in several:
        for path in group.producers:
            site = space.weight_site[path]
            assert 0 not in space.choices[site].bits, "only the shared mask removes what is tied"
            removed = (0,) * space.choices[site].decisions
            broken = dataclasses.replace(assignment, bits={**assignment.bits, site: removed})
            with pytest.raises(SearchSpaceError, match=f"0 bits at '{site}', which offers"):
                space.check(broken)
            if f"{path}/width" not in space.choices:
                own = {"granularity": "group", "channels": 1}
                stranger = Assignment.from_json(assignment.to_json() | {f"{path}/width": own})
                with pytest.raises(SearchSpaceError, match=f"names '{path}/width', which is no site"):
                    space.check(stranger)


@pytest.mark.parametrize("seed", SEEDS)
def test_assignments_survive_json(seed):
    space = made(seed)[0].space
    draw = np.random.default_rng(seed)
    for _ in range(5):
        assignment = random_assignment(space, draw)
        again = Assignment.from_json(json.loads(json.dumps(assignment.to_json())))
        space.check(again)
        assert again == assignment == space.nearest(space.one_hot(again))
