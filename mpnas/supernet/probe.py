"""Probing: which channels a program needs all of, because its source names their number.

A reshape to `(batch, 4, 16)` or a constant of 16 zeros runs only with the sizes that it was written
for. That cannot be read off one run; so the network is run, on shapes alone, with one channel of each
group taken out.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from flax import nnx

from mpnas.space import ChannelGroup, Space
from mpnas.supernet.resize import slice_channels

PROBE_BATCH = 2


def fixed_groups(model: nnx.Module, example: Any, space: Space) -> dict[str, ChannelGroup]:
    """Removable groups whose number of channels the program names, by name, now frozen for that reason.

    Args:
      model: The plain model; it is not changed.
      example: An input batch, or its shape.
      space: The space over it.
    """
    groups = [name for name in space.removable if space.work.groups[name].size > 1]
    if not groups or _failure(model, example, space, groups) is None:
        return {}
    held = {}
    for name in groups:
        if (why := _failure(model, example, space, [name])) is not None:
            reason = f"the program names their number ({why})"
            held[name] = dataclasses.replace(space.work.groups[name], frozen=reason)
    return held


def _failure(model: nnx.Module, example: Any, space: Space, groups: Iterable[str]) -> str | None:
    """What happens when the last channel of each group is gone, in words; None if nothing does."""
    evaluated = nnx.clone(model)
    evaluated.eval()
    graph, state = nnx.split(evaluated)
    alive = {name: np.arange(size) < size - 1 for name, size in space.work.group_sizes.items()}
    inputs = jax.ShapeDtypeStruct((PROBE_BATCH, *example.shape[1:]), example.dtype)

    def run(arrays: Any, x: Any, kept: dict[str, np.ndarray]) -> Any:
        module = nnx.merge(graph, arrays)
        slice_channels(module, space.work, kept)
        return module(x)

    try:
        whole = jax.eval_shape(lambda a, x: run(a, x, {}), state, inputs)
        found = jax.eval_shape(lambda a, x: run(a, x, {name: alive[name] for name in groups}), state, inputs)
    except Exception as error:  # noqa: BLE001 - the person's own code may raise anything
        return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    if jax.tree.map(lambda leaf: leaf.shape, found) != jax.tree.map(lambda leaf: leaf.shape, whole):
        return "its outputs change their shape"
    return None
