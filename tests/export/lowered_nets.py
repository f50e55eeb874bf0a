"""Small networks with one difficulty each, attached, calibrated, and given random assignments."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.space import Rule
from mpnas.supernet import attach, discretize
from mpnas.supernet.trace import HOOKS, module_at

RNGS = nnx.Rngs(0)
BITS = {"weights": (0, 1, 2, 4, 8), "activations": (4, 8)}
LEARNED = Rule(match="*", granularity="channel", **BITS)
POWERS = Rule(match="*", granularity="channel", weight_range="pow2", activation_range="pow2", **BITS)


class Net(nnx.Module):
    """Named layers and a function `call(net, x)` that uses them."""

    def __init__(self, call, **layers):
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(self, x):
        return self.call(self, x)


def drawn(key, shape, dtype=jnp.float32, **_):
    values = np.random.default_rng(shape).normal(size=shape) * math.sqrt(2 / math.prod(shape[:-1]))
    return jnp.asarray(values, dtype)


def dyadic(key, shape, dtype=jnp.float32, **_):
    """Biases of 8 binary places: simulation adds them without rounding."""
    return jnp.asarray(np.round(np.random.default_rng(shape).normal(size=shape) * 50) / 256, dtype)


def linear(fan_in, fan_out):
    return nnx.Linear(fan_in, fan_out, kernel_init=drawn, bias_init=dyadic, rngs=RNGS)


def conv(fan_in, fan_out, size=3, **options):
    return nnx.Conv(fan_in, fan_out, (size, size), kernel_init=drawn, bias_init=dyadic, rngs=RNGS, **options)


def norm(channels, seed=3):
    """Batch normalisation with statistics that are not trivial, and a negative multiplier."""
    made = nnx.BatchNorm(channels, rngs=RNGS)
    draw = np.random.default_rng(seed)
    for variable, values in (
        (made.mean, draw.normal(size=channels) * 0.2), (made.var, draw.uniform(0.5, 2.0, channels)),
        (made.scale, draw.uniform(0.5, 2.0, channels) * np.where(np.arange(channels) == 1, -1, 1)),
        (made.bias, draw.normal(size=channels) * 0.3),
    ):
        variable.set_value(jnp.asarray(values, jnp.float32))
    return made


def mean(x):
    return x.mean(axis=(1, 2))


def dense_residual_net():
    def call(net, x):
        x = jax.nn.relu(net.stem(x))
        return net.head(jax.nn.relu(x - net.inner(jax.nn.relu(net.first(x)))))

    return Net(call, stem=linear(4, 5), first=linear(5, 7), inner=linear(7, 5), head=linear(5, 3))


def residual_net():
    """Two blocks: a sum that is quantised, added to again, and averaged."""
    def call(net, x):
        x = jax.nn.relu(net.stem_bn(net.stem(x)))
        x = jax.nn.relu(x + net.bn(net.inner(jax.nn.relu(net.first(x)))))
        return net.head(mean(x + net.second(x)))

    return Net(call, stem=conv(3, 5), stem_bn=norm(5), first=conv(5, 7), inner=conv(7, 5), bn=norm(5, seed=4),
               second=conv(5, 5, 1), head=linear(5, 3))


def depthwise_net():
    """An inverted residual with ReLU6, a strided depthwise layer and windows."""
    def call(net, x):
        x = jax.nn.relu6(net.bn(net.stem(x)))
        x = nnx.max_pool(jax.nn.relu6(net.depth(x)), (2, 2), strides=(2, 2))
        x = x + net.project(jax.nn.relu6(net.expand(x)))
        return net.head(mean(nnx.avg_pool(x, (2, 2), strides=(1, 1))))

    return Net(call, stem=conv(3, 6), bn=norm(6), depth=conv(6, 6, feature_group_count=6),
               expand=conv(6, 8, 1), project=conv(8, 6, 1), head=linear(6, 3))


def concat_net():
    """Layers side by side, of which one is not clipped, and normalised together."""
    def call(net, x):
        both = jnp.concatenate([jax.nn.relu(net.left(x)), net.right(x)], axis=-1)
        return net.head(mean(jax.nn.relu(net.joint(net.bn(both)))))

    return Net(call, left=conv(3, 4), right=conv(3, 5), bn=norm(9), joint=conv(9, 4), head=linear(4, 3))


def flat_net():
    def call(net, x):
        return net.head(jax.nn.relu(net.stem(x)).reshape(x.shape[0], -1))

    return Net(call, stem=conv(3, 4, strides=2), head=linear(16, 3))


def pooled_net():
    """Fully convolutional: the classes are a mean over all places."""
    return Net(lambda net, x: mean(net.head(jax.nn.relu(net.stem(x)))), stem=conv(3, 4), head=conv(4, 3, 1))


def twice_net():
    """`inner` is called on its own output; grouped convolution before."""
    def call(net, x):
        x = jax.nn.relu(net.grouped(jax.nn.relu(net.stem(x))))
        return net.head(mean(jax.nn.relu(net.inner(net.inner(x)))))

    return Net(call, stem=conv(3, 4), grouped=conv(4, 4, feature_group_count=2), inner=conv(4, 4),
               head=linear(4, 3))


def efficient_net():
    """An inverted residual with swish, squeezed by dense layers and excited by a sigmoid."""
    def call(net, x):
        x = jax.nn.silu(net.bn(net.stem(x)))
        y = jax.nn.silu(net.depth(jax.nn.silu(net.expand(x))))
        gate = jax.nn.sigmoid(net.excite(jax.nn.silu(net.squeeze(mean(y)))))
        return net.head(mean(jax.nn.silu(net.top(x + net.project(y * gate[:, None, None])))))

    return Net(call, stem=conv(3, 4), bn=norm(4), expand=conv(4, 8, 1),
               depth=conv(8, 8, feature_group_count=8), squeeze=linear(8, 2), excite=linear(2, 8),
               project=conv(8, 4, 1), top=conv(4, 6, 1), head=linear(6, 3))


def mobilenet_v3():
    """The same with hard swish, and convolutions of one place whose hard sigmoid stands first."""
    def call(net, x):
        x = jax.nn.hard_swish(net.bn(net.stem(x)))
        y = jax.nn.hard_swish(net.depth(jax.nn.relu(net.expand(x))))
        gate = net.excite(jax.nn.relu(net.squeeze(y.mean(axis=(1, 2), keepdims=True))))
        return net.head(mean(x + net.project(jax.nn.hard_sigmoid(gate) * y)))

    return Net(call, stem=conv(3, 4), bn=norm(4), expand=conv(4, 8, 1),
               depth=conv(8, 8, feature_group_count=8), squeeze=conv(8, 2, 1), excite=conv(2, 8, 1),
               project=conv(8, 4, 1), head=linear(4, 3))


def curved_net():
    """GELU by tanh and by erf, a tanh, and a gate of one channel for all others."""
    def call(net, x):
        x = jax.nn.gelu(net.stem(x), approximate=True)
        x = jax.nn.gelu(net.second(x), approximate=False)
        return net.head(mean(jnp.tanh(net.third(x)) * jax.lax.erf(net.place(x))))

    return Net(call, stem=conv(3, 5), second=conv(5, 6), third=conv(6, 4, 1), place=conv(6, 1, 1),
               head=linear(4, 3))


def rows(count, seed=7):
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def images(count, seed=7):
    """4x4: a mean over a power of two places is exact in simulation."""
    return np.random.default_rng(seed).normal(size=(count, 4, 4, 3)).astype(np.float32)


NETS = {
    "dense_residual": (dense_residual_net, rows), "residual": (residual_net, images),
    "depthwise": (depthwise_net, images), "concat": (concat_net, images), "flat": (flat_net, images),
    "twice": (twice_net, images), "pooled": (pooled_net, images),
}
GATED = {"efficient_net": efficient_net, "mobilenet_v3": mobilenet_v3, "curves": curved_net}


def calibrated(model, x, rule):
    """The supernet of a model and its parts, ranges fitted to the inputs."""
    net = attach(model, x, [rule])
    return net, net.calibrated(net.parts, x)


def random_assignment(net, seed):
    """Unsorted bits for every channel; of every group the last one is removed, and the first stays."""
    draw = np.random.default_rng(seed)
    point = {s: draw.integers(0, len(c.bits), c.decisions) for s, c in net.space.choices.items()}
    for site in net.space.remover.values():
        point[site][-1], point[site][0] = 0, max(point[site][0], 1)
    return net.space.from_indices(point)


def simulated(net, parts, assignment, x):
    """Outputs of the fake-quantised network in evaluation mode, compiled."""
    graph, state = nnx.split(discretize(net, parts, assignment))
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
    return np.asarray(run(state, x))


def simulated_inputs(net, parts, assignment, x):
    """Layer's path -> the fake-quantised input of each of its calls, and the outputs."""
    model, seen = discretize(net, parts, assignment), []
    for layer in net.space.work.layers:
        module = module_at(model, layer.path)
        mixed = next(getattr(module, hook) for hook in HOOKS if hasattr(module, hook))
        mixed.product = _recording(mixed.product, layer.path, seen)
    graph, state = nnx.split(model)

    def run(state, x):
        seen.clear()
        outputs = nnx.merge(graph, state)(x)
        return [inputs for _, inputs in seen], outputs

    inputs, outputs = jax.jit(run)(state, x)
    return list(zip([path for path, _ in seen], map(np.asarray, inputs), strict=True)), np.asarray(outputs)


def _recording(product, path, seen):
    def call(lhs, rhs, *args, **options):
        seen.append((path, lhs))
        return product(lhs, rhs, *args, **options)

    return call
