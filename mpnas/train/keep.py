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
import numpy as np

from mpnas.control import Arch, Relaxation
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
    best = _counted(state.best, loss)
    if _window_ends(step, steps):
        mean = best.total / best.count
        better = bool(mean < best.loss) and _feasible(state.arch, net, controller, costs, limits)
        best = dataclasses.replace(best, total=jnp.zeros_like(best.total), count=jnp.zeros_like(best.count))
        if better:
            # A copy, because the next step gives the buffers of the state away.
            parts, arch = jax.tree.map(jnp.copy, (state.parts, state.arch))
            best = dataclasses.replace(best, parts=parts, arch=arch, loss=mean)
    return dataclasses.replace(state, best=best)


def kept_together(
    stack: TrainState,
    losses: Any,
    *,
    step: int,
    steps: int,
    net: Supernet,
    controller: Relaxation,
    costs: Sequence[Cost],
    limits: Sequence[Mapping[str, float]],
) -> TrainState:
    """The same for the members of a population, along the leading axis of the stack.

    Args:
      stack: The members' states after the step's updates.
      losses: `(members,)` of the step; None if the weights were not updated in it.
      step, steps, net, controller, costs: As in `kept`.
      limits: Of each member.
    """
    best = _counted(stack.best, losses)
    if _window_ends(step, steps):
        mean = best.total / best.count
        lower = np.asarray(mean < best.loss)
        better = np.array([
            bool(lower[k])
            and _feasible(jax.tree.map(lambda leaf: leaf[k], stack.arch), net, controller, costs, own)
            for k, own in enumerate(limits)
        ])
        best = dataclasses.replace(best, total=jnp.zeros_like(best.total), count=jnp.zeros_like(best.count))
        if better.any():
            parts, arch, loss = _where(
                better, (stack.parts, stack.arch, mean), (best.parts, best.arch, best.loss)
            )
            best = dataclasses.replace(best, parts=parts, arch=arch, loss=loss)
    return dataclasses.replace(stack, best=best)


@jax.jit
def _where(better: Any, new: Any, old: Any) -> Any:
    """Member by member the new leaves or the old ones."""

    def one(fresh: Any, kept: Any) -> Any:
        return jnp.where(better.reshape(better.shape + (1,) * (fresh.ndim - 1)), fresh, kept)

    return jax.tree.map(one, new, old)


def _counted(best: Best, loss: Any) -> Best:
    """The window with one more loss."""
    if loss is None:
        return best
    return dataclasses.replace(best, total=best.total + loss, count=best.count + 1)


def _window_ends(step: int, steps: int) -> bool:
    return step % max(1, steps // WINDOWS) == 0 or step == steps


def handed_on(state: TrainState) -> TrainState:
    """The state with the parts and logits of the best one, if any was within the limits."""
    if not isinstance(state.best, Best) or not bool(jnp.isfinite(state.best.loss)):
        return state
    return dataclasses.replace(state, parts=state.best.parts, arch=state.best.arch)


def _feasible(
    arch: Arch,
    net: Supernet,
    controller: Relaxation,
    costs: Sequence[Cost],
    limits: Mapping[str, float],
) -> bool:
    probabilities, _ = noiseless(net, controller)(arch)  # type: ignore[arg-type]
    nearest = net.space.nearest(probabilities)
    return satisfied(measure([cost for cost in costs if cost.name in limits], net.space, nearest), limits)
