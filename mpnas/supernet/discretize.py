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
from mpnas.space import Assignment, Choice, Layer
from mpnas.supernet.attach import Parts, Supernet
from mpnas.supernet.mixed import Gate, MixedProduct, RangeParam, range_entries
from mpnas.supernet.trace import module_at


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
    kept = _kept_channels(net, indices)
    for path, slot in net.slots.items():
        layer = space.work.layer[path]
        product = module_at(model, slot)
        product.in_alive = None
        product.in_axis = None
        if layer.in_group in kept or layer.out_group in kept:
            _settle(product, module_at(model, path))
        _fix(product, "weight", space.weight_site.get(path), indices, net, kept.get(layer.out_group))
        _fix(product, "act", space.act_site.get(path), indices, net, None)
    for group, keep in kept.items():
        for leaf, axis in space.work.groups[group].members:
            _slice(model, leaf, axis, keep)
    for layer in space.work.layers:
        if layer.kernel.endswith("/kernel") and (layer.in_group in kept or layer.out_group in kept):
            _resize(module_at(model, layer.path), layer)
    _resize_normalisations(model)
    return model


def _kept_channels(net: Supernet, indices: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Group -> indices of its remaining channels, for the groups that lose some."""
    kept = {}
    for group, site in net.space.remover.items():
        alive = indices[site][net.space.channel_decision[site]] > 0
        if not alive.all():
            kept[group] = np.flatnonzero(alive)
    return kept


def _settle(product: MixedProduct, module: Any) -> None:
    """Turn what is computed from the kernel into stored ranges, before the kernel is sliced.

    A scale from the largest weight would change when the channel with that weight is gone; a learned
    step keeps its value.
    """
    choice = product.weight
    if choice is None:
        return
    kernel = module.kernel[...].astype(getattr(module, "dtype", None) or module.kernel[...].dtype)
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


def _slice(model: Any, leaf: str, axis: int, keep: np.ndarray) -> None:
    """Take the kept channels of one array of the model, in place."""
    path, _, name = leaf.rpartition("/")
    owner = module_at(model, path)
    variable: Any = module_at(owner, name)
    variable.set_value(jnp.take(variable[...], keep, axis=axis))


def _resize(module: Any, layer: Layer) -> None:
    """Sizes that a layer's module remembers beside its arrays."""
    shape = module.kernel[...].shape
    if layer.kind == "depthwise":
        module.in_features = module.feature_group_count = shape[layer.out_axis]
    elif layer.in_axis is not None and isinstance(getattr(module, "in_features", None), int):
        module.in_features = shape[layer.in_axis]
    if isinstance(getattr(module, "out_features", None), int):
        module.out_features = shape[layer.out_axis]
    if hasattr(module, "kernel_shape"):
        module.kernel_shape = shape


def _resize_normalisations(model: nnx.Module) -> None:
    """The `num_features` of every module with one vector per channel."""
    for _, module in nnx.iter_modules(model):
        for name in ("mean", "scale", "bias"):
            vector = getattr(module, name, None)
            if isinstance(getattr(module, "num_features", None), int) and isinstance(vector, nnx.Variable):
                module.num_features = int(vector[...].shape[0])  # type: ignore[attr-defined]


def kernel_values(model: nnx.Module, path: str) -> Array:
    """The quantised kernel that the layer at `path` of a discretised network multiplies with."""
    module: Any = module_at(model, path)
    hook = getattr(module, "conv_general_dilated", None) or getattr(module, "dot_general", None)
    kernel = module.kernel[...]
    return hook.quantized_kernel(kernel) if isinstance(hook, MixedProduct) else kernel
