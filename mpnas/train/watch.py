"""What a run tells on its way: its losses, its reports and its checkpoints.

Losses stay on the device until somebody asks for them; a loss that is not finite ends the run at the
next report or checkpoint, with the step at which it came.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpnas.errors import ConfigError, NonFiniteLossError
from mpnas.space import Assignment
from mpnas.train.phase import Phase
from mpnas.train.state import TrainState


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


class Watch:
    """Follows one run through a phase, and calls its hooks.

    Args:
      stage: Name for reports and errors.
      phase: How long it is, and how many examples a step has.
      hooks: What is called.
    """

    def __init__(self, stage: str, phase: Phase, hooks: Hooks) -> None:
        self._stage, self._phase, self._hooks = stage, phase, hooks
        self._meter = _Meter(stage, phase.batch)

    def note(self, step: int, metrics: Mapping[str, Any], *, shown: bool) -> None:
        """Note one update of a step, counted from 1; every loss is checked, the shown ones are averaged."""
        self._meter.add(step, metrics, shown=shown)

    def due(self, done: int) -> bool:
        """Whether there is something to tell after so many steps."""
        return self._reports(done) or self._saves(done)

    def tell(self, done: int, state: TrainState) -> None:
        """Report and save what is due after so many steps.

        Raises:
          NonFiniteLossError: a loss was not finite, or the last update broke the network.
        """
        if self.due(done):
            self._meter.read()
        if self._reports(done):
            loss, accuracy = self._meter.means()
            if self._hooks.report is not None:
                self._hooks.report(Progress(self._stage, done, self._phase.steps, loss, accuracy, state))
        if done == self._phase.steps:
            _refuse_broken(self._stage, state)
        if self._saves(done) and self._hooks.checkpoint is not None:
            self._hooks.checkpoint(state)

    def _reports(self, done: int) -> bool:
        return done % self._hooks.every == 0 or done == self._phase.steps

    def _saves(self, done: int) -> bool:
        due = done % self._hooks.checkpoint_every == 0 or done == self._phase.steps
        return self._hooks.checkpoint is not None and due


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
