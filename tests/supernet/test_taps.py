"""Tests of mpnas/supernet/taps.py."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.models import MODELS
from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.supernet.taps import noted, tapped_layers

IMAGES = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)


def test_features_are_what_layers_read_once_per_tensor_and_without_the_input():
    net = attach(MODELS["resnet8"](rngs=nnx.Rngs(0)), IMAGES, [])
    # A shortcut reads what the first convolution of its block reads; the stem reads the images.
    assert net.tapped == (
        "block1/conv1", "block1/conv2", "block2/conv1", "block2/conv2", "block3/conv1", "block3/conv2",
        "dense",
    )


def test_features_are_the_values_that_enter_the_layers():
    model = MODELS["resnet8"](rngs=nnx.Rngs(0))
    net = attach(model, IMAGES, [])
    logits, _, features = net.observed(net.parts, {}, IMAGES, train=False)
    model.eval()
    stem = jax.nn.relu(model.stem_bn(model.stem(IMAGES)))
    np.testing.assert_allclose(features["block1/conv1"][0], stem, atol=1e-5)
    first = model.block1(stem)
    np.testing.assert_allclose(features["block2/conv1"][0], first, atol=1e-4)
    pooled = jnp.mean(model.block3(model.block2(first)), axis=(1, 2))
    np.testing.assert_allclose(features["dense"][0], pooled, atol=1e-4)
    np.testing.assert_allclose(logits, model.dense(pooled), atol=1e-4)


def test_an_attached_network_answers_and_keeps_statistics_as_without_taps():
    rules = [Rule(match="*", weights=(2, 4, 8), activations=(4, 8), granularity="channel")]
    net = attach(MODELS["resnet8"](rngs=nnx.Rngs(0)), IMAGES, rules)
    gates = {site: jnp.asarray(g, jnp.float32) for site, g in net.space.one_hot(net.space.uniform(2)).items()}
    parts = net.calibrated(net.parts, IMAGES)
    plain, stats = net.apply(parts, gates, IMAGES, train=True)
    tapped, tapped_stats, features = net.observed(parts, gates, IMAGES, train=True)
    np.testing.assert_array_equal(plain, tapped)
    assert jax.tree.structure(stats) == jax.tree.structure(tapped_stats)
    for one, other in zip(jax.tree.leaves(stats), jax.tree.leaves(tapped_stats), strict=True):
        if jnp.issubdtype(one.dtype, jnp.floating):
            np.testing.assert_array_equal(one, other)
    assert features["dense"][0].shape == (2, 64)


class Twice(nnx.Module):
    def __init__(self):
        self.inner = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.table = nnx.ConvTranspose(4, 4, (1,), rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.table(jax.nn.relu(self.inner(jax.nn.relu(self.inner(x)))))


def test_a_layer_that_is_called_twice_has_two_features_and_its_class_back():
    model = Twice()
    x = jnp.ones((2, 3, 4))
    output, features = noted(model, ["inner", "table"], x)
    np.testing.assert_array_equal(output, model(x))
    assert [len(calls) for calls in features.values()] == [2, 1]
    np.testing.assert_array_equal(features["inner"][0], x)
    np.testing.assert_allclose(features["inner"][1], jax.nn.relu(model.inner(x)), atol=1e-6)
    assert type(model.inner) is nnx.Linear and type(model.table) is nnx.ConvTranspose


def test_layers_are_given_back_their_class_when_the_model_fails():
    model = Twice()
    try:
        noted(model, ["inner"], jnp.ones((2, 3, 5)))
    except Exception:  # noqa: BLE001 - whichever
        pass
    assert type(model.inner) is nnx.Linear


class Looped(nnx.Module):
    def __init__(self):
        self.first = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.cell = nnx.Linear(4, 4, rngs=nnx.Rngs(1))
        self.last = nnx.Linear(4, 2, rngs=nnx.Rngs(2))

    def __call__(self, x):
        @nnx.scan(in_axes=(None, nnx.Carry), out_axes=nnx.Carry, length=3)
        def turn(cell, h):
            return jax.nn.relu(cell(h))

        return self.last(turn(self.cell, jax.nn.relu(self.first(x))))


def test_layers_in_a_loop_are_left_out():
    net = attach(Looped(), np.ones((2, 4), np.float32), [])
    assert tapped_layers(net.space.work) == ("last",)
    assert set(net.observed(net.parts, {}, np.ones((2, 4), np.float32), train=False)[2]) == {"last"}
