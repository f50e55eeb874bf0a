"""Tests of mpnas/models/mlp.py."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mpnas.models import MLP


def test_output_is_relu_between_linear_layers(flax_mode):
    model = MLP((2, 2, 1), rngs=nnx.Rngs(0))
    model.dense0.kernel[...] = jnp.array([[1.0, -1.0], [1.0, -1.0]])
    model.dense0.bias[...] = jnp.array([0.0, 0.5])
    model.dense1.kernel[...] = jnp.array([[2.0], [10.0]])
    model.dense1.bias[...] = jnp.array([-7.0])
    # First row: relu(3, -2.5) = (3, 0) -> -1. Second row: relu(-1, 1.5) = (0, 1.5) -> 8.
    logits = model(jnp.array([[1.0, 2.0], [0.0, -1.0]]))
    np.testing.assert_allclose(logits, [[-1.0], [8.0]])


def test_images_are_flattened():
    model = MLP(rngs=nnx.Rngs(0))
    images = jnp.linspace(0, 1, 2 * 64).reshape(2, 8, 8, 1)
    np.testing.assert_array_equal(model(images), model(images.reshape(2, 64)))
    assert model(images).shape == (2, 10)


def test_widths_may_come_as_a_list_from_a_file():
    assert MLP([3, 2], rngs=nnx.Rngs(0)).features == (3, 2)


@pytest.mark.parametrize("features", [(), (4,), (4, 0)])
def test_impossible_widths_are_refused(features):
    with pytest.raises(ValueError, match="at least an input and an output width"):
        MLP(features, rngs=nnx.Rngs(0))


def test_input_of_another_size_names_both_sizes():
    with pytest.raises(ValueError, match="takes 64 numbers per example, got 12"):
        MLP(rngs=nnx.Rngs(0))(jnp.zeros((1, 2, 6)))
