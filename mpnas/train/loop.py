"""Running a phase: batches in, states out, with logs and checkpoints on the way.

The position in the data is a pure function of (seed, step), so a phase that starts from a restored
state goes on exactly as if it had never stopped.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpnas.control import Relaxation
from mpnas.cost import COSTS, Cost, LogHinge
from mpnas.data import Dataset
from mpnas.errors import ConfigError, NonFiniteLossError
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet
from mpnas.train.keep import handed_on, kept
from mpnas.train.phase import Optimizer, Phase
from mpnas.train.state import TrainState
from mpnas.train.step import StepSpec, compiled_step, limited

ARCH_SEED = 0x5EED  # logits see other batches than weights, also where their shares overlap


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a running phase tells while it runs.

    Attributes:
      stage: `float`, `search` or `retrain`.
      step, steps: Steps done and to do; evaluations, where assignments are tried.
      loss: Mean loss since the last report, in nats; of the best assignment, where they are tried.
      accuracy: Share of right answers in the training batches since the last report, in [0, 1]; of the
        best assignment on the selection part, where they are tried.
      state: The state at this step; valid until the next step. None where nothing is trained.
      assignment: The best so far, where assignments are tried.
    """

    stage: str
    step: int
    steps: int
    loss: float
    accuracy: float
    state: TrainState | None
    assignment: Assignment | None = None


@dataclasses.dataclass(frozen=True)
class Hooks:
    """Callbacks of a running phase.

    Attributes:
      report: Called every `every` steps and at the end.
      every: Steps between reports.
      checkpoint: Called every `checkpoint_every` steps, and at the end, with a state whose losses were
        all finite; its arrays must be copied.
      checkpoint_every: Steps between checkpoints.

    Raises:
      ConfigError: an interval below 1.
    """

    report: Callable[[Progress], None] | None = None
    every: int = 50
    checkpoint: Callable[[TrainState], None] | None = None
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        if self.every < 1 or self.checkpoint_every < 1:
            raise ConfigError(
                "hooks need every >= 1 and checkpoint_every >= 1, got "
                f"{self.every} and {self.checkpoint_every}."
            )


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A float network whose outputs are soft labels."""

    net: Supernet
    parts: Parts


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
      teacher: Needed where `phase.distill` > 0.
      hooks: Reports and checkpoints.

    Raises:
      ConfigError: the phase distils without a teacher, or trains logits without a controller.
      NonFiniteLossError: names the stage and the first step whose loss is not finite.
    """
    limits = limits or {}
    _refuse_lonely(stage, phase, controller, teacher)
    teaching = teacher if phase.distill > 0 else None
    runs = _runs(net, phase, controller, limited(costs, limits), teaching)
    fixed = {site: jnp.asarray(gate, jnp.float32) for site, gate in (gates or {}).items()}
    traced_limits = {name: jnp.float32(limit) for name, limit in limits.items()}
    teacher_parts = teaching.parts if teaching is not None else None
    meter = _Meter(stage, phase.batch)
    data = data if phase.augment else dataclasses.replace(data, augment=None)
    for step in range(int(state.step), phase.steps):
        knobs, loss_of_step = _knobs(phase, step), None
        for number, (spec, every, share, data_seed) in enumerate(runs):
            if step % every:
                continue
            x, y = data.batch("train", seed + data_seed, step, phase.batch, share)
            ahead = _ahead(data, phase, seed, step) if spec.unroll else None
            state, metrics = compiled_step(spec)(
                state, x, y, knobs, fixed, traced_limits, teacher_parts, ahead
            )
            meter.add(step + 1, metrics, shown=number == 0)
            loss_of_step = metrics["loss"] if number == 0 else loss_of_step
        done = step + 1
        if phase.keep == "best_feasible":
            assert controller is not None
            state = kept(
                state, loss_of_step, step=done, steps=phase.steps, net=net,
                controller=controller, costs=costs, limits=limits,
            )
        reports = done % hooks.every == 0 or done == phase.steps
        saves = hooks.checkpoint is not None and (done % hooks.checkpoint_every == 0 or done == phase.steps)
        if reports or saves:
            meter.read()
        if reports:
            loss, accuracy = meter.means()
            if hooks.report is not None:
                hooks.report(Progress(stage, done, phase.steps, loss, accuracy, state))
        if done == phase.steps:
            _refuse_broken(stage, state)
        if saves and hooks.checkpoint is not None:
            hooks.checkpoint(state)
    return handed_on(state)


