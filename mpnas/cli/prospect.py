"""What a plan amounts to before anything runs: trials, budgets as numbers, what cannot work.

Everything that can be wrong with an experiment is found here, before a run folder exists.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from mpnas.cli.printing import row
from mpnas.cost import Budget, Cost, achievable, refuse_impossible
from mpnas.errors import BudgetError, ConfigError
from mpnas.pareto.summary import budget_text
from mpnas.report.tables import amount_text, table_of
from mpnas.space import Space
from mpnas.sweep.bench import Bench, bench_of
from mpnas.sweep.explore import refuse_without_optuna
from mpnas.sweep.folder import has_result
from mpnas.sweep.plan import Plan
from mpnas.sweep.point import float_model
from mpnas.sweep.worker import prepare


@dataclasses.dataclass(frozen=True)
class Limit:
    """One limit of one budget.

    Attributes:
      asked: The budget as it was asked for, on one line.
      cost, unit: What is limited.
      limit: The largest amount allowed.
      low, high: What assignments of the space can cost.
    """

    asked: str
    cost: str
    unit: str
    limit: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the limit can be met, in a word or two."""
        if self.limit < self.low:
            return "impossible"
        return "no limit" if self.limit >= self.high else "feasible"


@dataclasses.dataclass(frozen=True)
class Prospect:
    """A plan whose model, data, space, controllers and weights are sound.

    Attributes:
      plan: The plan.
      bench: Data and networks.
      limits: Every limit of every budget.
      refusal: Why the first impossible budget is refused; None if all can be met.
    """

    plan: Plan
    bench: Bench
    limits: tuple[Limit, ...]
    refusal: str | None

    @property
    def space(self) -> Space:
        """What may vary."""
        return self.bench.net.space

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What is counted."""
        return self.bench.costs

    def refuse(self) -> None:
        """Raise a BudgetError if a budget cannot be met."""
        if self.refusal is not None:
            raise BudgetError(self.refusal)


def prospect(plan: Plan) -> Prospect:
    """The prospect of a plan; nothing is trained and nothing is written.

    Raises:
      MpnasError: anything in the experiment that would stop its trials, budgets excepted.
    """
    if plan.experiment.explore is not None:
        refuse_without_optuna()
    configure_process(plan.threads)
    if plan.experiment.weights is not None:
        float_model(plan.experiment, plan.data_dir)
    bench = bench_of(plan)
    space, costs = bench.net.space, bench.costs
    if not space.choices:
        raise ConfigError(
            "the rules of the space open no choice, so there is nothing to search. Add bit-widths."
        )
    ranges, units = achievable(costs, space), {cost.name: cost.unit for cost in costs}
    limits, refusal = [], None
    explore = plan.experiment.explore
    for asked in (*plan.experiment.budgets, *(explore.ends() if explore else ())):
        budget = Budget(asked)
        for name, limit in budget.absolute(space, costs).items():
            limits.append(Limit(budget_text(asked), name, units[name], limit, *ranges[name]))
        try:
            refuse_impossible(budget, costs, space)
        except BudgetError as error:
            refusal = refusal or str(error)
    return Prospect(plan, bench, tuple(limits), refusal)


def configure_process(threads: int) -> None:
    """Compute as a worker of the plan does; must come before the first array is made."""
    os.environ["NPROC"] = str(threads)
    # On an accelerator the driver must leave the memory to the workers, which start after it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    prepare()


def trials_text(plan: Plan) -> str:
    """How many trials, by kind: `34 trials: 3 float, 6 uniform, 20 search, 5 random`; then those to come."""
    counts = Counter(trial.kind for trial in plan.trials)
    total = len(plan.trials)
    kinds = ", ".join(f"{counts[k]} {k}" for k in ("float", "uniform", "random", "search") if counts[k])
    coming = f", and {plan.unproposed} under budgets to be proposed" if plan.unproposed else ""
    return f"{total} trial{'s' if total != 1 else ''}: {kinds}{coming}"


def done_text(plan: Plan, folder: Path) -> str:
    """How many trials have a result already."""
    done = sum(has_result(folder, trial.id) for trial in plan.trials)
    return f"{done} of {len(plan.trials)} are done already" if done else "none is done yet"


def budget_table(limits: tuple[Limit, ...]) -> Table:
    """Budgets as absolute numbers, beside what the space can reach."""
    amounts = ["limit", "lowest possible", "highest possible"]
    table = table_of("Budgets", ["asked", "cost"], amounts, ["verdict"])
    for one in limits:
        numbers = (amount_text(number) for number in (one.limit, one.low, one.high))
        row(table, one.asked, f"{one.cost} [{one.unit}]", *numbers, one.verdict)
    return table


def cost_table(
    costs: Sequence[Cost],
    ranges: Mapping[str, tuple[float, float]],
    uniform: Mapping[int, Mapping[str, float]],
) -> Table:
    """What every cost can be, and what uniform networks cost."""
    bits = [f"uniform {width}-bit" for width in uniform]
    table = table_of("Costs", ["cost", "unit"], ["lowest", "highest", *bits])
    for cost in costs:
        numbers = [*ranges[cost.name], *(found[cost.name] for found in uniform.values())]
        row(table, cost.name, cost.unit, *map(amount_text, numbers))
    return table
