"""Exploring: budgets that nobody listed, proposed one after another from what the earlier ones gave.

A proposal is a budget within the ranges that the experiment names, rounded to four digits so that it can
be read and written, and becomes a search like those of listed budgets.
"""

import dataclasses
import importlib.util
import math
from collections.abc import Mapping
from typing import ClassVar

from mpnas.errors import ConfigError

DIGITS = 4  # significant ones of a proposed budget


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explore:
    """Searches under budgets that Optuna's multi-objective sampler proposes; needs the extra `optuna`.

    The objectives are accuracy on the selection part, and each cost whose budget is explored. Proposals
    come after all listed trials; the searches of listed budgets by the same controller within the ranges
    are known to the sampler. They are trained with the first seed of the experiment.

    Attributes:
      budgets: Cost -> lowest and highest limit, both shares of the uniform 8-bit network (up to 1) or
        both amounts in the unit of the cost (above 1). Limits on several costs hold at once.
      trials: How many budgets are proposed; >= 1.
      controller: Which of the experiment's controllers searches: its place, from 0, or its name.
      seed: Of the sampler.

    Raises:
      ConfigError: a number out of its range, or a range that holds fewer budgets than are to be proposed.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    budgets: dict[str, tuple[float, float]]
    trials: int
    controller: int | str = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.budgets or self.trials < 1 or not 0 <= self.seed < 2**32:
            raise ConfigError(
                f"explore needs a range of budgets, trials >= 1 and 0 <= seed < 2^32, got {self}."
            )
        for cost, (low, high) in self.budgets.items():
            if not 0 < low < high < math.inf or low <= 1 < high:
                raise ConfigError(
                    f"explore.budgets {cost} = [{low:g}, {high:g}] is no range: write the lower end first, "
                    "both as shares up to 1, or both as amounts above 1."
                )
        room = math.prod(_values(*ends) for ends in self.budgets.values())
        if room < self.trials:
            raise ConfigError(
                f"explore.trials = {self.trials}, but its ranges hold {room} budgets of {DIGITS} digits. "
                "Widen them."
            )

    def within(self, budget: Mapping[str, float | str]) -> dict[str, float] | None:
        """A budget as numbers if it lies within the ranges; None for any other."""
        numbers = {cost: limit for cost, limit in budget.items() if isinstance(limit, (int, float))}
        if numbers.keys() != self.budgets.keys() or len(numbers) < len(budget):
            return None
        inside = all(low <= numbers[cost] <= high for cost, (low, high) in self.budgets.items())
        return numbers if inside else None

    def rounded(self, budget: Mapping[str, float]) -> dict[str, float]:
        """A budget of the ranges with four significant digits, still within them."""
        return {
            cost: min(max(float(f"{limit:.{DIGITS}g}"), self.budgets[cost][0]), self.budgets[cost][1])
            for cost, limit in budget.items()
        }

    def ends(self) -> tuple[dict[str, float], dict[str, float]]:
        """The smallest and the largest budget of the ranges."""
        ends = self.budgets.items()
        return {cost: low for cost, (low, _) in ends}, {cost: high for cost, (_, high) in ends}

    def middle(self) -> dict[str, float]:
        """The budget in the (geometric) middle, which stands for those that are not proposed yet."""
        return self.rounded({cost: math.sqrt(low * high) for cost, (low, high) in self.budgets.items()})


def refuse_without_optuna() -> None:
    """Raise a ConfigError where the package that proposes budgets is missing."""
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            "[explore] needs the package optuna, which is not installed. Install it with: "
            "pip install 'mpnas[optuna]'."
        )


def _values(low: float, high: float) -> int:
    """How many numbers of four significant digits a range holds, its ends included."""
    count = 0
    for exponent in range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1):
        step = 10.0 ** (exponent - DIGITS + 1)
        # Half a thousandth of a step against rounding: 0.3 / 0.1 is below 3.
        first = max(math.ceil(low / step - 5e-4), 10 ** (DIGITS - 1))
        last = min(math.floor(high / step + 5e-4), 10**DIGITS - 1)
        count += max(0, last - first + 1)
    return count
