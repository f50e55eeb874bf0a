"""Tests of mpnas/supernet/attention.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_nets import RNGS, Net, linear

from mpnas.cost import Bops, exact_cost
from mpnas.space import Rule
from mpnas.supernet import attach, discretize, trace
from mpnas.supernet.attention import MixedAttention

TOKENS, WIDTH = 5, 8


def network(**options):
    attention = nnx.MultiHeadAttention(2, WIDTH, decode=False, rngs=RNGS, **options)
    return Net(lambda net, x: net.head(net.attention(x).mean(1)), attention=attention, head=linear(WIDTH, 3))


def batch(seed=0):
    return jax.random.normal(jax.random.key(seed), (4, TOKENS, WIDTH))


@functools.cache
def attached():
    net = attach(network(), batch(), [Rule(match="attention/*", activations=(4, 8))])
    return net, net.calibrated(net.parts, batch())


def test_both_products_are_counted_by_hand_and_named():
    work = trace(network(), batch())
    scores, mix = work.products
    assert (scores.path, scores.operands) == ("attention/scores", ("query", "key"))
    assert (mix.path, mix.operands, mix.signed) == ("attention/mix", ("weights", "value"), (False, True))
    assert scores.macs == mix.macs == TOKENS * TOKENS * WIDTH


def test_without_quantisation_it_is_flax_attention():
    query, key, value = (jax.random.normal(jax.random.key(k), (2, TOKENS, 2, 4)) for k in range(3))
    mask = jnp.tril(jnp.ones((1, 1, TOKENS, TOKENS)))
    ours = MixedAttention()(query, key, value, mask=mask, dtype=None)
    np.testing.assert_allclose(ours, nnx.dot_product_attention(query, key, value, mask=mask), atol=1e-6)


def test_each_operand_is_a_site_whose_bits_count():
    net, _ = attached()
    space = net.space
    sites = [site for site in space.choices if site.startswith(("attention/scores", "attention/mix"))]
    assert sites == ["attention/scores/query", "attention/scores/key", "attention/mix/weights",
                     "attention/mix/value"]
    indices = space.indices(space.uniform(8))
    before = exact_cost(Bops(), space, space.from_indices(indices))
    indices["attention/scores/query"][:] = 0
    after = exact_cost(Bops(), space, space.from_indices(indices))
    assert before - after == TOKENS * TOKENS * WIDTH * (8 - 4) * 8


@pytest.mark.parametrize("operand", ["scores/query", "scores/key", "mix/weights", "mix/value"])
def test_each_operand_is_quantised(operand):
    net, parts = attached()
    indices = net.space.indices(net.space.uniform(8))
    high = discretize(net, parts, net.space.from_indices(indices))(batch(1))
    indices[f"attention/{operand}"][:] = 0
    low = discretize(net, parts, net.space.from_indices(indices))(batch(1))
    assert 1e-6 < float(jnp.abs(high - low).max()) < 0.5 * float(jnp.abs(high).max())


def test_values_lose_channels_and_queries_keep_them():
    rules = [Rule(match="*", weights=(0, 4, 8), granularity="channel")]
    net = attach(network(), batch(), rules)
    assert net.space.removable == ("attention/value/channels", "attention/out/channels")
    assert "summed over by a product of activations" in net.space.work.groups[
        "attention/query/channels"].frozen
    indices = net.space.indices(net.space.uniform(8))
    indices["attention/value/kernel"][1:3] = 0
    assignment = net.space.from_indices(indices)
    gates = {site: jnp.asarray(g, jnp.float32) for site, g in net.space.one_hot(assignment).items()}
    small = discretize(net, net.parts, assignment)
    assert small.attention.value.kernel.shape == (WIDTH, 2, 2)
    np.testing.assert_allclose(
        small(batch()), net.apply(net.parts, gates, batch(), train=False)[0], atol=1e-6
    )


def test_an_attention_of_ones_own_stays_float_and_is_named():
    net = network(attention_fn=lambda q, k, v, **_: jax.nn.dot_product_attention(q, k, v))
    work = trace(net, batch())
    assert all(not product.operands for product in work.products)
    assert any("a product of two activations, kept in float32" in note for note in work.notes)
