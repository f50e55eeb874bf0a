"""Tests of mpnas/train/state.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_train import SEARCH, differing, float_start, search_start

from mpnas.train import Optimizer, Phase
from mpnas.train.state import collections_of, transform


def test_state_has_buffers_of_its_own(net):
    state, _ = search_start(net)
    assert not differing(state.parts, net.parts)
    for leaf in jax.tree.leaves(state):
        leaf.delete()
    assert all(not leaf.is_deleted() for leaf in jax.tree.leaves(net.parts))


def test_only_trained_collections_have_an_optimizer_state(net):
    phase = Phase(steps=1, ranges=Optimizer())
    assert set(float_start(net, phase).opt) == {"weights", "ranges"}
    assert set(search_start(net)[0].opt) == {"weights", "ranges", "arch"}


def test_seed_is_in_the_key_and_nowhere_else(net):
    one, _ = search_start(net, seed=1)
    other, _ = search_start(net, seed=2)
    assert differing(one, other) == [".key"]


def test_collections_are_weights_ranges_and_logits(net):
    state, _ = search_start(net, SEARCH)
    found = collections_of(state.parts, state.arch)
    assert found == {"weights": state.parts.params, "ranges": state.parts.ranges, "arch": state.arch.logits}


def first_change(optimizer, parameter, gradient):
    tx = transform(optimizer)
    change, _ = tx.update(jnp.asarray(gradient), tx.init(jnp.asarray(parameter)), jnp.asarray(parameter))
    return change


@pytest.mark.parametrize("optimizer, expected", [
    # Adam's first step is the sign of the gradient; decay adds weight_decay * parameter to it.
    (Optimizer(), [1.0, -1.0]),
    (Optimizer(name="adamw", weight_decay=0.1), [1.2, -1.4]),
    # Nesterov momentum on g + decay * p: (1 + 0.9) of it in the first step.
    (Optimizer(name="sgd"), [1.9 * 0.5, 1.9 * -3.0]),
    (Optimizer(name="sgd", weight_decay=0.1), [1.9 * 0.7, 1.9 * -3.4]),
])
def test_first_change_at_a_rate_of_one(optimizer, expected):
    change = first_change(optimizer, [2.0, -4.0], [0.5, -3.0])
    np.testing.assert_allclose(change, expected, rtol=1e-5)
