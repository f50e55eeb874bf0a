"""Tests of mpnas/train/features.py."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_train
from flax import nnx
from tiny_train import attached, blobs, differing

from mpnas.errors import ConfigError
from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.train import Answers, Optimizer, Phase, Quantized, Teacher, one_hot_gates, retrain
from mpnas.train import teacher as teacher_of
from mpnas.train.features import PROJECTED, attention, gated_feature_loss, gates, refuse_strangers

KEY = jax.random.PRNGKey(7)


def maps(seed, channels=3, rows=4):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((rows, 2, 2, channels)), jnp.float32)


def by_hand(feature):
    """Attention written out in numpy, one example after another."""
    rows = []
    for example in np.asarray(feature, np.float64):
        energy = np.array([np.mean(example[i, j] ** 2) for i in range(2) for j in range(2)])
        rows.append(energy / np.sqrt(np.sum(energy**2)))
    return np.array(rows)


def test_attention_is_the_energy_at_each_position_as_a_vector_of_length_one():
    np.testing.assert_allclose(attention(maps(0)), by_hand(maps(0)), rtol=1e-5)
    # Two positions with energies 3 and 4: (0.6, 0.8), whatever the scale.
    feature = jnp.sqrt(jnp.array([[[3.0], [4.0]]]))
    np.testing.assert_allclose(attention(10 * feature), [[0.6, 0.8]], rtol=1e-5)


def test_a_feature_without_positions_has_its_channels_for_positions():
    np.testing.assert_allclose(attention(jnp.sqrt(jnp.array([[3.0, 4.0]]))), [[0.6, 0.8]], rtol=1e-5)


def test_attention_of_a_dead_feature_is_zero_and_so_is_its_gradient():
    assert not np.any(attention(jnp.zeros((2, 3, 3, 4))))
    slopes = jax.grad(lambda f: jnp.sum(attention(f)))(jnp.zeros((2, 3, 3, 4)))
    assert np.isfinite(slopes).all()


def test_loss_is_the_sum_over_features_of_the_gated_squares():
    student = {"a": (maps(1),), "b": (maps(2, channels=5),)}
    teacher = {"a": (maps(3),), "b": (maps(4, channels=2),)}
    expected = 0.0
    for number, name in enumerate(student):
        own, other = student[name][0], teacher[name][0]
        opened = np.asarray(gates(own, other, number, jax.random.fold_in(KEY, number)))
        apart = ((by_hand(own) - by_hand(other)) ** 2).mean(axis=1)
        expected += np.mean(opened * apart)
    assert expected > 0
    assert gated_feature_loss(student, teacher, KEY) == pytest.approx(expected, rel=1e-4)


def test_equal_features_cost_nothing():
    assert gated_feature_loss({"a": (maps(1),)}, {"a": (maps(1),)}, KEY) == 0


def test_gates_are_those_of_the_formula():
    student, teacher = maps(1, channels=5, rows=32), maps(2, rows=32)
    draws = jax.random.split(jax.random.fold_in(jax.random.PRNGKey(0x0571), 3))
    normed = lambda z: (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5)
    project = lambda f, key, c: np.asarray(f, np.float64).mean(axis=(1, 2)) @ np.asarray(
        jax.random.normal(key, (c, PROJECTED))) / np.sqrt(c)
    query = normed(project(teacher, draws[0], 3))
    value = np.maximum(normed(project(student, draws[1], 5)), 0)
    logit = (query * value).sum(axis=1) / np.sqrt(128)
    noise = np.asarray(jax.random.gumbel(KEY, (32,)))
    found = np.asarray(gates(student, teacher, 3, KEY))
    np.testing.assert_array_equal(found, (logit + noise > 0).astype(np.float32))
    assert 0 < found.mean() < 1


def test_gates_open_by_a_sigmoid_of_their_logit():
    # P(logit + Gumbel > 0) = 1 - exp(-exp(logit)); a single example has a logit of 0 behind a batch norm.
    opened = [float(gates(maps(1, rows=1), maps(2, rows=1), 0, key)[0]) for key in jax.random.split(KEY, 400)]
    assert np.mean(opened) == pytest.approx(1 - np.exp(-1), abs=4 * np.sqrt(0.63 * 0.37 / 400))


def test_teachers_get_no_gradient_and_neither_do_gates():
    student, teacher = {"a": (maps(1),)}, {"a": (maps(3),)}
    assert not np.any(jax.grad(lambda t: gated_feature_loss(student, t, KEY))(teacher)["a"][0])
    opened = gates(maps(1), maps(3), 0, jax.random.fold_in(KEY, 0))
    apart = lambda f: jnp.mean((attention(f) - attention(maps(3))) ** 2, axis=1)
    fixed = jax.grad(lambda f: jnp.mean(opened * apart(f)))(maps(1))
    found = jax.grad(lambda s: gated_feature_loss(s, teacher, KEY))(student)["a"][0]
    np.testing.assert_allclose(found, fixed, atol=1e-7)


# In retraining ----------------------------------------------------------------------------------


def phase(**more):
    return Phase(steps=60, batch=16, weights=Optimizer(lr=5e-2), **more)


def test_features_pull_the_student_to_its_teacher():
    net, data = attached(), blobs()
    float_net = teacher_of(tiny_train.model(seed=5), data)
    assignment = net.space.uniform(8)
    gate = one_hot_gates(net, assignment)

    def distance(parts):
        x = jnp.asarray(data.test[0])
        own = net.observed(parts, gate, x, train=False)[2]
        other = float_net.net.observed(float_net.parts, {}, x, train=False)[2]
        return float(jnp.mean((attention(own["head"][0]) - attention(other["head"][0])) ** 2))

    options = {"parts": net.parts, "teacher": float_net}
    plain = retrain(net, assignment, data, phase=phase(), **options)
    taught = retrain(net, assignment, data, phase=phase(features=400.0), **options)
    assert distance(taught) < 0.5 * min(distance(plain), distance(net.parts))


def test_a_weight_of_zero_is_the_phase_without_features():
    net, data = attached(), blobs()
    options = {"parts": net.parts, "teacher": teacher_of(tiny_train.model(), data)}
    assignment = net.space.uniform(8)
    one = retrain(net, assignment, data, phase=phase(), **options)
    other = retrain(net, assignment, data, phase=phase(features=0.0), **options)
    assert not differing(one, other)


def test_a_network_of_an_assignment_can_show_its_features_too():
    net, data = attached(), blobs()
    gate = one_hot_gates(net, net.space.uniform(8))
    teacher = Teacher(Quantized(net, gate), net.parts)
    refuse_strangers("retrain", net, teacher, data.example())
    shown = teacher.net.observed(net.parts, {}, data.example(), train=False)[2]
    own = net.observed(net.parts, gate, data.example(), train=False)[2]
    np.testing.assert_array_equal(shown["head"][0], own["head"][0])


def test_an_answer_has_no_features_to_compare():
    net, data = attached(), blobs()
    teacher = Teacher(Answers(lambda x: x[:, :3]), {})
    with pytest.raises(ConfigError, match="answers with logits only"):
        retrain(net, net.space.uniform(8), data, parts=net.parts, teacher=teacher, phase=phase(features=1.0))


class Wider(nnx.Module):
    """The layers of `NormNet` under the same names, of another size between them."""

    def __init__(self):
        self.first = nnx.Linear(6, 9, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(9, 3, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.head(jax.nn.relu(self.first(x)))


def test_a_teacher_of_other_layers_is_refused_with_the_layer():
    net, data = attached(), blobs()
    with pytest.raises(ConfigError, match=r"what 'head' reads has positions \[\(8,\)\] .* and \[\(9,\)\]"):
        refuse_strangers("retrain", net, teacher_of(Wider(), data), data.example())


class Single(nnx.Module):
    def __init__(self):
        self.only = nnx.Linear(6, 3, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.only(x)


def test_a_network_without_features_says_so():
    data = blobs()
    net = attach(Single(), data.example(), [Rule(match="*", weights=(2, 8))])
    with pytest.raises(ConfigError, match="no layer of the network reads anything but its input"):
        refuse_strangers("retrain", net, teacher_of(Single(), data), data.example())


def test_the_noise_of_the_gates_is_that_of_the_step():
    net, data = attached(), blobs()
    options = {"parts": net.parts, "teacher": teacher_of(tiny_train.model(seed=5), data)}
    assignment, taught = net.space.uniform(8), dataclasses.replace(phase(features=400.0), steps=4)
    one = retrain(net, assignment, data, phase=taught, seed=3, **options)
    same = retrain(net, assignment, data, phase=taught, seed=3, **options)
    assert not differing(one, same)
