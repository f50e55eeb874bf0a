"""Optuna's tree-structured Parzen estimator as a proposer: levels per site, decoded and kept within limits.

Optuna suggests one number per site, the mean candidate index of its decisions: whole for a site of one
decision; else a level l of which the share `l - floor(l)` of the decisions, evenly spaced over the
channels, take the candidate above `floor(l)` and the others that one. A suggestion over a limit is
moved down in a random order, as little as needed, and Optuna is told the levels of what was measured,
not of what it suggested.

Source: Bergstra et al., NeurIPS 2011; Akiba et al., Optuna, KDD 2019, https://arxiv.org/abs/1907.10902.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mpnas.control.ladder import Key, Ladder, Vector, key_of, unseen
from mpnas.errors import ConfigError
from mpnas.space import Assignment, Gates, Space


@dataclasses.dataclass(frozen=True)
class Told:
    """What was heard so far: assignments by key, each with its mean candidate index per site and its loss."""

    ladder: Ladder
    losses: Mapping[Key, tuple[Mapping[str, float], float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optuna:
    """A sampler of Optuna that lowers the loss; needs the package optuna (`pip install mpnas[optuna]`).

    Attributes:
      evaluations: Assignments to try; >= 1.
      startup: Random ones before the estimator is asked; >= 1.

    Raises:
      ConfigError: a number out of its range, or optuna is not installed.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    evaluations: int = 200
    startup: int = 20

    def __post_init__(self) -> None:
        if not (self.evaluations >= 1 and self.startup >= 1):
            raise ConfigError(f"Optuna needs evaluations >= 1 and startup >= 1, got {self}.")
        _package()

    def init(self, space: Space, scores: Gates | None = None) -> Told:
        return Told(Ladder(space))

    def ask(
        self,
        memory: Told,
        space: Space,
        rng: np.random.Generator,
        count: int,
        price: Callable[[Assignment], Mapping[str, float]],
        limits: Mapping[str, float],
    ) -> list[Assignment]:
        study, distributions = self._study(memory, seed=int(rng.integers(2**31))), _distributions(space)

        def draw() -> Assignment:
            suggested = _decoded(memory.ladder, study.ask(distributions).params)
            return memory.ladder.assignment(memory.ladder.within(suggested, rng, price, limits))

        return unseen(draw, memory.losses, count)

    def tell(self, memory: Told, results: Sequence[tuple[Assignment, Mapping[str, float]]]) -> Told:
        heard = {
            key_of(assignment): (_levels(memory.ladder, assignment), float(metrics["loss"]))
            for assignment, metrics in results
        }
        return Told(memory.ladder, {**memory.losses, **heard})

    def _study(self, memory: Told, seed: int) -> Any:
        """A study that has been told everything; made anew, so that the memory stays plain data."""
        optuna = _package()
        sampler = optuna.samplers.TPESampler(n_startup_trials=self.startup, seed=seed)
        shown = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(sampler=sampler)
        finally:
            optuna.logging.set_verbosity(shown)
        distributions = _distributions(memory.ladder.space)
        for levels, loss in memory.losses.values():
            sound = np.isfinite(loss)
            state = optuna.trial.TrialState.COMPLETE if sound else optuna.trial.TrialState.FAIL
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(levels), distributions=distributions, value=loss if sound else None,
                    state=state,
                )
            )
        return study


def _package() -> Any:
    # Imported late: only those who ask for it need the package.
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "controller 'optuna' needs the package optuna, which is not installed. Install it with: "
            "pip install 'mpnas[optuna]'."
        ) from error
    return optuna


def _distributions(space: Space) -> dict[str, Any]:
    """One level per site that leaves something to choose."""
    kinds = _package().distributions
    return {
        site: (kinds.IntDistribution if choice.decisions == 1 else kinds.FloatDistribution)(
            0, len(choice.bits) - 1
        )
        for site, choice in space.choices.items()
        if len(choice.bits) > 1
    }


def _decoded(ladder: Ladder, levels: Mapping[str, float]) -> Vector:
    """The candidate indices that levels stand for."""
    vector = np.zeros_like(ladder.tops)
    for site, level in levels.items():
        place = ladder.places[site]
        number = np.arange(place.stop - place.start)
        share = level - np.floor(level)
        # Half a step in, so that rounding cannot lose the last of a whole number of decisions.
        above = np.floor((number + 1) * share + 0.5) > np.floor(number * share + 0.5)
        vector[place] = np.floor(level) + above
    return vector


def _levels(ladder: Ladder, assignment: Assignment) -> dict[str, float]:
    """Site -> mean candidate index: the inverse of `_decoded`, up to which channels are above."""
    vector = ladder.vector(assignment)
    return {
        site: float(np.mean(vector[place])) if choice.decisions > 1 else int(vector[place][0])
        for (site, choice), place in zip(ladder.space.choices.items(), ladder.places.values(), strict=True)
        if len(choice.bits) > 1
    }
