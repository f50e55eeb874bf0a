"""Outputs of a network on a part of the data, whatever it is that computes them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from mpnas.data import Dataset
from mpnas.errors import ExportError
from mpnas.export.compiled import compiled
from mpnas.export.graph import IntegerGraph
from mpnas.supernet import Parts, Supernet
from mpnas.sweep.point import Part

Run = Callable[[np.ndarray], np.ndarray]
BATCH = 500


def simulated(net: Supernet, parts: Parts, gates: Mapping[str, Any]) -> Run:
    """The fake-quantised network in evaluation mode, compiled."""
    apply = jax.jit(lambda parts, gates, x: net.apply(parts, gates, x, train=False)[0])
    return lambda x: np.asarray(apply(parts, gates, x))


def executed(graph: IntegerGraph) -> Run:
    """The integer executor, compiled.

    Raises:
      GraphError: an integer could overflow.
    """
    run = compiled(graph)
    return lambda x: np.asarray(run(jnp.asarray(x)))


def outputs_of(
    run: Run, data: Dataset, part: Part, count: int | None = None
) -> Float[np.ndarray, "n outputs"]:
    """Outputs for the first `count` inputs of a part, in order; for all of them by default.

    Raises:
      ExportError: the outputs are not a number per class at least.
    """
    most = data.rows(part) if count is None else min(count, data.rows(part))
    found, done = [], 0
    for x, _, valid in data.batches_of(part, min(BATCH, most)):
        out = np.asarray(run(x))
        if out.ndim != 2 or len(out) != len(x) or out.shape[1] < data.classes:
            raise ExportError(
                f"it answers {len(x)} inputs with outputs {list(out.shape)}, and data set '{data.name}' has "
                f"{data.classes} classes. It is of another network, or the data are others."
            )
        found.append(out[: min(valid, most - done)])
        done += len(found[-1])
        if done == most:
            break
    return np.concatenate(found)


def labels_of(data: Dataset, part: Part, count: int | None = None) -> Int[np.ndarray, "n"]:
    """The true classes of those inputs."""
    labels = getattr(data, part)[1]
    return np.asarray(labels if count is None else labels[:count])
