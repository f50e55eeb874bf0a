"""A network, data and phases so small that a test trains them in a moment."""

import jax
import numpy as np
from flax import nnx

from mpnas.control import Gumbel
from mpnas.cost import COSTS, Budget, refuse_impossible
from mpnas.data import Dataset
from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.train import Optimizer, Phase, start, start_search

RULES = (
    Rule(match="*", weights=(2, 8), activations=(8,)),
    Rule(match="first", weights=(0, 4, 8), granularity="channel"),
)
BUDGET = Budget({"weight_bytes": 0.7})
SEARCH = Phase(
    steps=20, batch=16, weights=Optimizer(lr=1e-2), ranges=Optimizer(lr=1e-3),
    arch=Optimizer(lr=0.1, decay="constant"),
)


class NormNet(nnx.Module):
    """Two linear layers with batch normalisation and dropout between them: every kind of state."""

    def __init__(self, *, rngs):
        self.first = nnx.Linear(6, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.drop(jax.nn.relu(self.norm(self.first(x)))))


def blobs(augment=None):
    """Three clouds of points in six dimensions."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((3, 6))

    def part(rows):
        y = (np.arange(rows) % 3).astype(np.int32)
        return (centres[y] + rng.standard_normal((rows, 6))).astype(np.float32), y

    return Dataset("blobs", part(120), part(45), part(45), classes=3, augment=augment)


def model(seed=0):
    return NormNet(rngs=nnx.Rngs(seed, dropout=1))


def attached(rules=RULES):
    return attach(model(), blobs().example(), rules)


def search_start(net, phase=SEARCH, seed=3, controller=Gumbel()):
    """What `run_phase` needs for a search, beside stage, data and hooks."""
    limits = refuse_impossible(BUDGET, COSTS, net.space)
    state = start_search(net, net.parts, controller, phase, seed, limits)
    return state, {"seed": seed, "controller": controller, "limits": limits}


def float_start(net, phase, seed=0):
    return start(net.parts, None, phase, seed)


def leaves(tree):
    """Name -> numpy array of every leaf, random keys as their data."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path): np.asarray(
            jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )
        for path, leaf in flat
    }


def differing(one, other):
    """Names of the leaves that are not the same in every bit."""
    left, right = leaves(one), leaves(other)
    assert left.keys() == right.keys()
    return [name for name in left if left[name].tobytes() != right[name].tobytes()]
