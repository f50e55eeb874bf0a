"""Discretising: the network of one assignment, with removed channels gone and smaller arrays.

The supernet under one-hot gates already computes this network, with zeros where channels are removed.
Here every array that has a removed channel as an axis is sliced, every site keeps only the candidates
that are used, and the gates become constants: the result is an nnx module of its own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from mpnas.quant import PerChannel, PerTensor, Quantizer
from mpnas.space import Assignment, Choice
from mpnas.supernet.attach import Parts, Supernet
from mpnas.supernet.mixed import Gate, MixedProduct, RangeParam
from mpnas.supernet.operand import range_entries
from mpnas.supernet.resize import leaf_at, remaining, slice_channels
from mpnas.supernet.substitute import SLOT
from mpnas.supernet.trace import HOOKS, module_at


def discretize(net: Supernet, parts: Parts, assignment: Assignment) -> nnx.Module:
    """The network that `assignment` describes, in evaluation mode; `model(x)` as the user's model.

    Args:
      net: The supernet that the assignment belongs to.
      parts: Its arrays (trained, retrained or fresh).
      assignment: One candidate per decision.

    Returns:
      A module whose outputs equal `net.apply(parts, one_hot, x, train=False)`.

    Raises:
      SearchSpaceError: the assignment is not one of this space, or removes a whole group.
    """
    space = net.space
    space.check(assignment)
    indices = space.indices(assignment)
    gates = {site: jnp.asarray(gate, jnp.float32) for site, gate in space.one_hot(assignment).items()}
    model = net.module(parts, gates)
    alive = space.existing(indices)
    for path, slot in net.slots.items():
        product = module_at(model, slot)
        _fix(product, "act", space.act_site.get(path), indices, net, None)
        if (layer := space.work.layer.get(path)) is None:
            continue
        product.in_alive = product.in_axis = product.in_lanes = None
        product.in_stretch = nnx.Dict()
        keep = remaining(layer.writes, alive)
        if keep is not None or (layer.reads is not None and remaining(layer.reads, alive) is not None):
            _settle(product, module_at(model, path), leaf_at(model, layer.kernel)[...])
        _fix(product, "weight", space.weight_site.get(path), indices, net, keep)
    slice_channels(model, space.work, alive)
    return model


def _settle(product: MixedProduct, module: Any, kernel: Array) -> None:
    """Turn what is computed from the kernel into stored ranges, before the kernel is sliced.

    A scale from the largest weight would change when the channel with that weight is gone; a learned
    step keeps its value.
    """
    choice = product.weight
    if choice is None:
        return
    kernel = kernel.astype(getattr(module, "dtype", None) or kernel.dtype)
    ranges = {name: variable[...] for name, variable in product.weight_ranges.items()}
    candidates: list[Any] = list(choice.candidates)
    for k, candidate in enumerate(candidates):
        candidates[k], stored = candidate.settled(kernel, range_entries(ranges, candidate.bits))
        for name, value in stored.items():
            product.weight_ranges[f"{candidate.bits}/{name}"] = RangeParam(value)
    product.weight = dataclasses.replace(choice, candidates=tuple(candidates))


def _fix(
    product: MixedProduct,
    kind: str,
    site: str | None,
    indices: Mapping[str, np.ndarray],
    net: Supernet,
    keep: np.ndarray | None,
) -> None:
    """Leave only the used candidates of one operand, per remaining channel."""
    if site is None:
        return
    choice: Choice = getattr(product, kind)
    chosen = indices[site]
    if keep is not None:
        axis = net.space.work.layer[choice.layers[0]].out_axis
        chosen = chosen[net.space.channel_decision[site][keep]]
        shape = tuple(len(keep) if k == axis else n for k, n in enumerate(choice.shape))
        _slice_ranges(product, choice, keep)
        candidates = tuple(_per_channel(candidate, axis) for candidate in choice.candidates)
        choice = dataclasses.replace(
            choice, candidates=candidates, granularity=PerChannel(axis), shape=shape
        )
    used = sorted(set(chosen.tolist()))
    fixed = dataclasses.replace(choice, candidates=tuple(choice.candidates[k] for k in used))
    setattr(product, kind, fixed)
    gates = np.eye(len(choice.bits))[chosen][:, used]
    setattr(product, f"{kind}_gates", Gate(jnp.asarray(gates, jnp.float32)))
    prefixes = tuple(f"{candidate.bits}/" for candidate in fixed.candidates)
    for name in (f"{kind}_ranges", f"{kind}_stats"):
        entries = getattr(product, name)
        setattr(product, name, nnx.Dict({k: v for k, v in entries.items() if k.startswith(prefixes)}))


def _per_channel(candidate: Any, axis: int) -> Any:
    """The same quantizer with a scale per channel, where its scales were shared by subgroups."""
    if isinstance(candidate, Quantizer) and not isinstance(candidate.granularity, PerTensor):
        return dataclasses.replace(candidate, granularity=PerChannel(axis))
    return candidate


def _slice_ranges(product: MixedProduct, choice: Choice, keep: np.ndarray) -> None:
    """Scales of the kept channels, one each; a scale of the whole tensor stays as it is."""
    granularity = choice.candidates[-1].granularity  # type: ignore[union-attr]
    if isinstance(granularity, PerTensor):
        return
    index = granularity.index(choice.shape[granularity.axis])
    for name, variable in list(product.weight_ranges.items()):
        product.weight_ranges[name] = RangeParam(variable[...][index[keep]])


def kernel_values(model: nnx.Module, path: str) -> Array:
    """The quantised kernel that the layer at `path` of a discretised network multiplies with."""
    module: Any = module_at(model, path)
    kernel: Any = module.embedding if isinstance(module, nnx.Embed) else module.kernel
    for name in (*HOOKS, SLOT):
        if isinstance(hook := getattr(module, name, None), MixedProduct):
            return hook.quantized_kernel(kernel[...])
    return kernel[...]
