"""Running a phase: batches in, states out, with logs and checkpoints on the way.

The position in the data is a pure function of (seed, step), so a phase that starts from a restored
state goes on exactly as if it had never stopped.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from mpnas.control import Relaxation
from mpnas.cost import COSTS, Cost
from mpnas.data import Dataset
from mpnas.supernet import Supernet
from mpnas.train.keep import handed_on, kept
from mpnas.train.phase import Phase
from mpnas.train.state import TrainState
from mpnas.train.step import compiled_step, limited
from mpnas.train.updates import ARCH_SEED, Answers, Quantized, Teacher, knobs_of, refuse_lonely, updates_of
from mpnas.train.watch import Hooks, Progress, Watch

__all__ = ["ARCH_SEED", "Answers", "Hooks", "Progress", "Quantized", "Teacher", "run_phase"]


def run_phase(
    stage: str,
    net: Supernet,
    state: TrainState,
    data: Dataset,
    phase: Phase,
    *,
    seed: int,
    gates: Mapping[str, Any] | None = None,
    controller: Relaxation | None = None,
    costs: Sequence[Cost] = COSTS,
    limits: Mapping[str, float] | None = None,
    teacher: Teacher | None = None,
    hooks: Hooks = Hooks(),
) -> TrainState:
    """Train from `state.step` to the end of the phase; the state that it keeps.

    Args:
      stage: Name for reports and errors.
      net: The attached network; without choices it is the plain float network.
      state: Where to start; its buffers are given away.
      data: Where batches come from.
      phase: What to train, how long, with which terms.
      seed: Of the data's order.
      gates: Fixed gates, without a controller.
      controller: Produces the gates of each step; trained where the phase has an `arch` optimizer.
      costs, limits: What the penalty counts; absolute limits by cost name.
      teacher: Needed where `phase.taught`.
      hooks: Reports and checkpoints.

    Raises:
      ConfigError: the phase distils without a teacher, or trains logits without a controller.
      NonFiniteLossError: names the stage and the first step whose loss is not finite.
    """
    limits = limits or {}
    refuse_lonely(stage, phase, net, controller, teacher, data)
    teaching = teacher if phase.taught else None
    updates = updates_of(net, phase, controller, limited(costs, limits), teaching)
    fixed = {site: jnp.asarray(gate, jnp.float32) for site, gate in (gates or {}).items()}
    traced_limits = {name: jnp.float32(limit) for name, limit in limits.items()}
    teacher_parts = teaching.parts if teaching is not None else None
    watch = Watch(stage, phase, hooks)
    data = data if phase.augment else dataclasses.replace(data, augment=None)
    for step in range(int(state.step), phase.steps):
        knobs, loss_of_step = knobs_of(phase, step), None
        for number, update in enumerate(updates):
            if step % update.every:
                continue
            (x, y), ahead = update.batches(data, phase, seed, step)
            state, metrics = compiled_step(update.spec)(
                state, x, y, knobs, fixed, traced_limits, teacher_parts, ahead
            )
            watch.note(step + 1, metrics, shown=number == 0)
            loss_of_step = metrics["loss"] if number == 0 else loss_of_step
        done = step + 1
        if phase.keep == "best_feasible":
            assert controller is not None
            state = kept(
                state, loss_of_step, step=done, steps=phase.steps, net=net,
                controller=controller, costs=costs, limits=limits,
            )
        if watch.due(done):
            watch.tell(done, state)
    return handed_on(state)
