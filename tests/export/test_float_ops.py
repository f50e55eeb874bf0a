"""Tests of mpnas/export/float_ops.py."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from lowered_nets import LEARNED, dense_residual_net, rows

from mpnas.errors import UnsupportedOperationError
from mpnas.export import float_ops, lower
from mpnas.models import VisionTransformer
from mpnas.space import Rule
from mpnas.supernet import attach


def test_a_network_of_integers_leaves_nothing_in_float():
    net = attach(dense_residual_net(), rows(2), [LEARNED])
    assert float_ops(net.space, net.space.uniform(4)) == ()


def test_layers_without_bits_are_named_with_what_is_in_float():
    rules = [Rule(match="stem", weights=(8,), activations=(8, 32)), Rule(match="head", weights=(4,))]
    net = attach(dense_residual_net(), rows(2), rules)
    assert float_ops(net.space, net.space.uniform(32)) == (
        "stem (input in float)", "first (weights and input in float)", "inner (weights and input in float)",
        "head (input in float)",
    )


def test_attention_and_tables_are_named():
    model = VisionTransformer(3, (8, 8, 3), patch=4, width=8, depth=1, heads=2, rngs=nnx.Rngs(0))
    image = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    net = attach(model, image, [Rule(match="*", weights=(8,), activations=(8,))])
    names = float_ops(net.space, net.space.uniform(8))
    assert any("a product of activations" in name for name in names)
    with pytest.raises(UnsupportedOperationError, match="stay in float.*a product of activations"):
        lower(net, net.parts, net.space.uniform(8), image)
