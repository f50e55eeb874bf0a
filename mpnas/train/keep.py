"""The best state of a phase whose discrete costs are within the limits, carried in the state itself.

A phase is cut into windows; at the end of each the mean training loss of the window is compared, if the
network that the logits would become is within every limit. What has been kept, and the sum of the
window so far, are in the state: a resumed phase keeps what the uninterrupted one would have kept.

Source: Schaefer et al., 2022, https://arxiv.org/abs/2206.07741: only feasible checkpoints compete.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mpnas.control import Relaxation
from mpnas.cost import Cost, measure, satisfied
from mpnas.supernet import Supernet
from mpnas.train.evaluate import noiseless
from mpnas.train.state import Best, TrainState

WINDOWS = 50  # judgements in a phase


def kept(
    state: TrainState,
    loss: Any,
    *,
    step: int,
    steps: int,
    net: Supernet,
    controller: Relaxation,
    costs: Sequence[Cost],
    limits: Mapping[str, float],
) -> TrainState:
    """The state after noting one step's loss; at the end of a window it may become the best one.

    Args:
      state: After the step's updates.
      loss: Of the step, on the device; None if the weights were not updated in it.
      step, steps: Steps done, counted from 1, and steps of the phase.
      net, controller: What the logits mean.
      costs, limits: What must hold of the discrete network; costs without a limit are not looked at.
    """
    best: Best = state.best
    if loss is not None:
        best = dataclasses.replace(best, total=best.total + loss, count=best.count + 1)
    if step % max(1, steps // WINDOWS) == 0 or step == steps:
        mean = best.total / best.count
        better = bool(mean < best.loss) and _feasible(state, net, controller, costs, limits)
        best = dataclasses.replace(best, total=jnp.zeros_like(best.total), count=jnp.zeros_like(best.count))
        if better:
            # A copy, because the next step gives the buffers of the state away.
            parts, arch = jax.tree.map(jnp.copy, (state.parts, state.arch))
            best = dataclasses.replace(best, parts=parts, arch=arch, loss=mean)
    return dataclasses.replace(state, best=best)


def handed_on(state: TrainState) -> TrainState:
    """The state with the parts and logits of the best one, if any was within the limits."""
    if not isinstance(state.best, Best) or not bool(jnp.isfinite(state.best.loss)):
        return state
    return dataclasses.replace(state, parts=state.best.parts, arch=state.best.arch)


def _feasible(
    state: TrainState,
    net: Supernet,
    controller: Relaxation,
    costs: Sequence[Cost],
    limits: Mapping[str, float],
) -> bool:
    probabilities, _ = noiseless(net, controller)(state.arch)  # type: ignore[arg-type]
    nearest = net.space.nearest(probabilities)
    return satisfied(measure([cost for cost in costs if cost.name in limits], net.space, nearest), limits)
