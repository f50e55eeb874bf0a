"""Small networks with one difficulty each; plain nnx, known by heart."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.space import Rule

EVERYTHING = Rule(match="*", weights=(0, 2, 4, 8), activations=(4, 8), granularity="channel")
FLOAT = Rule(match="*", weights=(32,), activations=(32,))


class Net(nnx.Module):
    """Named layers and a function `call(net, x)` that uses them."""

    def __init__(self, call, **layers):
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(self, x):
        return self.call(self, x)


RNGS = nnx.Rngs(0, dropout=1)


def drawn(key, shape, dtype=jnp.float32, **_):
    """He-normal numbers from numpy: drawing them with JAX compiles a program per shape."""
    values = np.random.default_rng(shape).normal(size=shape) * math.sqrt(2 / math.prod(shape[:-1]))
    return jnp.asarray(values, dtype)


def linear(fan_in, fan_out, **options):
    return nnx.Linear(fan_in, fan_out, kernel_init=drawn, bias_init=drawn_bias, rngs=RNGS, **options)


def conv(fan_in, fan_out, size=3, **options):
    options = {"kernel_init": drawn, "bias_init": drawn_bias, "rngs": RNGS} | options
    return nnx.Conv(fan_in, fan_out, (size, size), **options)


def drawn_bias(key, shape, dtype=jnp.float32, **_):
    return jnp.asarray(np.random.default_rng(shape).normal(size=shape) * 0.2, dtype)


def norm(channels, seed=3):
    """Batch normalisation whose statistics are not the trivial ones."""
    made = nnx.BatchNorm(channels, rngs=RNGS)
    draw = np.random.default_rng(seed)
    made.mean.set_value(jnp.asarray(draw.normal(size=channels) * 0.2, jnp.float32))
    made.var.set_value(jnp.asarray(draw.uniform(0.5, 2.0, channels), jnp.float32))
    made.scale.set_value(jnp.asarray(draw.uniform(0.5, 2.0, channels), jnp.float32))
    made.bias.set_value(jnp.asarray(draw.normal(size=channels) * 0.3, jnp.float32))
    return made


@functools.partial(jax.jit, static_argnums=(0, 4))
def run(net, parts, gates, x, train=False):
    """`net.apply`, compiled: outputs and new statistics."""
    return net.apply(parts, gates, x, train=train)


def outputs(model, x):
    """`model(x)`, compiled."""
    graph, state = nnx.split(model)
    return jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x)


def images(batch=3, channels=3, seed=7):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, 6, 6, channels)), jnp.float32)


def rows(batch=3, width=4, seed=7):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, width)), jnp.float32)


def mean(x):
    return x.mean(axis=(1, 2))


def residual_call(net, x):
    x = jax.nn.relu(net.stem_bn(net.stem(x)))
    y = net.bn(net.inner(jax.nn.relu(net.first(x))))
    return net.head(mean(jax.nn.relu(x + y)))


def residual_net():
    """`stem` and `inner` share 5 channels; `first` has 7 of its own."""
    return Net(
        residual_call, stem=conv(3, 5), stem_bn=norm(5), first=conv(5, 7), inner=conv(7, 5),
        bn=norm(5, seed=4), head=linear(5, 2),
    )


def dense_residual_call(net, x):
    x = jax.nn.relu(net.stem(x))
    return net.head(jax.nn.relu(x + net.inner(jax.nn.relu(net.first(x)))))


def dense_residual_net():
    """The residual net without pictures: cheap to compile in every size."""
    return Net(
        dense_residual_call, stem=linear(4, 5), first=linear(5, 7), inner=linear(7, 5), head=linear(5, 2)
    )


def depthwise_call(net, x):
    x = jax.nn.relu(net.bn(net.stem(x)))
    x = nnx.max_pool(jax.nn.relu6(net.depth(x)), (2, 2), strides=(2, 2))
    return net.head(mean(jax.nn.relu(net.point(x))))


def depthwise_net():
    """A depthwise layer keeps the 6 channels of `stem`; `point` has 4 of its own."""
    return Net(
        depthwise_call, stem=conv(3, 6), bn=norm(6), depth=conv(6, 6, feature_group_count=6),
        point=conv(6, 4, 1), head=linear(4, 2),
    )


def flat_call(net, x):
    x = jax.nn.relu(net.stem(x))
    return net.head(x.reshape(x.shape[0], -1))


def flat_net():
    """The head reads 6 * 6 * 4 flattened numbers."""
    return Net(flat_call, stem=conv(3, 4), head=linear(144, 2))


def concat_call(net, x):
    left, right = jax.nn.relu(net.left(x)), jax.nn.relu(net.right(x))
    return net.head(mean(jnp.concatenate([left, right], axis=-1)))


def concat_net():
    """The head reads the channels of two layers side by side."""
    return Net(concat_call, left=conv(3, 4), right=conv(3, 5), head=linear(9, 2))


def twice_call(net, x):
    x = jax.nn.relu(net.first(x))
    return net.head(jax.nn.relu(net.inner(net.inner(x))))


def twice_net():
    """`inner` is called on its own output."""
    return Net(twice_call, first=linear(4, 6), inner=linear(6, 6), head=linear(6, 2))


def gated_call(net, x):
    x = jax.nn.relu(net.stem(x))
    gate = jax.nn.sigmoid(net.up(jax.nn.relu(net.down(mean(x)))))
    return net.head(mean(x * gate[:, None, None, :]))


def gated_net():
    """Squeeze and excitation: the output of `up` multiplies the channels of `stem`."""
    return Net(gated_call, stem=conv(3, 6), down=linear(6, 3), up=linear(3, 6), head=linear(6, 2))


def two_layers(between, width=6):
    """`head(between(first(x)))` with `width` channels between."""
    return Net(lambda net, x: net.head(between(net.first(x))), first=linear(4, width), head=linear(width, 2))
