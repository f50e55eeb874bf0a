"""Tests of mpnas/models/__init__.py."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from mpnas.models import MODELS

INPUTS = {"mlp": (8, 8, 1), "digits_cnn": (8, 8, 1), "resnet8": (32, 32, 3)}


@pytest.mark.parametrize("name", MODELS)
def test_every_named_model_maps_a_batch_to_logits(name):
    model = MODELS[name](rngs=nnx.Rngs(0))
    model.eval()
    assert jax.eval_shape(model, jnp.zeros((2, *INPUTS[name]))).shape == (2, 10)


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_weights(name):
    first, again, other = (
        jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))])
        for model in (MODELS[name](rngs=nnx.Rngs(seed)) for seed in (0, 0, 1))
    )
    assert (first == again).all()
    assert (first != other).any()