def _ahead(data: Dataset, phase: Phase, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch that the weights will see next."""
    assert phase.weights is not None
    return data.batch("train", seed, step + 1, phase.batch, phase.weights.share)


def _refuse_broken(stage: str, state: TrainState) -> None:
    """Refuse an end whose last update broke the network: no later loss would tell."""
    for leaf in jax.tree.leaves((state.parts, state.arch)):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(np.asarray(leaf, np.float32)).all():
            raise NonFiniteLossError(stage, int(state.step))


class _Meter:
    """Losses and hits of a phase, left on the device until somebody reads them.

    Args:
      stage: For the error.
      batch: Examples per update.
    """

    def __init__(self, stage: str, batch: int) -> None:
        self._stage, self._batch = stage, batch
        self._waiting: list[tuple[int, Any, bool]] = []
        self._read: list[tuple[float, float]] = []

    def add(self, step: int, metrics: Mapping[str, Any], *, shown: bool) -> None:
        """Note one update of a step, counted from 1; every loss is checked, the shown ones are averaged."""
        self._waiting.append((step, metrics, shown))

    def read(self) -> None:
        """Fetch what has been noted.

        Raises:
          NonFiniteLossError: names the first step with a loss that is not finite.
        """
        waiting, self._waiting = jax.device_get(self._waiting), []
        for step, metrics, shown in waiting:
            if not np.isfinite(metrics["loss"]):
                raise NonFiniteLossError(self._stage, int(step))
            if shown:
                self._read.append((float(metrics["loss"]), float(metrics["hits"])))

    def means(self) -> tuple[float, float]:
        """Mean loss, and share of right answers, of what was read since the last call; 0 for nothing."""
        rows, self._read = np.asarray(self._read).reshape(-1, 2), []
        loss, hits = rows.sum(axis=0) / max(len(rows), 1)
        return float(loss), float(hits) / self._batch


def _refuse_lonely(
    stage: str, phase: Phase, controller: Relaxation | None, teacher: Teacher | None
) -> None:
    """Refuse a phase that lacks the partner of one of its terms."""
    if phase.distill > 0 and teacher is None:
        raise ConfigError(
            f"stage '{stage}' distils (distill = {phase.distill}) but has no teacher. "
            "Give it the float network as teacher, or set distill = 0."
        )
    if phase.arch is not None and controller is None:
        raise ConfigError(
            f"stage '{stage}' has an 'arch' optimizer but no controller, so there are no logits to train. "
            "Give it a controller, or delete arch."
        )


def _runs(
    net: Supernet,
    phase: Phase,
    controller: Relaxation | None,
    costs: tuple[Cost, ...],
    teacher: Teacher | None,
) -> list[tuple[StepSpec, int, tuple[float, float], int]]:
    """The updates of one step: weights and ranges on their share of the data, logits on theirs.

    Where weights and logits see the same share at the same steps, one backward pass serves both, unless
    the logits look ahead.
    """
    optimizers = phase.optimizers
    arch = optimizers.pop("arch", None)
    net_of = None if teacher is None else teacher.net
    together = arch is not None and not phase.unroll and all(
        (arch.share, arch.every) == (o.share, o.every) for o in optimizers.values()
    )
    groups = [dict(optimizers)]
    if arch is not None:
        if together:
            groups[0]["arch"] = arch
        else:
            groups.append({"arch": arch})
    runs: list[tuple[StepSpec, int, tuple[float, float], int]] = []
    for number, group in enumerate(groups):
        if group:
            # Weights and ranges agree on both by the rules of a phase.
            every, share = next((o.every, o.share) for o in group.values())
            spec = StepSpec(
                net=net,
                optimizers=tuple((name, _rateless(optimizer)) for name, optimizer in group.items()),
                controller=controller,
                teacher=net_of,
                bins=phase.bins > 0 and number == 0,
                costs=costs if "arch" in group else (),
                unroll=phase.unroll > 0 and "arch" in group,
                pull=phase.budget if "arch" in group else LogHinge(),
                # One update counts the step: the first that takes part in every step.
                counts=every == 1 and all(earlier > 1 for _, earlier, _, _ in runs),
            )
            runs.append((spec, every, share, number * ARCH_SEED))
    return runs


def _rateless(optimizer: Optimizer) -> Optimizer:
    """What is static about an optimizer: another rate, schedule or share is the same program."""
    return Optimizer(name=optimizer.name, weight_decay=optimizer.weight_decay)


def _knobs(phase: Phase, step: int) -> dict[str, np.float32]:
    progress = step / max(phase.steps, 1)
    knobs = {
        "progress": progress,
        "distill": phase.distill,
        "temperature": phase.temperature,
        "bins": phase.bins * 0.5 * (1 - np.cos(np.pi * progress)),
        "smoothing": phase.smoothing,
        "penalty": phase.penalty * phase.ramp(progress),
        "unroll": phase.unroll,
    }
    knobs |= {f"rate/{name}": optimizer.rate(progress) for name, optimizer in phase.optimizers.items()}
    return {name: np.float32(value) for name, value in knobs.items()}
