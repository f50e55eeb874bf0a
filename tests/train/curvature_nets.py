"""Networks of one or two linear layers, whose curvature can be written down."""

import jax
import numpy as np
from flax import nnx

from mpnas.data import Dataset
from mpnas.space import Rule
from mpnas.supernet import attach


class Linear(nnx.Module):
    """Logits `x W`: their Hessian is their Gauss-Newton matrix."""

    def __init__(self, *, rngs):
        self.head = nnx.Linear(5, 3, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.head(x)


class Two(nnx.Module):
    """Logits `relu(x A) B`."""

    def __init__(self, *, rngs):
        self.body = nnx.Linear(5, 4, use_bias=False, rngs=rngs)
        self.head = nnx.Linear(4, 3, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.relu(self.body(x)))


def rows(count=240):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 5)).astype(np.float32)
    y = rng.integers(0, 3, count).astype(np.int32)
    y[:3] = 0, 1, 2
    return Dataset("rows", (x, y), (x[:60], y[:60]), (x[:60], y[:60]), classes=3)


def net_of(model, *rules):
    """An attached network with calibrated ranges."""
    net = attach(model(rngs=nnx.Rngs(0)), rows().example(), [Rule(match="*", **r) for r in rules])
    parts = net.calibrated(net.parts, rows().train[0])
    return net, parts


def batches(size=240, times=1, labels=None):
    """What measures are given: the training rows in order, several times over, with other labels if any."""
    x, y = rows().train
    y = y if labels is None else labels

    def made():
        for _ in range(times):
            for start in range(0, len(x), size):
                yield x[start : start + size], y[start : start + size]

    return made


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy(logits, y):
    return -np.log(softmax(logits)[np.arange(len(y)), y])


def kernel(net, parts, site, k):
    """A kernel under candidate k, float64."""
    return np.asarray(net.quantized_kernels(parts)[site][k], np.float64)
