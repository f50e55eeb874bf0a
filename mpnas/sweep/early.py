"""Early stopping: by which score searches are compared while they run, and which of them are compared.

Asynchronous successive halving (ASHA) looks at a search when it has done certain shares of its steps, and
stops it unless its score is among the best `1 / reduction` of those that came there before. A score takes
accuracy, less what the search still costs above its limits.

Only searches under the same budget and by the same kind of method are compared. Between budgets no penalty
would be fair: a search under a small budget is meant to be less accurate than one under a large one, and is
worth as much on a front. Between methods the rows tell different accuracies: a search by gradients that of
its training batches, a search by asking that of its best assignment on the selection part.

Which searches survive depends on which came first to a look, so a sweep with early stopping cannot be
repeated bit for bit. That is why it is off unless it is asked for.

Source: Li et al., MLSys 2020, https://arxiv.org/abs/1810.05934.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from mpnas.errors import ConfigError

STOPPED = "stopped early"  # begins the reason of every search that was
SHARES = {2: "half", 3: "third", 4: "quarter"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """When hopeless searches are stopped; float networks, baselines and explored budgets never are.

    Attributes:
      grace: Share of its steps that every search may take before the first look; in (0, 1).
      reduction: One in so many goes on at each look, and the next look comes after so many times the
        steps; >= 2.
      penalty: Weight of a cost above its limit in the score, in accuracy per limit; >= 0.

    Raises:
      ConfigError: a number out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    grace: float = 0.25
    reduction: int = 3
    penalty: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.grace < 1 and self.reduction >= 2 and 0 <= self.penalty < float("inf")):
            raise ConfigError(
                f"early_stopping needs 0 < grace < 1, reduction >= 2 and a finite penalty >= 0, got {self}."
            )


def score_of(row: Mapping[str, Any], limits: Mapping[str, float], penalty: float) -> float:
    """The score of a search at a row of its metrics; the higher, the better.

    `accuracy - penalty * sum over limited costs of max(0, expected / limit - 1)`. A search within its
    limits is not penalised: to cost less than allowed is no merit under a budget. A row of retraining has
    no expected costs, as its network meets every limit exactly.

    Args:
      row: A row of `metrics.jsonl`, with `train_accuracy` or `select_accuracy`, in [0, 1].
      limits: Cost name -> largest amount allowed, in the unit of the cost, > 0.
      penalty: Accuracy that a cost of twice its limit is worth; >= 0.

    >>> score_of({"train_accuracy": 0.9, "expected_costs": {"bops": 150.0}}, {"bops": 100.0}, 1.0)
    0.4
    """
    accuracy = row["train_accuracy"] if "train_accuracy" in row else row["select_accuracy"]
    costs = row.get("expected_costs", {})
    excess = sum(max(0.0, costs[name] / limit - 1) for name, limit in limits.items() if name in costs)
    return float(accuracy - penalty * excess)


def reason_of(step: int, steps: int, score: float, reduction: int) -> str:
    """Why a search was stopped, in words."""
    best = SHARES.get(reduction, f"{reduction}th")
    return (
        f"{STOPPED} by ASHA at step {step:,} of {steps:,}: its score {score:.4f} was not in the best {best} "
        "of the searches that had come so far under its budget. To run it to its end: mpnas resume "
        "--retry-failed."
    )
