"""Tests of mpnas/train/importance.py."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.train.importance import class_paths


class Hand(nnx.Module):
    """Three filters over two inputs: the first sees input 0, the second input 1, the third is never open."""

    def __init__(self):
        self.body = nnx.Linear(2, 3, use_bias=False, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(0))
        self.body.kernel[...] = jnp.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]])
        self.head.kernel[...] = jnp.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])

    def __call__(self, x):
        return self.head(jax.nn.relu(self.body(x)))


# Class 0: input 0 in all three images, input 1 in one. Class 1: input 1 in one of two, and nothing else.
X = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 0]], np.float32)
Y = np.array([0, 0, 0, 1, 1], np.int32)


def scores(granularity, model=None, x=X, y=Y, size=5):
    rules = [Rule(match="*", weights=(4, 8), granularity=granularity)]
    net = attach(Hand() if model is None else model, x, rules)

    def batches():
        for start in range(0, len(x), size):
            yield x[start : start + size], y[start : start + size]

    return class_paths(net, net.calibrated(net.parts, x), batches, 0)


def test_score_is_the_sum_over_classes_of_the_share_of_images_on_whose_path_a_filter_is():
    found = scores("channel")
    # Filter 0: 3 of 3 of class 0, 0 of 2 of class 1. Filter 1: 1 of 3 and 1 of 2. Filter 2: never.
    np.testing.assert_allclose(found["body/kernel"], [[1.0], [1 / 3 + 1 / 2], [0.0]], rtol=1e-6)
    # The third and the last image have 0 at both outputs: no neuron of the head is on their paths.
    np.testing.assert_allclose(found["head/kernel"], [[2 / 3 + 1 / 2]] * 2, rtol=1e-6)


def test_decision_over_several_filters_has_the_largest_of_their_scores():
    np.testing.assert_allclose(scores(2)["body/kernel"], [[1.0], [0.0]], rtol=1e-6)
    np.testing.assert_allclose(scores("layer")["body/kernel"], [[1.0]], rtol=1e-6)


def test_batches_add_up():
    one, many = scores("channel"), scores("channel", size=1)
    for site in one:
        np.testing.assert_allclose(one[site], many[site], rtol=1e-6)


class Convolved(nnx.Module):
    """One 1x1 filter at two positions, which are summed."""

    def __init__(self):
        self.body = nnx.Conv(1, 1, (1,), use_bias=False, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(1, 2, use_bias=False, rngs=nnx.Rngs(0))
        self.body.kernel[...] = jnp.ones((1, 1, 1))
        self.head.kernel[...] = jnp.array([[1.0, -1.0]])

    def __call__(self, x):
        return self.head(jax.nn.relu(self.body(x)).sum(axis=1))


def test_filter_has_the_score_of_its_best_position():
    x = np.array([[[1], [1]], [[0], [1]], [[0], [0]], [[1], [0]]], np.float32)
    found = scores("channel", Convolved(), x, np.array([0, 0, 1, 1], np.int32), size=4)
    # Position 0: 1 of 2 and 1 of 2; position 1: 2 of 2 and 0 of 2. Both are 1; neither is their union, 1.5.
    np.testing.assert_allclose(found["body/kernel"], [[1.0]])
