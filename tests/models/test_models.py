"""Tests of mpnas/models/__init__.py."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from mpnas.models import MODELS

INPUTS = {
    "mlp": (8, 8, 1), "digits_cnn": (8, 8, 1), "resnet8": (32, 32, 3), "resnet18": (64, 64, 3),
    "resnet20": (32, 32, 3), "mobilenet_v2": (64, 64, 3), "ds_cnn": (49, 10, 1), "vit": (32, 32, 3),
}
CLASSES = {"resnet18": 1000, "mobilenet_v2": 1000, "ds_cnn": 12}
# Of the large ones a narrow member of the family: drawing 11 million weights takes seconds.
NARROW = {"resnet18": {"width": 4}, "mobilenet_v2": {"width": 0.1}, "vit": {"width": 8, "depth": 1}}


@pytest.mark.parametrize("name", MODELS)
def test_every_named_model_maps_a_batch_to_logits(name):
    def logits(x):
        model = MODELS[name](rngs=nnx.Rngs(0))
        model.eval()
        return model(x)

    image = jax.ShapeDtypeStruct((2, *INPUTS[name]), jnp.float32)
    assert jax.eval_shape(logits, image).shape == (2, CLASSES.get(name, 10))


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_the_weights(name):
    first, again, other = (
        jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))])
        for model in (MODELS[name](rngs=nnx.Rngs(seed), **NARROW.get(name, {})) for seed in (0, 0, 1))
    )
    assert (first == again).all()
    assert (first != other).any()
