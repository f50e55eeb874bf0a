"""Arrays of other sizes: a model with channels taken out or added, and its modules told so.

Flax modules remember sizes beside their arrays (features, groups, heads); after an array changes they
are read off it again.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.space import Lanes, Work
from mpnas.supernet.trace import module_at


def remaining(lanes: Lanes, alive: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Indices of the entries whose channels exist; None if all do.

    Args:
      lanes: The channels of an axis.
      alive: Group -> `(channels,)` bool; all channels of other groups exist.
    """
    if alive.keys().isdisjoint(lanes.groups):
        return None
    whole = {group: np.ones(max(channels) + 1, bool) for group, channels in _extent(lanes).items()}
    exists = lanes.along({**whole, **alive})
    return None if exists.all() else np.flatnonzero(exists)


def _extent(lanes: Lanes) -> dict[str, list[int]]:
    extent: dict[str, list[int]] = {}
    for group, channels in lanes.runs:
        extent.setdefault(group, []).extend(channels)
    return extent


def slice_channels(model: nnx.Module, work: Work, alive: Mapping[str, np.ndarray]) -> None:
    """Take the channels that do not exist out of every array of the model, in place.

    Args:
      model: The module that `work` was read off, or an attached clone of it.
      work: Which array axis holds which channels.
      alive: Group -> `(channels,)` bool, at least one of them True; groups left out stay whole.
    """
    for (leaf, axis), lanes in work.axes.items():
        keep = remaining(lanes, alive)
        if keep is not None:
            variable = leaf_at(model, leaf)
            variable.set_value(jnp.take(variable[...], keep, axis=axis))
    resize_modules(model, work)


def leaf_at(model: nnx.Module, leaf: str) -> Any:
    """The variable under a `/`-separated path."""
    path, _, name = leaf.rpartition("/")
    return module_at(module_at(model, path), name)


def resize_modules(model: nnx.Module, work: Work) -> None:
    """Sizes that the modules remember, read off their arrays again."""
    for layer in work.layers:
        if "/" in layer.kernel:
            _resize_layer(module_at(model, layer.kernel.rpartition("/")[0]), layer.kind, layer.out_axis)
    for _, module in nnx.iter_modules(model):
        _resize_normalisation(module)
        _resize_attention(module)
        _resize_cell(module)


def _resize_layer(module: Any, kind: str, out_axis: int) -> None:
    kernel = getattr(module, "kernel", None)
    if kernel is None:
        if isinstance(getattr(module, "features", None), int):  # an embedding
            module.features = module.embedding[...].shape[-1]
        return
    shape = kernel[...].shape
    if isinstance(module, nnx.LinearGeneral):
        inputs = len(module.in_features) if isinstance(module.in_features, tuple) else 1
        batch = len(module.batch_axis)
        module.in_features, module.out_features = shape[batch : batch + inputs], shape[batch + inputs :]
        return
    if kind == "depthwise":
        multiplier = module.out_features // module.in_features
        module.in_features = module.feature_group_count = shape[out_axis] // multiplier
    elif isinstance(getattr(module, "in_features", None), int):
        module.in_features = shape[-2] * getattr(module, "feature_group_count", 1)
    if isinstance(getattr(module, "out_features", None), int):
        module.out_features = shape[out_axis]
    if hasattr(module, "kernel_shape"):
        module.kernel_shape = shape
    bias = getattr(module, "bias", None)
    if hasattr(module, "bias_shape") and bias is not None:
        module.bias_shape = bias[...].shape


def _resize_normalisation(module: Any) -> None:
    for name in ("mean", "scale", "bias"):
        vector = getattr(module, name, None)
        if isinstance(getattr(module, "num_features", None), int) and isinstance(vector, nnx.Variable):
            module.num_features = int(vector[...].shape[0])


def _resize_attention(module: Any) -> None:
    if isinstance(module, nnx.MultiHeadAttention):
        module.in_features = module.query.kernel[...].shape[0]
        module.in_kv_features = module.key.kernel[...].shape[0]
        module.out_features = module.out.kernel[...].shape[-1]


def _resize_cell(module: Any) -> None:
    cell = isinstance(module, nnx.RNNCellBase)
    if cell and hasattr(module, "hidden_features"):
        for read, recurrent in (("ii", "hi"), ("dense_i", "dense_h")):
            if hasattr(module, recurrent):
                module.hidden_features = getattr(module, recurrent).kernel[...].shape[0]
                module.in_features = getattr(module, read).kernel[...].shape[0]
