"""Tests of mpnas/models/residual.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mpnas.models.residual import ResidualBlock

EPSILON = 1e-3


def conv_by_loops(x, kernel, stride):
    """TensorFlow's SAME: of an odd total padding, the larger half goes below and to the right."""
    batch, size, _, _ = x.shape
    width = kernel.shape[0]
    out = -(-size // stride)
    total = max((out - 1) * stride + width - size, 0)
    low = total // 2
    padded = np.pad(x, ((0, 0), (low, total - low), (low, total - low), (0, 0)))
    y = np.zeros((batch, out, out, kernel.shape[3]))
    for row in range(out):
        for column in range(out):
            window = padded[
                :, row * stride : row * stride + width, column * stride : column * stride + width
            ]
            y[:, row, column] = np.einsum("bhwi,hwio->bo", window, kernel)
    return y


def block_by_formula(block, x, stride):
    def normal(bn, y):
        unit = (y - np.asarray(bn.mean)) / np.sqrt(np.asarray(bn.var) + EPSILON)
        return unit * np.asarray(bn.scale) + np.asarray(bn.bias)

    def conv(layer, y, step):
        bias = 0 if layer.bias is None else np.asarray(layer.bias)
        return conv_by_loops(y, np.asarray(layer.kernel), step) + bias

    y = np.maximum(normal(block.bn1, conv(block.conv1, x, stride)), 0)
    y = normal(block.bn2, conv(block.conv2, y, 1))
    return np.maximum(y + (conv(block.shortcut, x, stride) if block.reshapes else x), 0)


def scrambled(block):
    """The block with every number drawn anew, so that no bias is 0 and no scale is 1."""
    rng = np.random.default_rng(1)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.1, 1.0, leaf.shape), leaf.dtype), nnx.state(block)
    )
    nnx.update(block, state)
    return block


@pytest.mark.parametrize("out_channels, stride, use_bias", [(3, 1, False), (4, 2, True)])
def test_block_in_evaluation_is_its_formula(flax_mode, out_channels, stride, use_bias):
    block = scrambled(
        ResidualBlock(3, out_channels, stride=stride, use_bias=use_bias, momentum=0.9,
                      epsilon=EPSILON, rngs=nnx.Rngs(0))
    )
    block.eval()
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
    expected = block_by_formula(block, x, stride)
    np.testing.assert_allclose(block(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-4)


def test_shortcut_is_absent_where_the_shape_stays():
    options = dict(use_bias=False, momentum=0.9, epsilon=EPSILON, rngs=nnx.Rngs(0))
    assert not hasattr(ResidualBlock(4, 4, **options), "shortcut")
    assert hasattr(ResidualBlock(4, 4, stride=2, **options), "shortcut")
    assert hasattr(ResidualBlock(4, 8, **options), "shortcut")
