"""Batch-norm statistics, measured again under the final weights.

While weights move, running averages follow with a lag, and follow a network that dithers between
quantisation steps. Here they are replaced by the mean and variance over a number of training batches:
the weights, ranges and all other statistics stay as they are, dropout is off, and every normalisation
sees what it saw in training, activations normalised by their own batch.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from mpnas.data import Dataset
from mpnas.supernet import Parts, Supernet
from mpnas.supernet.trace import leaf_name


def reestimated(
    net: Supernet,
    parts: Parts,
    gates: Mapping[str, Any],
    data: Dataset,
    *,
    batches: int,
    batch: int,
    seed: int = 0,
) -> Parts:
    """Parts whose batch-norm statistics are those of some training batches, without augmentation.

    Args:
      net: The attached network.
      parts: Its trained arrays.
      gates: One-hot gates of the assignment.
      data: Its training part is used.
      batches: How many; >= 0. With none, or without any batch norm, the parts are returned as they are.
      batch: Rows of each; >= 1.
      seed: Which stream of batches.

    Returns:
      `mean = E[m_k]` and `var = E[v_k + m_k^2] - mean^2` over the batches k with means m_k and (biased)
      variances v_k: the population's, where batches are of one size. Sums are in double precision.
    """
    held = {path: norm.mean.shape for path, norm in _norms(net.module(parts, gates))}
    if batches < 1 or not held:
        return parts
    measure, plain = _measure_of(net), dataclasses.replace(data, augment=None)
    totals = {path: np.zeros((2, *shape)) for path, shape in held.items()}
    for k in range(batches):
        x, _ = plain.batch("train", seed, k, batch)
        for path, found in measure(parts, gates, x).items():
            mean, var = np.asarray(found["mean"], np.float64), np.asarray(found["var"], np.float64)
            totals[path] += np.stack([mean, var + mean**2])
    leaves: dict[str, np.ndarray] = {}
    for path, total in totals.items():
        mean, square = total / batches
        leaves |= {f"{path}/mean": mean, f"{path}/var": np.maximum(square - mean**2, 0)}
    return Parts(parts.params, parts.ranges, _replaced(parts.stats, leaves))


def _norms(model: Any) -> Iterator[tuple[str, Any]]:
    """Every batch norm of a network, with its path."""
    for path, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm):
            yield "/".join(map(str, path)), module


@functools.lru_cache(maxsize=16)
def _measure_of(net: Supernet) -> Callable[..., dict[str, dict[str, Any]]]:
    """Jitted: path -> mean and variance of one batch, seen by each batch norm."""

    def measure(parts: Parts, gates: Any, x: Any) -> dict[str, dict[str, Any]]:
        model = net.module(parts, gates, train=False)
        # A momentum of 0 forgets what was there: the running statistics become those of the batch.
        model.set_attributes(nnx.BatchNorm, use_running_average=False, momentum=0.0)
        model(x)
        return {path: {"mean": norm.mean[...], "var": norm.var[...]} for path, norm in _norms(model)}

    return jax.jit(measure)


def _replaced(stats: Any, leaves: Mapping[str, np.ndarray]) -> Any:
    """The statistics with the named leaves in place, in the types and on the device of the old ones."""
    flat, treedef = jax.tree_util.tree_flatten_with_path(stats)

    def chosen(name: str, old: Any) -> Any:
        if name not in leaves:
            return old
        return jax.device_put(np.asarray(leaves[name], old.dtype), old.sharding)

    return jax.tree_util.tree_unflatten(treedef, [chosen(leaf_name(path), old) for path, old in flat])
