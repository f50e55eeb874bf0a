"""The controllers that keep the promises of test_controllers.py and test_proposers.py, and what they search.

A new relaxation is one new row in `RELAXATIONS`, a new proposer one in `PROPOSERS`, a new scorer one in
`SCORERS`.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from mpnas.control import (
    DBP,
    NCE,
    BitPlane,
    Evolution,
    Exponential,
    Gumbel,
    Implied,
    Importance,
    Optuna,
    Random,
    RandomSearch,
    Sensitivity,
    Softmax,
    Uniform,
)
from mpnas.space import Rule, build_space
from mpnas.supernet import attach, trace

RELAXATIONS = {
    "gumbel": Gumbel(),
    "gumbel_hard": Gumbel(hard=True),
    "gumbel_cold": Gumbel(tau=Exponential(1e-2, 1e-3)),
    "gumbel_even": Gumbel(lean=0.0),
    "dbp": DBP(),
    "dbp_plain": DBP(threshold=0.3, distortion_weight=0.0),
    "softmax": Softmax(),
    "softmax_edmips": Softmax(tau=Exponential(1.0, 1.0), lean=0.0),
    "bitplane": BitPlane(),
    "bitplane_even": BitPlane(sharpness=Exponential(1.0, 20.0), lean=0.0),
    "implied": Implied(),
    "nce": NCE(),
}
PROPOSERS = {
    "uniform": Uniform(),
    "uniform_2": Uniform(2),
    "random": Random(),
    "random_flat": Random(spread=0.0),
    "random_search": RandomSearch(evaluations=6),
    "evolution": Evolution(evaluations=12, population=4, parents=2),
    "evolution_young": Evolution(
        evaluations=12, population=4, parents=4, mutate=1.0, crossover=1.0, age_limit=3
    ),
    "optuna": Optuna(evaluations=12, startup=3),
    "importance": Importance(step=0.1, activation_bits=4),
}
SCORERS = {
    "sensitivity": Sensitivity(),
    "sensitivity_flips": Sensitivity(measure="flips", batches=1, batch=3),
}


RULES = (
    Rule(match="*", weights=(0, 2, 4, 8), activations=(4, 8), granularity="channel"),
    Rule(match="head", weights=(8,), granularity="layer"),
)


class Net(nnx.Module):
    """Two layers that are added, and a head."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 6, rngs=rngs)
        self.second = nnx.Linear(6, 6, rngs=rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.first(x))
        return self.head(x + jax.nn.relu(self.second(x)))


@functools.cache
def space():
    model = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    made = build_space(trace(model, jax.ShapeDtypeStruct((1, 4), jnp.float32)), RULES)
    assert {choice.kind for choice in made.choices.values()} == {"weight", "act", "mask"}
    return made


@functools.cache
def net():
    return attach(Net(nnx.Rngs(0)), jnp.ones((1, 4)), RULES)


def choices():
    return space().choices
