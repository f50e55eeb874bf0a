"""Class-based importance: thresholds on the scores of filters, raised while the network still answers.

Every filter has a score: for how many classes it matters (`mpnas.train.importance`). Between two
neighbouring bit-widths stands a threshold, and a filter gets the highest width whose threshold its
score reaches. All begin at 0, so that every filter is at the highest width; then the lowest threshold
is raised step by step until the accuracy of the network, not retrained, has fallen to a floor T_1, then
the next until T_2 = R T_1, and so on until the budget is met. Where it is not met when all thresholds
had their turn, they have another one, at floors that go on falling. Activations have one width.

Source: Sun et al., Class-based Quantization, DATE 2023, https://arxiv.org/abs/2211.14928. That the first
floor is a share of the accuracy at the highest widths, and that turns are repeated, is our reading.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mpnas.control.ladder import impossible, met
from mpnas.errors import ConfigError
from mpnas.space import Assignment, Gates, Space


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Where the threshold search stands.

    Attributes:
      space: What can be chosen.
      scores: Weight and mask site -> `(decisions,)` scores, >= 0.
      widths: Every bit-width of a weight, ascending; 0 first, if channels can be removed.
      values: Threshold below each width but the first, never falling from one to the next; those of the
        assignment that was measured last.
      turn: Which threshold is being raised.
      floor: Accuracy at which its turn ends; None before anything was measured.
    """

    space: Space
    scores: Mapping[str, np.ndarray]
    widths: tuple[int, ...]
    values: tuple[float, ...]
    turn: int = 0
    floor: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Importance:
    """Thresholds on class scores; the answer is the first assignment within the limits.

    Attributes:
      evaluations: Assignments to measure at most; >= 1.
      first: T_1 as a share of the accuracy at the highest widths; in (0, 1).
      ratio: R, the ratio of the next floor to the last; in (0, 1).
      step: How far a threshold is raised at once, as a share of the largest score; in (0, 1]. Steps
        that change nothing are not measured.
      activation_bits: The one width of all activations: the candidate nearest to it is taken; >= 1.
      batches, batch: Batches of training rows that scores come from, and rows of each; >= 1.

    Raises:
      ConfigError: a number out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    measure: ClassVar[str] = "class_paths"

    evaluations: int = 400
    first: float = 0.5
    ratio: float = 0.8
    step: float = 0.02
    activation_bits: int = 8
    batches: int = 8
    batch: int = 64

    def __post_init__(self) -> None:
        if not (0 < self.first < 1 and 0 < self.ratio < 1 and 0 < self.step <= 1):
            raise ConfigError(
                f"Importance needs 0 < first < 1, 0 < ratio < 1 and 0 < step <= 1, got {self}."
            )
        if min(self.evaluations, self.activation_bits, self.batches, self.batch) < 1:
            raise ConfigError(
                f"Importance needs evaluations, activation_bits, batches and batch >= 1, got {self}."
            )

    def init(self, space: Space, scores: Gates | None = None) -> Thresholds:
        """All filters at the highest width.

        Args:
          space: What can be chosen.
          scores: Weight site -> `(decisions, 1)` class scores.

        Raises:
          ConfigError: no scores, or a space without weights to choose.
        """
        sites = list(space.weight_site.values())
        if scores is None or not sites:
            raise ConfigError(
                "controller 'importance' needs class scores and a space that chooses weights; run it "
                "with mpnas.train.find, and offer bit-widths of weights."
            )
        widths = {bits for site in sites for bits in space.choices[site].bits}
        if space.remover:
            widths.add(0)
        flat = {site: np.asarray(scores[site], np.float64).reshape(-1) for site in sites}
        flat |= {site: _of_mask(space, site, flat) for site in space.remover.values() if site not in flat}
        return Thresholds(space, flat, tuple(sorted(widths)), (0.0,) * (len(widths) - 1))

    def ask(
        self,
        memory: Thresholds,
        space: Space,
        rng: np.random.Generator,
        count: int,
        price: Callable[[Assignment], Mapping[str, float]],
        limits: Mapping[str, float],
    ) -> list[Assignment]:
        """The next assignment on the way down; the search is over with the first within the limits.

        Raises:
          BudgetError: not even the lowest widths meet the limits, at this width of the activations.
        """
        lowest = self._assignment(memory, (np.inf,) * len(memory.values))
        if not met(price(lowest), limits):
            what = f"assignment with activations of {self.activation_bits} bits"
            raise impossible(what, price(lowest), limits)
        measured = memory.floor is not None and met(price(self._assignment(memory, memory.values)), limits)
        if count == 0 or measured:
            return []
        return [self._assignment(memory, self._raised(memory).values)]

    def tell(
        self, memory: Thresholds, results: Sequence[tuple[Assignment, Mapping[str, float]]]
    ) -> Thresholds:
        """The thresholds that were asked about; the turn ends where the accuracy is at its floor."""
        for _, metrics in results:
            accuracy = metrics["accuracy"]
            if memory.floor is None:
                memory = dataclasses.replace(memory, floor=self.first * accuracy)
                continue
            memory = self._raised(memory)
            if memory.floor is not None and accuracy <= memory.floor:
                turn = (memory.turn + 1) % len(memory.values)
                memory = dataclasses.replace(memory, turn=turn, floor=self.ratio * memory.floor)
        return memory

    def _raised(self, memory: Thresholds) -> Thresholds:
        """The next thresholds that change an assignment: this turn's, or those of the turns after it."""
        if memory.floor is None:
            return memory
        largest = max(float(scores.max()) for scores in memory.scores.values())
        # A threshold as high as the largest score still lets its filter through.
        top, step = largest * (1 + self.step) + np.finfo(float).tiny, self.step * (largest or 1.0)
        before = _levels(memory.scores, memory.values)
        for turn in (*range(memory.turn, len(memory.values)), *range(memory.turn)):
            values = np.array(memory.values)
            while values[turn] < top:
                values[turn] = min(values[turn] + step, top)
                values[turn:] = np.maximum(values[turn:], values[turn])
                if any(np.any(before[s] != now) for s, now in _levels(memory.scores, values).items()):
                    return dataclasses.replace(memory, values=tuple(map(float, values)), turn=turn)
        return memory

    def _assignment(self, memory: Thresholds, values: Sequence[float]) -> Assignment:
        """Each filter at its width, or the next that its site offers below; activations at theirs."""
        space = memory.space
        indices = space.indices(space.uniform(None))
        activations = space.indices(space.uniform(self.activation_bits))
        for site, levels in _levels(memory.scores, values).items():
            wanted = np.asarray(memory.widths)[levels]
            indices[site] = np.maximum(np.searchsorted(space.choices[site].bits, wanted, side="right") - 1, 0)
            if site in space.remover.values():
                best = np.argmax(memory.scores[site])
                indices[site][best] = max(indices[site][best], 1)
        for site, choice in space.choices.items():
            if choice.kind == "act":
                indices[site] = activations[site]
        return space.from_indices(indices)


def _of_mask(space: Space, site: str, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """`(decisions,)` scores of shared channels: the largest of all filters that write them."""
    found = np.zeros(space.choices[site].decisions)
    for layer in space.choices[site].layers:
        writer = space.weight_site[layer]
        of_channel = scores[writer][space.channel_decision[writer]]
        np.maximum.at(found, space.channel_decision[site], of_channel)
    return found


def _levels(scores: Mapping[str, np.ndarray], values: Any) -> dict[str, np.ndarray]:
    """Weight site -> for each decision how many thresholds its score reaches."""
    return {site: np.searchsorted(values, found, side="right") for site, found in scores.items()}
