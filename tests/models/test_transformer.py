"""Tests of mpnas/models/transformer.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from published import counts

from mpnas.models import VisionTransformer
from mpnas.models.transformer import EPSILON, EncoderBlock

VIT_B16 = {
    "classes": 1000, "image": (224, 224, 3), "patch": 16, "width": 768, "depth": 12, "heads": 12,
}


def test_vit_b16_has_torchvisions_parameters_and_macs():
    # torchvision's ViT_B_16_Weights.IMAGENET1K_V1: num_params 86567656, 17.564 GFLOPS (multiply-adds).
    parameters, _, macs, _ = counts(VisionTransformer, (224, 224, 3), **VIT_B16)
    assert parameters == 86_567_656
    assert round(macs / 1e9, 3) == 17.564


def test_the_small_one_is_the_hand_count():
    _, _, macs, work = counts(VisionTransformer, (32, 32, 3))
    # 64 patches of 48 numbers and a class token, 64 channels in 4 heads.
    attention = 65 * 4 * 64 * 64 + 2 * 65 * 65 * 64
    assert macs == 64 * 48 * 64 + 4 * (attention + 65 * 2 * 64 * 256) + 64 * 10
    assert [work.layer[f"block1/{name}"].macs for name in ("expand", "attention/value")] == [
        65 * 64 * 256, 65 * 64 * 64
    ]


def block_by_formula(block, x):
    def normal(ln, y):
        unit = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + EPSILON)
        return unit * np.asarray(ln.scale) + np.asarray(ln.bias)

    def project(layer, y):
        return np.einsum("btc,chd->bhtd", y, np.asarray(layer.kernel)) + np.asarray(layer.bias)[:, None]

    a = block.attention
    y = normal(block.attention_ln, x)
    q, k, v = project(a.query, y), project(a.key, y), project(a.value, y)
    scores = np.exp(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]))
    mixed = scores / scores.sum(-1, keepdims=True) @ v
    x = x + np.einsum("bhtd,hdc->btc", mixed, np.asarray(a.out.kernel)) + np.asarray(a.out.bias)
    h = normal(block.mlp_ln, x) @ np.asarray(block.expand.kernel) + np.asarray(block.expand.bias)
    h = h / 2 * (1 + np.vectorize(math.erf)(h / math.sqrt(2)))
    return x + h @ np.asarray(block.contract.kernel) + np.asarray(block.contract.bias)


def test_block_is_its_formula(flax_mode):
    block = EncoderBlock(6, 2, 10, rngs=nnx.Rngs(0))
    draw = np.random.default_rng(1)
    nnx.update(block, jax.tree.map(
        lambda leaf: jnp.asarray(draw.normal(size=leaf.shape) * 0.5, leaf.dtype), nnx.state(block)
    ))
    x = draw.normal(size=(2, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(block(jnp.asarray(x)), block_by_formula(block, x), rtol=2e-4, atol=2e-4)


def test_the_order_of_patches_matters_only_through_their_positions():
    model = VisionTransformer(image=(8, 8, 1), width=8, depth=1, heads=2, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    turned = jnp.concatenate([x[:, 4:], x[:, :4]], axis=1)  # the two rows of patches change places
    assert np.abs(model(x) - model(turned)).max() > 1e-4
    model.positions[...] = jnp.zeros_like(model.positions[...])
    np.testing.assert_allclose(model(x), model(turned), rtol=1e-4, atol=1e-5)


def test_patches_that_do_not_tile_the_image_are_refused():
    with pytest.raises(ValueError, match="an image of 30 x 32 into patches of 4"):
        VisionTransformer(image=(30, 32, 3), rngs=nnx.Rngs(0))
