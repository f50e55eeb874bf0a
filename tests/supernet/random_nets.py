"""Random small networks: a stem, a few random parts, a random head, over 1, 2 or 3 spatial axes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from small_nets import RNGS, Net, drawn, drawn_bias, linear, norm

ACTIVATIONS = (
    jax.nn.relu, jax.nn.relu6, jax.nn.silu, jax.nn.gelu, jnp.tanh, jax.nn.sigmoid, jax.nn.leaky_relu,
    lambda x: x,
)


@dataclasses.dataclass
class Maker:
    """Draws parts one after another; each adds layers and returns a function of `(net, x)`.

    Attributes:
      draw: Source of all that is random.
      rank: Number of spatial axes.
      channels: Channels of the value that the next part gets.
      layers: By name, as they were drawn.
    """

    draw: np.random.Generator
    rank: int
    channels: int = 3
    layers: dict = dataclasses.field(default_factory=dict)

    def add(self, layer):
        name = f"l{len(self.layers)}"
        self.layers[name] = layer
        return name

    def conv(self, fan_in, fan_out, **options):
        """A convolution of a random size and dilation."""
        size = (int(self.draw.integers(1, 4)),) * self.rank
        options = {"kernel_dilation": int(self.draw.integers(1, 3)), "use_bias": bool(self.draw.integers(2)),
                   "kernel_init": drawn, "bias_init": drawn_bias, "rngs": RNGS} | options
        return self.add(nnx.Conv(fan_in, fan_out, size, **options))

    def width(self):
        return int(self.draw.choice([2, 4, 6]))

    def activation(self):
        return ACTIVATIONS[self.draw.integers(len(ACTIVATIONS))]

    # Parts, by the names that PARTS lists.

    def dense(self):
        stride = int(self.draw.integers(1, 3))
        options = {"strides": 2, "kernel_dilation": 1} if stride == 2 else {}
        width = self.width()
        name, act = self.conv(self.channels, width, **options), self.activation()
        self.channels = width
        return lambda net, x: act(getattr(net, name)(x))

    def grouped(self):
        groups = int(self.draw.choice([g for g in (2, 3) if self.channels % g == 0]))
        width = groups * int(self.draw.integers(1, 4))
        name, act = self.conv(self.channels, width, feature_group_count=groups), self.activation()
        self.channels = width
        return lambda net, x: act(getattr(net, name)(x))

    def depthwise(self):
        width = self.channels * int(self.draw.integers(1, 3))
        name, act = self.conv(self.channels, width, feature_group_count=self.channels), self.activation()
        self.channels = width
        return lambda net, x: act(getattr(net, name)(x))

    def pointwise(self):
        width = self.width()
        name, act = self.add(linear(self.channels, width)), self.activation()
        self.channels = width
        return lambda net, x: act(getattr(net, name)(x))

    def general(self):
        heads, inner, width = 2, int(self.draw.integers(2, 4)), self.width()
        options = {"kernel_init": drawn, "bias_init": drawn_bias, "rngs": RNGS}
        out = self.add(nnx.LinearGeneral(self.channels, (heads, inner), **options))
        back = self.add(nnx.LinearGeneral((heads, inner), width, axis=(-2, -1), **options))
        act, self.channels = self.activation(), width
        return lambda net, x: getattr(net, back)(act(getattr(net, out)(x)))

    def residual(self):
        middle = self.width()
        first, second = self.conv(self.channels, middle), self.conv(middle, self.channels)
        act = self.activation()
        return lambda net, x: x + getattr(net, second)(act(getattr(net, first)(x)))

    def concatenated(self):
        widths = self.width(), self.width()
        left, right = (self.conv(self.channels, width) for width in widths)
        kept = bool(self.draw.integers(2))
        act = self.activation()
        self.channels = sum(widths) + kept * self.channels

        def call(net, x):
            parts = [getattr(net, left)(x), act(getattr(net, right)(x))]
            return jnp.concatenate(parts + [x] * kept, axis=-1)

        return call

    def gate(self):
        inner = self.width()
        down, up = self.add(linear(self.channels, inner)), self.add(linear(inner, self.channels))
        act = self.activation()

        def call(net, x):
            pooled = x.mean(axis=tuple(range(1, x.ndim - 1)), keepdims=True)
            return x * jax.nn.sigmoid(getattr(net, up)(act(getattr(net, down)(pooled))))

        return call

    def twice(self):
        name, act = self.conv(self.channels, self.channels), self.activation()
        return lambda net, x: getattr(net, name)(act(getattr(net, name)(x)))

    def normalised(self):
        name, act = self.add(norm(self.channels, seed=int(self.draw.integers(99)))), self.activation()
        return lambda net, x: act(getattr(net, name)(x))

    def pooled(self):
        pool = (nnx.max_pool, nnx.avg_pool)[self.draw.integers(2)]
        window = (2,) * self.rank
        return lambda net, x: pool(x, window, strides=window, padding="SAME")

    def head(self, flat, elements):
        """A linear layer on the mean over all positions, or on all of them flattened."""
        name = self.add(linear(elements if flat else self.channels, 2))
        if flat:
            return lambda net, x: getattr(net, name)(x.reshape(x.shape[0], -1))
        return lambda net, x: getattr(net, name)(x.mean(axis=tuple(range(1, x.ndim - 1))))


PARTS = (
    "dense", "grouped", "depthwise", "pointwise", "general", "residual", "concatenated", "gate", "twice",
    "normalised", "pooled",
)


def random_net(seed, parts=3):
    """A network, an input for it, and the names of its parts; the same for the same seed."""
    draw = np.random.default_rng(seed)
    maker = Maker(draw, rank=int(draw.choice([1, 2, 2, 3])))
    x = jnp.asarray(draw.normal(size=(3, *(4,) * maker.rank, 3)), jnp.float32)
    names = ["dense", *draw.choice(PARTS, size=parts)]
    calls = []
    for k, name in enumerate(names):
        if name == "grouped" and maker.channels % 2 and maker.channels % 3:
            names[k] = name = "dense"
        calls.append(getattr(maker, name)())
    flat = bool(draw.integers(2))

    def body(net, x):
        for call in calls:
            x = call(net, x)
        return x

    made = Net(body, **maker.layers)
    made.eval()
    graph, state = nnx.split(made)
    shape = jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, x).shape
    last = maker.head(flat, int(np.prod(shape[1:])))
    net = Net(lambda net, x: last(net, body(net, x)), **maker.layers)
    return net, x, [*map(str, names), "flat" if flat else "mean"]
