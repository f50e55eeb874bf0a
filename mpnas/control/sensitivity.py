"""Sensitivity and integer programming: measured loss increases, and the assignment that adds up least.

How much the loss grows when one decision moves from its highest candidate to another is measured once
(`mpnas.train.sensitivity`), all else at the highest. The increases count as independent of each other;
the assignment with the smallest sum under a budget is then a multiple-choice knapsack, which the exact
repair solves: it maximises the sum of log-preferences, and these are minus the scaled increases.

Sources: Dong et al., HAWQ-V2, NeurIPS 2020, https://arxiv.org/abs/1911.03852; Yao et al., HAWQ-V3,
ICML 2021, https://arxiv.org/abs/2011.10680, eq. (5), the integer program.
"""

import dataclasses
from typing import ClassVar, Literal, get_args

import numpy as np

from mpnas.errors import ConfigError, nearest
from mpnas.space import Gates

Measure = Literal["fisher", "hessian", "loss", "flips"]
# The repair takes all log-preferences below -30 for equally bad: the largest increase stays above.
LARGEST = 29.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The assignment with the smallest sum of measured increases, under any budget.

    Attributes:
      measure: `fisher` (diagonal Fisher information), `hessian` (mean Hessian trace), `loss` (measured
        increase of the loss) or `flips` (measured share of predictions that change).
      batches: Batches of training rows that are measured on; >= 1.
      batch: Rows of each; >= 1.

    Raises:
      ConfigError: an unknown measure, or a number out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    measure: Measure = "fisher"
    batches: int = 16
    batch: int = 64

    def __post_init__(self) -> None:
        if self.measure not in get_args(Measure):
            raise ConfigError(
                f"sensitivity has no measure '{self.measure}'; nearest: "
                f"{nearest(self.measure, get_args(Measure))}."
            )
        if not (self.batches >= 1 and self.batch >= 1):
            raise ConfigError(f"Sensitivity needs batches >= 1 and batch >= 1, got {self}.")

    def preference(self, scores: Gates) -> dict[str, np.ndarray]:
        """`exp(-29 increase / largest increase)`: sums of its logarithms are ordered like sums of increases.

        Args:
          scores: Site -> `(decisions, candidates)` increases, finite and >= 0.
        """
        largest = max((float(np.max(values)) for values in scores.values()), default=0.0) or 1.0
        return {s: np.exp(-LARGEST / largest * np.asarray(v, np.float64)) for s, v in scores.items()}
