"""Class paths: for how many classes each filter matters, from one backward pass per batch.

A neuron is on the critical path of an image where its Taylor term |a dL/da| is not 0, L the image's
cross-entropy. For every class the share of its images on whose path the neuron is; summed over the
classes, a neuron's score is in [0, classes]; a filter has the largest score of its positions, and a
decision over several filters the largest of theirs. The neuron's value a is that of the layer's product:
a normalisation after it and a ReLU that is shut pass on no gradient, so the term is 0 exactly where it is
0 for the value after them (but for values that are exactly 0).

Source: Sun et al., Class-based Quantization, DATE 2023, https://arxiv.org/abs/2211.14928, where |a dL/da|
is compared with 1e-50, below the smallest float32.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mpnas.supernet import Parts, Supernet
from mpnas.supernet.trace import module_at
from mpnas.train.evaluate import one_hot_gates
from mpnas.train.sensitivity import Batches


def class_paths(
    net: Supernet, parts: Parts, batches: Batches, seed: int
) -> dict[str, Float[np.ndarray, "decisions 1"]]:
    """Weight site -> score of each decision's filters, in [0, classes]; all at the highest candidates."""
    gates, on_path = one_hot_gates(net, net.space.uniform(None)), _on_path_of(net)
    hits: dict[str, np.ndarray] = {}
    images: Any = 0
    for x, y in batches():
        found, labels = jax.device_get(on_path(parts, gates, x, y))
        hits = {path: hits.get(path, 0) + counts for path, counts in found.items()}
        images = images + labels
    occurring = images > 0
    scores = {}
    for path, counts in hits.items():
        share = counts[occurring] / images[occurring].reshape(-1, *[1] * (counts.ndim - 1))
        of_filter = share.sum(axis=0).reshape(-1, counts.shape[-1]).max(axis=0)
        site = net.space.weight_site[path]
        of_decision = np.zeros(net.space.choices[site].decisions)
        np.maximum.at(of_decision, net.space.channel_decision[site], of_filter)
        scores[site] = of_decision[:, None]
    return scores


@functools.lru_cache(maxsize=16)
def _on_path_of(net: Supernet) -> Callable[..., Any]:
    """Layer -> `(classes, positions ..., filters)` images of a batch on whose path a neuron is; images."""

    def counts(parts: Parts, gates: Any, x: Any, y: Any) -> Any:
        shapes = jax.eval_shape(lambda: _tapped(net, parts, gates, x, {}))
        offsets = {path: jnp.zeros(a.shape, a.dtype) for path, a in shapes[1].items()}

        def summed(added: Any) -> Any:
            logits, values = _tapped(net, parts, gates, x, added)
            # A sum, so that every image's gradient is that of its own loss.
            return -jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)), values

        slopes, values = jax.grad(summed, has_aux=True)(offsets)
        classes = jax.nn.one_hot(y, shapes[0].shape[1])
        # Both apart from 0, not their product: that could underflow.
        on_path = {path: (values[path] != 0) & (slopes[path] != 0) for path in values}
        return {
            path: jnp.tensordot(classes, taken.astype(jnp.float32), axes=(0, 0))
            for path, taken in on_path.items()
        }, classes.sum(axis=0)

    return jax.jit(counts)


def _tapped(net: Supernet, parts: Parts, gates: Any, x: Any, offsets: Any) -> tuple[Any, dict[str, Any]]:
    """Outputs of the network, and of every searched layer's product, to which offsets are added.

    Of a layer that is called several times the first call counts.
    """
    model = net.module(parts, gates)
    values: dict[str, Any] = {}
    for path in net.space.weight_site:
        mixed = module_at(model, net.slots[path])
        mixed.product = _tap(mixed.product, path, values, offsets)
    return model(x), values


def _tap(
    product: Callable[..., Any], path: str, values: dict[str, Any], offsets: Any
) -> Callable[..., Any]:
    def tapped(*args: Any, **kwargs: Any) -> Any:
        value = product(*args, **kwargs)
        if path in values:
            return value
        values[path] = value
        return value + offsets[path] if path in offsets else value

    return tapped
