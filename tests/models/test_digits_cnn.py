"""Tests of mpnas/models/digits_cnn.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mpnas.models import DigitsCNN


def images(count):
    return jnp.asarray(np.random.default_rng(0).random((count, 8, 8, 1)), jnp.float32)


def test_parameters_are_the_hand_count():
    # stem 144 + 32; block1 2 (2304 + 32); block2 4608 + 9216 + 2 * 64; its shortcut 544; head 330.
    expected = 144 + 32 + 4672 + 13952 + 544 + 330
    parameters = nnx.state(DigitsCNN(rngs=nnx.Rngs(0)), nnx.Param)
    assert sum(leaf.size for leaf in jax.tree.leaves(parameters)) == expected


def test_layers_have_readable_paths():
    model = DigitsCNN(rngs=nnx.Rngs(0))
    paths = {
        ".".join(map(str, path))
        for path, layer in nnx.iter_modules(model)
        if isinstance(layer, (nnx.Conv, nnx.Linear))
    }
    assert paths == {
        "stem", "block1.conv1", "block1.conv2", "block2.conv1", "block2.conv2",
        "block2.shortcut", "dense",
    }


@pytest.mark.parametrize("classes, width", [(10, 16), (3, 4)])
def test_logits_have_one_column_per_class(flax_mode, classes, width):
    model = DigitsCNN(classes, width, rngs=nnx.Rngs(0))
    model.eval()
    assert jax.eval_shape(model, images(2)).shape == (2, classes)


def test_training_moves_the_statistics_and_evaluation_does_not(flax_mode):
    model = DigitsCNN(width=4, rngs=nnx.Rngs(0))
    before = np.asarray(model.stem_bn.mean)
    model.eval()
    together = model(images(4))
    # In evaluation an example's logits do not depend on its neighbours in the batch.
    np.testing.assert_allclose(model(images(4)[:1]), together[:1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.stem_bn.mean, before)
    model.train()
    model(images(4))
    batch_mean = np.asarray(model.stem(images(4))).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(model.stem_bn.mean, 0.1 * batch_mean, rtol=1e-4, atol=1e-6)


def test_every_parameter_gets_a_gradient(flax_mode):
    graphdef, parameters, rest = nnx.split(DigitsCNN(width=4, rngs=nnx.Rngs(0)), nnx.Param, ...)

    def loss(parameters):
        logits = nnx.merge(graphdef, parameters, rest, copy=True)(images(8))
        return -jax.nn.log_softmax(logits)[:, 3].mean()

    gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(parameters))
    assert all(float(jnp.abs(gradient).max()) > 0 for gradient in gradients)
