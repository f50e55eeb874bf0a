"""Tests of mpnas/train/statistics.py."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from tiny_train import BUDGET, attached, blobs, differing, leaves

from mpnas.cost import COSTS, refuse_impossible, repair
from mpnas.data import Dataset
from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.train import Optimizer, Phase, one_hot_gates, reestimated, retrain


class Deep(nnx.Module):
    """A norm on the inputs, a layer, and a norm and dropout on what it gives."""

    def __init__(self, *, rngs):
        self.first = nnx.BatchNorm(3, rngs=rngs)
        self.dense = nnx.Linear(3, 2, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.second = nnx.BatchNorm(2, rngs=rngs)

    def __call__(self, x):
        return self.second(self.drop(self.dense(self.first(x))))


class Bare(nnx.Module):
    """A layer and no norm."""

    def __init__(self):
        self.dense = nnx.Linear(6, 3, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.dense(x)


def data_of(x):
    part = (x, (np.arange(len(x)) % 2).astype(np.int32))
    return Dataset("rows", part, part, part, classes=2, augment=lambda x, rng: x + 100)


def shifted():
    """Rows of another mean and spread than 0 and 1, all columns apart."""
    rng = np.random.default_rng(5)
    return (rng.standard_normal((24, 3)) * [1, 2, 0.5] + [3, -1, 10]).astype(np.float32)


def network(rules=()):
    rules = [Rule(match="*", weights=(2, 8), activations=(32,))] if rules else []
    return attach(Deep(rngs=nnx.Rngs(0, dropout=1)), shifted()[:2], rules)


def norm(parts, name):
    found = leaves(parts.stats)
    return tuple(next(v for k, v in found.items() if f"'{name}'" in k and f"'{part}'" in k)
                 for part in ("mean", "var"))


def test_statistics_are_those_of_the_population():
    x, net = shifted(), network()
    parts = reestimated(net, net.parts, {}, data_of(x), batches=3, batch=8)  # one epoch: every row once
    mean, var = norm(parts, "first")
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(var, x.astype(np.float64).var(axis=0), rtol=2e-5)  # sums of squares in float32


def test_a_deeper_norm_sees_the_final_quantised_weights_and_no_dropout():
    x, net = shifted(), network(rules=True)
    assignment = net.space.uniform(2)
    gates = one_hot_gates(net, assignment)
    parts = reestimated(net, net.parts, gates, data_of(x), batches=1, batch=24)
    kernel = np.asarray(net.quantized_kernels(net.parts)["dense/kernel"][0], np.float64)
    assert len(np.unique(kernel)) <= 4
    # By hand: one batch of all rows, normalised by itself, times the 2-bit kernel.
    inside = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    out = inside @ kernel
    mean, var = norm(parts, "second")
    np.testing.assert_allclose(mean, out.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(var, out.var(axis=0), rtol=1e-4)


def test_nothing_but_the_statistics_of_norms_is_changed():
    net, data = attached(), blobs()
    gates = one_hot_gates(net, net.space.uniform(None))
    parts = reestimated(net, net.parts, gates, data, batches=2, batch=16)
    changed = differing(net.parts, parts)
    assert len(changed) == 2 and all("norm" in name for name in changed)


def test_without_batches_or_without_norms_the_parts_are_the_same_object():
    net, data = attached(), blobs()
    gates = one_hot_gates(net, net.space.uniform(None))
    assert reestimated(net, net.parts, gates, data, batches=0, batch=16) is net.parts
    bare = attach(Bare(), data.example(), [])
    assert reestimated(bare, bare.parts, {}, data, batches=2, batch=16) is bare.parts


@pytest.mark.parametrize("batches", [0, 4])
def test_retraining_ends_with_it_where_the_phase_asks(batches):
    net, data = attached(), blobs()
    phase = Phase(steps=3, batch=16, weights=Optimizer(lr=1e-2))
    limits = refuse_impossible(BUDGET, COSTS, net.space)
    assignment = repair(net.space, COSTS, limits, net.space.one_hot(net.space.uniform(None)))
    options = {"parts": net.parts, "seed": 3}
    plain = retrain(net, assignment, data, phase=phase, **options)
    asked = retrain(net, assignment, data, phase=dataclasses.replace(phase, bn_batches=batches), **options)
    wanted = reestimated(net, plain, one_hot_gates(net, assignment), data, batches=batches, batch=16, seed=3)
    assert not differing(asked, wanted)
    assert bool(differing(asked, plain)) == bool(batches)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(leaves(asked)))
