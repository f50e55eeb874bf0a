"""Measuring a network on one part of the data."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mpnas.control import Arch, Relaxation
from mpnas.data import Dataset
from mpnas.space import Assignment, Gates
from mpnas.supernet import Parts, Supernet

EVALUATION_BATCH = 500


def one_hot_gates(net: Supernet, assignment: Assignment) -> dict[str, Float[Array, "decisions candidates"]]:
    """Gates of an assignment as the network takes them."""
    return {s: jnp.asarray(g, jnp.float32) for s, g in net.space.one_hot(assignment).items()}


@functools.lru_cache(maxsize=64)
def noiseless(net: Supernet, controller: Relaxation) -> Callable[[Arch], tuple[Gates, Gates]]:
    """State of a controller -> its probabilities, and its gates without noise at the end of a search.

    One compiled call: op by op it would cost a tenth of a second, and seconds the first time.
    """
    choices = net.space.choices
    return jax.jit(
        lambda arch: (
            controller.probabilities(arch, choices),
            controller.gates(arch, choices, progress=1.0, key=None),
        )
    )


@functools.lru_cache(maxsize=64)
def _hits_of(net: Supernet) -> Callable[..., Any]:
    def hits(parts: Parts, gates: Any, x: Any, y: Any) -> Any:
        return jnp.argmax(net.apply(parts, gates, x, train=False)[0], axis=1) == y

    return jax.jit(hits)


def accuracy(
    net: Supernet,
    parts: Parts,
    gates: Mapping[str, Any],
    data: Dataset,
    part: Literal["train", "select", "test"],
    *,
    batch: int = EVALUATION_BATCH,
) -> float:
    """Share of right answers of the mixture on a part of the data, in [0, 1]."""
    hits = _hits_of(net)
    batch = min(batch, data.rows(part))
    right = [
        np.asarray(hits(parts, gates, x, y))[:valid].sum() for x, y, valid in data.batches_of(part, batch)
    ]
    return float(np.sum(right)) / data.rows(part)


def examiner(
    net: Supernet, parts: Parts, data: Dataset, part: Literal["train", "select", "test"]
) -> Callable[[Assignment], dict[str, float]]:
    """Assignment -> its `loss` (mean, in nats) and `accuracy` (in [0, 1]) on a part, with these weights.

    One program is compiled for all assignments, and the rows are put on the device once.
    """
    tally, batch = _tally_of(net), min(EVALUATION_BATCH, data.rows(part))
    rows = [
        jax.device_put((x, y, np.arange(batch) < valid)) for x, y, valid in data.batches_of(part, batch)
    ]

    def examine(assignment: Assignment) -> dict[str, float]:
        gates = one_hot_gates(net, assignment)
        loss, hits = np.sum([jax.device_get(tally(parts, gates, *one)) for one in rows], axis=0)
        return {"loss": float(loss) / data.rows(part), "accuracy": float(hits) / data.rows(part)}

    return examine


@functools.lru_cache(maxsize=64)
def _tally_of(net: Supernet) -> Callable[..., Any]:
    """Summed loss, and number of right answers, of the rows of a batch that are real."""

    def tally(parts: Parts, gates: Any, x: Any, y: Any, real: Any) -> Any:
        logits = net.apply(parts, gates, x, train=False)[0]
        lost = -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)[:, 0]
        return jnp.sum(jnp.where(real, lost, 0)), jnp.sum(real & (jnp.argmax(logits, axis=1) == y))

    return jax.jit(tally)


@functools.lru_cache(maxsize=64)
def _forward_of(graph: Any) -> Callable[..., Any]:
    return jax.jit(lambda state, x: nnx.merge(graph, state, copy=True)(x))


def module_outputs(model: nnx.Module, data: Dataset, part: Literal["train", "select", "test"]) -> np.ndarray:
    """Outputs `(rows, classes)` of a plain module in evaluation mode, on a whole part."""
    evaluated = nnx.clone(model)
    evaluated.eval()
    graph, state = nnx.split(evaluated)
    forward = _forward_of(graph)
    batch = min(EVALUATION_BATCH, data.rows(part))
    return np.concatenate(
        [np.asarray(forward(state, x))[:valid] for x, _, valid in data.batches_of(part, batch)]
    )


def module_accuracy(model: nnx.Module, data: Dataset, part: Literal["train", "select", "test"]) -> float:
    """Share of right answers of a plain module on a part of the data, in [0, 1]."""
    labels = np.concatenate([y[:valid] for _, y, valid in data.batches_of(part, EVALUATION_BATCH)])
    return float(np.mean(np.argmax(module_outputs(model, data, part), axis=1) == labels))
