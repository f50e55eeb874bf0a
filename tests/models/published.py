"""Counts of a network without its numbers, to be compared with what is published."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from mpnas.supernet import trace


def counts(builder, inputs, **options):
    """`(parameters, statistics, multiply-accumulates, its work)`; no array is made."""
    model = nnx.eval_shape(lambda: builder(**options, rngs=nnx.Rngs(0)))
    work = trace(model, jax.ShapeDtypeStruct((1, *inputs), jnp.float32))
    numbers = [
        sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, kind)))
        for kind in (nnx.Param, nnx.BatchStat)
    ]
    return *numbers, work.macs, work
