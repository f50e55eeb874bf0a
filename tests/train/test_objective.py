"""Tests of mpnas/train/objective.py."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.train.objective import bin_regularizer, cross_entropy, soft_cross_entropy

LOGITS = jnp.array([[0.0, math.log(3.0)], [0.0, 0.0]])  # probabilities (1/4, 3/4) and (1/2, 1/2)
LABELS = jnp.array([1, 0])


def test_cross_entropy_is_the_mean_negative_log_likelihood():
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert cross_entropy(LOGITS, LABELS, 0.0) == pytest.approx(expected, rel=1e-6)


def test_smoothing_spreads_its_mass_over_all_classes():
    first = 0.9 * math.log(4 / 3) + 0.1 * (math.log(4) + math.log(4 / 3)) / 2
    expected = (first + math.log(2)) / 2
    assert cross_entropy(LOGITS, LABELS, 0.1) == pytest.approx(expected, rel=1e-6)


def test_gradient_of_smoothed_cross_entropy_is_prediction_minus_smoothed_label():
    gradient = jax.grad(cross_entropy)(LOGITS, LABELS, 0.2)
    targets = np.array([[0.1, 0.9], [0.9, 0.1]])
    np.testing.assert_allclose(gradient, (jax.nn.softmax(LOGITS) - targets) / 2, atol=1e-6)


def test_gradient_of_soft_cross_entropy_is_student_minus_teacher_at_temperature_one():
    teacher = jnp.array([[1.0, -2.0], [0.5, 0.0]])
    gradient = jax.grad(soft_cross_entropy)(LOGITS, teacher, 1.0)
    expected = (jax.nn.softmax(LOGITS) - jax.nn.softmax(teacher)) / 2
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_soft_cross_entropy_softens_both_and_multiplies_by_the_square():
    # At T = 2 this teacher says (1/4, 3/4), and an undecided student is ln 2 away from anything.
    teacher = jnp.array([[0.0, 2 * math.log(3.0)]])
    assert soft_cross_entropy(jnp.zeros((1, 2)), teacher, 2.0) == pytest.approx(4 * math.log(2), rel=1e-6)
    student = jnp.array([[0.0, 2 * math.log(3.0)]])
    entropy = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    assert soft_cross_entropy(student, teacher, 2.0) == pytest.approx(4 * entropy, rel=1e-6)


def test_teacher_gets_no_gradient():
    gradient = jax.grad(soft_cross_entropy, argnums=1)(LOGITS, LOGITS + 1.0, 1.0)
    assert not np.any(gradient)


class Layers(nnx.Module):
    """Kernels of 2 x 2 and nothing else."""

    def __init__(self, layers=1):
        self.layers = layers
        for k in range(layers):
            setattr(self, f"dense{k}", nnx.Linear(2, 2, use_bias=False, rngs=nnx.Rngs(0)))

    def __call__(self, x):
        for k in range(self.layers):
            x = getattr(self, f"dense{k}")(x)
        return x


def regularizer(kernel, gates, *, bits=(2,), layers=1, **rule):
    """The term of layers that all have this kernel, with steps of 0.5 at every bit-width."""
    options = {"weights": bits, "scale": "layer"} | rule
    net = attach(Layers(layers), np.zeros((1, 2), np.float32), [Rule(match="*", **options)])
    params = jax.tree.map(lambda old: jnp.asarray(kernel, jnp.float32), net.parts.params)
    ranges = jax.tree.map(lambda step: jnp.full_like(step, 0.5), net.parts.ranges)
    parts = dataclasses.replace(net.parts, params=params, ranges=ranges)
    every = {site: jnp.asarray(gates, jnp.float32) for site in net.space.weight_site.values()}
    value = bin_regularizer(net, parts, every)
    slopes = jax.grad(lambda p: bin_regularizer(net, p, every), allow_int=True)(parts)
    return float(value), slopes


# In steps of 0.5: 0.2, 0.8, -1.2 and 1.8, which 2 signed bits store as 0, 1, -1 and (clipped) 1.
WEIGHTS = [[0.1, 0.4], [-0.6, 0.9]]


def test_bins_of_a_layer_of_four_weights():
    # Bin 0: 0.2^2. Bin -1: 0.2^2. Bin 1 holds 0.8 and 1.8: (1.3 - 1)^2 + 0.5^2.
    value, _ = regularizer(WEIGHTS, [[1.0]])
    assert value == pytest.approx(0.04 + 0.04 + 0.09 + 0.25, rel=1e-5)


def test_bins_are_empty_of_cost_where_weights_sit_on_centres():
    value, slopes = regularizer([[-1.0, -0.5], [0.0, 0.5]], [[1.0]])
    assert value == 0.0
    assert not np.any(jax.tree.leaves(slopes.params)[0])


def test_gradient_pulls_a_lonely_weight_to_its_centre_and_leaves_the_step_alone():
    # One weight per bin: d/dw of ((w / 0.5) - centre)^2 is 2 * (steps - centre) / 0.5.
    value, slopes = regularizer([[0.1, 0.6], [-0.6, -1.0]], [[1.0]])
    np.testing.assert_allclose(jax.tree.leaves(slopes.params)[0], [[0.8, 0.8], [-0.8, 0.0]], atol=1e-5)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes.ranges))
    assert value == pytest.approx(3 * 0.04, rel=1e-5)


def test_bins_hold_the_weights_as_the_scale_bends_them():
    # tanh over its maximum is 1, 0.5, -0.9 and 0.1; in steps of 2/3: 1.5, 0.75, -1.35 and 0.15, and the
    # centres are +-0.5 and +-1.5. The bin of 0.5 holds 0.75 and 0.15: (0.45 - 0.5)^2 + 0.3^2.
    kernel = np.arctanh(np.array([[1.0, 0.5], [-0.9, 0.1]]) * 0.8)
    value, _ = regularizer(kernel, [[1.0]], weight_range="dorefa")
    assert value == pytest.approx(0.05**2 + 0.3**2 + 0.15**2, rel=1e-4)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_under_the_entropy_range_the_term_is_that_of_the_paper_in_steps(bits):
    # w~ = 2^(b-1) / (2^b - 1) * n / ||w||_1 * w, bins around 2^b levels from -1 to 1.
    kernel = np.random.default_rng(bits).standard_normal((2, 2))
    normalised = 2 ** (bits - 1) / (2**bits - 1) * kernel.ravel() / np.mean(np.abs(kernel))
    levels = np.linspace(-1, 1, 2**bits)
    nearest = np.argmin(np.abs(normalised[:, None] - levels), axis=1)
    expected = sum(
        (normalised[nearest == k].mean() - levels[k]) ** 2 + normalised[nearest == k].var()
        for k in np.unique(nearest)
    )
    value, _ = regularizer(kernel, [[1.0]], bits=(bits,), weight_range="entropy")
    assert value == pytest.approx(expected * ((2**bits - 1) / 2) ** 2, rel=5e-3)  # a 13-bit mean


def test_only_weights_that_pick_a_candidate_are_in_its_bins():
    # Channel 0 holds 0.2 and -1.2, each alone in its bin; channel 1 holds 0.8 and 1.8, both in bin 1.
    first, _ = regularizer(WEIGHTS, [[1.0, 0.0], [0.0, 1.0]], bits=(2, 32), granularity="channel")
    assert first == pytest.approx(0.04 + 0.04, rel=1e-5)
    second, _ = regularizer(WEIGHTS, [[0.0, 1.0], [1.0, 0.0]], bits=(2, 32), granularity="channel")
    assert second == pytest.approx(0.09 + 0.25, rel=1e-5)


def test_sixteen_bits_have_no_bins():
    value, _ = regularizer(WEIGHTS, [[1.0]], bits=(16,))
    assert value == 0.0


def test_term_is_a_mean_over_layers():
    one, _ = regularizer(WEIGHTS, [[1.0]])
    two, _ = regularizer(WEIGHTS, [[1.0]], layers=2)
    assert two == pytest.approx(one, rel=1e-5)
