"""Compiled executor: the integers of `mpnas.export.integer`, by one jitted JAX program of int32.

Products of more than 32 bits are pairs of lanes (`mpnas.export.limbs`). Where no partial sum of a
contraction can reach 2^24, whole numbers go through the float32 unit, which is exact there in any order
of summation and much faster on a CPU; else they are summed in int32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.interval import EXACT_IN_FLOAT32, Bounds, intervals, magnitude
from mpnas.export.limbs import looked_up, multiplied, requantised
from mpnas.export.ops import (
    Add,
    Concat,
    Contraction,
    Multiply,
    Op,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Table,
)


def compiled(graph: IntegerGraph) -> Callable[[Float[Array, "batch ..."]], Float[Array, "batch ..."]]:
    """A jitted function from a float32 batch to the output of the graph.

    Raises:
      GraphError: an integer could overflow; see `mpnas.export.interval`.
    """
    run = every_tensor(graph)
    return lambda x: run(x)[graph.output]


def every_tensor(graph: IntegerGraph) -> Callable[[Float[Array, "batch ..."]], dict[str, Array]]:
    """A jitted function from a float32 batch to all tensors: int32, and float32 for real ones.

    Raises:
      GraphError: as `compiled`.
    """
    bounds = intervals(graph)
    # As arguments: XLA may turn a division by a constant into a product with its inverse.
    scales = {name: np.asarray(t.scale * (1 + t.midrise), np.float32) for name, t in graph.tensors.items()}

    @jax.jit
    def run(scales: Mapping[str, Array], x: Array) -> dict[str, Array]:
        values = {graph.input: x}
        for op in graph.ops:
            inputs = [values[name] for name in op.inputs]
            values[op.output] = _value(op, graph.tensors, inputs, scales, bounds)
        return values

    return lambda x: run(scales, jnp.asarray(x, jnp.float32))


def _value(
    op: Op, tensors: Mapping[str, Tensor], values: list[Array], scales: Mapping[str, Array],
    bounds: Mapping[str, Bounds],
) -> Array:
    """What one operation computes."""
    out, source, x = tensors[op.output], tensors[op.inputs[0]], values[0]
    if isinstance(op, Quantise):
        return _quantised(op, x, out, scales[op.output])
    if isinstance(op, Contraction):
        return _contracted(op, x - source.zero_point, magnitude(op, source, bounds[op.input]))
    if isinstance(op, Requantise):
        low, high = (jnp.asarray(bound, jnp.int32) for bound in (op.low, op.high))
        code = jnp.clip(requantised(op, x), low, high)
        return 2 * code + 1 if out.midrise else code
    if isinstance(op, Add):
        return sum(values[1:], start=x)
    if isinstance(op, Concat):
        return jnp.concatenate(values, axis=-1)
    if isinstance(op, Pool):
        return _pooled(op, x, source)
    if isinstance(op, Multiply):
        return multiplied(op, x, values[1])
    if isinstance(op, Table):
        return looked_up(op, x)
    if isinstance(op, Reshape):
        return x.reshape(x.shape[0], *out.shape)
    step = scales[op.input] / (1 + source.midrise)
    return (x - source.zero_point).astype(jnp.float32) * step


def _quantised(op: Quantise, x: Array, out: Tensor, step: Array) -> Array:
    low, high = out.code_range
    offset, shift = np.float32(0.5 if out.midrise else 0), np.float32(out.zero_point)
    bounded = jnp.clip(x, step * (low + offset - shift), step * (high + offset - shift))
    code = jnp.round(bounded / step - offset).astype(jnp.int32) + out.zero_point
    code = jnp.clip(code, low if op.low is None else op.low, high if op.high is None else op.high)
    return 2 * code + 1 if out.midrise else code


def _contracted(op: Contraction, x: Array, largest: int) -> Array:
    carrier: Any = jnp.float32 if largest < EXACT_IN_FLOAT32 else jnp.int32
    x, kernel = x.astype(carrier), jnp.asarray(op.levels, carrier)
    bias = jnp.asarray(op.bias, jnp.int32)
    exact: Any = {"precision": jax.lax.Precision.HIGHEST, "preferred_element_type": carrier}
    if op.kind == "dense":
        product = jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())), **exact)
        return product.astype(jnp.int32) + bias
    spatial = len(op.strides)
    image = (0, spatial + 1, *range(1, spatial + 1))
    numbers = jax.lax.ConvDimensionNumbers(image, (spatial + 1, spatial, *range(spatial)), image)
    product = jax.lax.conv_general_dilated(
        x, kernel, op.strides, op.padding, rhs_dilation=op.dilation, dimension_numbers=numbers,
        feature_group_count=op.groups, **exact,
    )
    return product.astype(jnp.int32) + bias


def _pooled(op: Pool, x: Array, source: Tensor) -> Array:
    around = ((0, 0), *op.padding, (0, 0))
    largest = op.kind == "max"
    x = jnp.pad(x, around, constant_values=source.range[0] if largest else source.zero_point)
    start = np.int32(-(2**31)) if largest else np.int32(0)
    combine: Any = jax.lax.max if largest else jax.lax.add
    return jax.lax.reduce_window(
        x, start, combine, (1, *op.window, 1), (1, *op.strides, 1), [(0, 0)] * x.ndim
    )
