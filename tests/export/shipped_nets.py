"""Two small networks to ship, and a random assignment of each."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.space import Rule
from mpnas.supernet import attach

CHANNELS = Rule(match="*", weights=(0, 2, 4, 8), activations=(4, 8), granularity="channel", scale="channel")


def drawn(key, shape, dtype=jnp.float32, **_):
    """He-normal numbers from numpy: drawing them with JAX compiles a program per shape."""
    values = np.random.default_rng(shape).normal(size=shape) * math.sqrt(2 / math.prod(shape[:-1]))
    return jnp.asarray(values, dtype)


class Net(nnx.Module):
    """Named layers and a function `call(net, x)` that uses them."""

    def __init__(self, call, **layers):
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(self, x):
        return self.call(self, x)


def conv(fan_in, fan_out, size=3, **options):
    return nnx.Conv(fan_in, fan_out, (size, size), kernel_init=drawn, rngs=nnx.Rngs(0), **options)


def linear(fan_in, fan_out):
    return nnx.Linear(fan_in, fan_out, kernel_init=drawn, rngs=nnx.Rngs(0))


def norm(channels):
    """Batch normalisation whose statistics are not the trivial ones, some of its factors negative."""
    made, draw = nnx.BatchNorm(channels, rngs=nnx.Rngs(0)), np.random.default_rng(channels)
    made.mean.set_value(jnp.asarray(draw.normal(size=channels) * 0.2, jnp.float32))
    made.var.set_value(jnp.asarray(draw.uniform(0.5, 2.0, channels), jnp.float32))
    factors = draw.choice([-1, 1], channels) * draw.uniform(0.5, 2, channels)
    made.scale.set_value(jnp.asarray(factors, jnp.float32))
    made.bias.set_value(jnp.asarray(draw.normal(size=channels) * 0.3, jnp.float32))
    return made


def _residual(net, x):
    x = jax.nn.relu(net.stem_bn(net.stem(x)))
    y = net.bn(net.inner(jax.nn.relu(net.first(x))))
    return net.head(jax.nn.relu(x + y).mean(axis=(1, 2)))


def residual_net():
    return Net(
        _residual, stem=conv(3, 6), stem_bn=norm(6), first=conv(6, 7), inner=conv(7, 6), bn=norm(6),
        head=linear(6, 4),
    )


def _depthwise(net, x):
    x = jax.nn.relu(net.bn(net.stem(x)))
    x = nnx.max_pool(jax.nn.relu6(net.depth(x)), (2, 2), strides=(2, 2))
    return net.head(jax.nn.relu(net.point(x)).reshape(x.shape[0], -1))


def depthwise_net():
    """Its head reads pixels and channels in one row."""
    return Net(
        _depthwise, stem=conv(3, 6), bn=norm(6), depth=conv(6, 6, feature_group_count=6), point=conv(6, 5, 1),
        head=linear(45, 4),
    )


def images(batch=5, seed=7):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, 6, 6, 3)), jnp.float32)


@functools.cache
def calibrated(build, inputs=images, rule=CHANNELS):
    net = attach(build(), inputs(), [rule])
    return net, net.calibrated(net.parts, inputs())


def random_assignment(net, seed):
    """Random and unsorted, with a channel left in every group; the head has all of its outputs."""
    draw = np.random.default_rng(seed)
    point = {site: draw.integers(0, len(c.bits), c.decisions) for site, c in net.space.choices.items()}
    for site in net.space.remover.values():
        point[site][:2] = np.maximum(point[site][:2], 1)
    return net.space.from_indices(point)


def outputs(model, x):
    """`model(x)`, compiled."""
    graph, state = nnx.split(model)
    return np.asarray(jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x))
