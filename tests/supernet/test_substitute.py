"""Tests of mpnas/supernet/substitute.py, and of layers that are called in a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_nets import RNGS, Net, conv, linear

from mpnas.errors import SearchSpaceError
from mpnas.space import Rule
from mpnas.supernet import attach, discretize
from mpnas.supernet.discretize import kernel_values

RULES = [Rule(match="*", weights=(0, 2, 4, 8), activations=(4, 8), granularity="channel")]
IMAGES = jax.random.normal(jax.random.key(0), (4, 6, 6, 3))
WORDS = jnp.arange(20).reshape(4, 5) % 7
SERIES = jax.random.normal(jax.random.key(1), (4, 5, 3))


def upsampling():
    return Net(lambda net, x: net.head(jax.nn.relu(net.up(net.stem(x))).mean((1, 2))), stem=conv(3, 5),
               up=nnx.ConvTranspose(5, 6, (3, 3), strides=(2, 2), rngs=RNGS), head=linear(6, 2))


def einsum():
    return Net(lambda net, x: net.head(net.mix(net.stem(x).mean((1, 2)))), stem=conv(3, 5),
               mix=nnx.Einsum("bc,cd->bd", (5, 4), (4,), rngs=RNGS), head=linear(4, 2))


def embedding():
    return Net(lambda net, x: net.head(net.words(x).mean(1)), words=nnx.Embed(7, 6, rngs=RNGS),
               head=linear(6, 2))


def in_a_list():
    net = Net(lambda net, x: net.head(net.layers[0](x).mean((1, 2))), head=linear(4, 2))
    net.layers = nnx.List([nnx.ConvTranspose(3, 4, (2, 2), rngs=RNGS)])
    return net


def recurrent(cell):
    return lambda: Net(lambda net, x: net.head(net.rnn(x)[:, -1]), head=linear(6, 2),
                       rnn=nnx.RNN(cell(3, 6, rngs=RNGS)))


NETS = {
    "conv_transpose": (upsampling, IMAGES), "einsum": (einsum, IMAGES), "embed": (embedding, WORDS),
    "in_a_list": (in_a_list, IMAGES), "lstm": (recurrent(nnx.LSTMCell), SERIES),
    "fused_lstm": (recurrent(nnx.OptimizedLSTMCell), SERIES), "gru": (recurrent(nnx.GRUCell), SERIES),
}
EVERY_NET = pytest.mark.parametrize("name", NETS)


def drawn(space, seed):
    rng = np.random.default_rng(seed)
    indices = {site: rng.integers(0, len(c.bits), c.decisions) for site, c in space.choices.items()}
    for group, alive in space.existing(indices).items():
        if not alive.any():
            indices[space.remover[group]][0] = 1
    return space.from_indices(indices)


@EVERY_NET
def test_the_discretised_network_computes_what_the_supernet_computes(name):
    build, x = NETS[name]
    net = attach(build(), x, RULES)
    parts = net.calibrated(net.parts, x)
    for seed in range(2):
        assignment = drawn(net.space, seed)
        gates = {s: jnp.asarray(g, jnp.float32) for s, g in net.space.one_hot(assignment).items()}
        expected = net.apply(parts, gates, x, train=False)[0]
        np.testing.assert_allclose(discretize(net, parts, assignment)(x), expected, atol=1e-5)


@EVERY_NET
def test_at_32_bits_it_is_the_network_of_the_user(name):
    build, x = NETS[name]
    model = build()
    net = attach(model, x, [Rule(match="*", weights=(32,), activations=(32,))])
    gates = {s: jnp.asarray(g, jnp.float32) for s, g in net.space.one_hot(net.space.uniform(32)).items()}
    model.eval()
    np.testing.assert_allclose(net.apply(net.parts, gates, x, train=False)[0], model(x), atol=1e-6)


@EVERY_NET
def test_a_step_in_training_mode_has_gradients_for_every_weight_and_gate(name):
    build, x = NETS[name]
    net = attach(build(), x, [Rule(match="*", weights=(2, 4), activations=(4, 8),
                                   activation_range="moving")])
    even = {s: jnp.full((c.decisions, 2), 0.5) for s, c in net.space.choices.items()}

    def loss(params, gates):
        parts = type(net.parts)(params, net.parts.ranges, net.parts.stats)
        return (net.apply(parts, gates, x, train=True)[0] ** 2).sum()

    weights, gates = jax.jit(jax.grad(loss, argnums=(0, 1)))(net.parts.params, even)
    for site, kernel in net.kernels(weights).items():
        assert float(jnp.abs(kernel).max()) > 0, site
    assert all(float(jnp.abs(g).max()) > 0 for g in gates.values())


def test_a_transposed_table_is_the_same_quantised_table():
    net = Net(lambda net, x: net.words.attend(net.words(x).mean(1)), words=nnx.Embed(7, 6, rngs=RNGS))
    attached = attach(net, WORDS, [Rule(match="words", weights=(3,))])
    assert "used in two ways" in attached.space.work.groups["words/channels"].frozen
    small = discretize(attached, attached.parts, attached.space.uniform(3))
    table = np.asarray(kernel_values(small, "words"))
    assert len(np.unique(table)) <= 8 * 6 and not np.allclose(table, net.words.embedding[...])
    np.testing.assert_allclose(small(WORDS), table[np.asarray(WORDS)].mean(1) @ table.T, rtol=1e-4, atol=1e-6)


def test_the_input_of_a_lookup_has_no_precision():
    net = attach(embedding(), WORDS, RULES)
    assert "words/input" not in net.space.choices and "head/input" in net.space.choices


def test_a_loop_of_jax_alone_is_a_sentence():
    def call(net, x):
        start = jnp.zeros((x.shape[0], 6))
        return net.head(jax.lax.scan(lambda h, now: (net.inner(now) + h, None), start, x.swapaxes(0, 1))[0])

    net = Net(call, inner=linear(3, 6), head=linear(6, 2))
    with pytest.raises(SearchSpaceError, match="'inner': it is called in a loop of jax.lax.*nnx.scan"):
        attach(net, SERIES, [Rule(match="*", weights=(4,), activations=(8,))])
    searched = attach(net, SERIES, [Rule(match="head", weights=(4,), activations=(8,))])
    assert list(searched.space.choices) == ["head/kernel", "head/input"]
