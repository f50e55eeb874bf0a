"""The costs of an experiment: the four of every network, those it names, and a person's own.

A cost of one's own is named `module:callable`, as a model is. The callable is given the options of its
table and returns an object with `name`, `unit`, `combine`, `counts` and `rows` (`mpnas.cost.base.Cost`),
which is tried on the cheapest and on the widest assignment before anything is trained.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mpnas.cost import COSTS, Cost, floor_assignment, soft_cost
from mpnas.errors import ConfigError, MpnasError
from mpnas.space import Space, Usage, usage
from mpnas.sweep.config import Experiment, known_cost, named
from mpnas.sweep.named import own_callable, told

PARTS = ("name", "unit", "combine", "counts", "rows")


def costs_of(experiment: Experiment) -> tuple[Cost, ...]:
    """Every cost of an experiment, those of every network first.

    Raises:
      ConfigError: an unknown name or option, a cost of one's own that is none, two of one name, or a
        budget on a cost that is not among them.
    """
    costs: list[Cost] = list(COSTS)
    for spec in experiment.costs:
        name, options = named(spec)
        cost: Cost = own_cost(name, options) if ":" in name else known_cost(spec)
        if cost.name in {other.name for other in costs}:
            raise ConfigError(f"cost '{cost.name}' is there twice. Delete one of them from costs.")
        costs.append(cost)
    experiment.refuse_budgets([cost.name for cost in costs])
    return tuple(costs)


@dataclasses.dataclass(frozen=True, eq=False)
class OwnCost:
    """A person's own cost, whose errors name its file and line.

    Attributes:
      spec: `module:callable`, as the experiment names it.
      inner: What the callable returned.
      name, unit, combine, counts: Its own, read once.
    """

    spec: str
    inner: Any
    name: str
    unit: str
    combine: Literal["sum", "max"]
    counts: Mapping[str, bool]

    def rows(self, space: Space, use: Usage) -> list[Any]:
        try:
            found = self.inner.rows(space, use)
        except MpnasError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - own code may raise anything
            raise ConfigError(f"cost '{self.spec}' cannot be counted: {told(error)}.") from error
        wanted, places = len(space.work.layers), "layer"
        if self.combine == "max":
            wanted, places = len(space.work.timeline), "moment"
        if not isinstance(found, list) or len(found) < wanted:
            got = f"{len(found)} rows" if isinstance(found, list) else f"a {type(found).__name__}"
            raise self.refusal(f"returns {got}. Return a list with one number per {places}, {wanted} here")
        return found

    def refusal(self, words: str) -> ConfigError:
        """An error in words that follow the name of the cost."""
        return ConfigError(f"cost '{self.spec}' {words}{_place(getattr(self.inner, 'rows', None))}.")

    def check(self, space: Space) -> None:
        """Try the cost on the cheapest and the widest assignment, and under JAX.

        Raises:
          ConfigError: it raises, returns something else than finite numbers >= 0, falls with more bits,
            or cannot be differentiated.
        """
        low, high = (self._number(space, a) for a in (floor_assignment(space), space.uniform(None)))
        if high < low:
            raise self.refusal(
                f"falls with more bits: {low:,.6g} at the lowest widths, {high:,.6g} at the highest; "
                "no budget would have a floor"
            )
        gates = {s: jnp.full((c.decisions, len(c.bits)), 1 / len(c.bits)) for s, c in space.choices.items()}
        try:
            jax.eval_shape(jax.grad(lambda mixed: soft_cost(self, space, mixed)), gates)
        except MpnasError:
            raise
        except Exception as error:  # noqa: BLE001 - own code may do anything
            raise self.refusal(f"is not differentiable in the gates: {_first_line(error)}") from error

    def _number(self, space: Space, assignment: Any) -> float:
        rows = self.rows(space, usage(space, space.one_hot(assignment)))
        for row in rows:
            for term in row if isinstance(row, tuple) else (row,):
                try:
                    sound = math.isfinite(float(term)) and float(term) >= 0
                except (TypeError, ValueError):
                    sound = False
                if not sound:
                    raise self.refusal(f"has the row {term!r}. Rows are finite numbers >= 0")
        return float(soft_cost(self, space, space.one_hot(assignment)))


def own_cost(name: str, options: Mapping[str, Any]) -> OwnCost:
    """The cost that `module:callable` makes from its options.

    Raises:
      ConfigError: the callable cannot be found or called, or what it returns is no cost.
    """
    make = own_callable(name, "costs")
    try:
        made = make(**options)
        found: dict[str, Any] = {part: getattr(made, part, None) for part in PARTS}
    except MpnasError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - own code may raise anything
        raise ConfigError(f"cost '{name}' cannot be made with {dict(options)}: {told(error)}.") from error

    def refuse(words: str) -> ConfigError:
        return ConfigError(f"cost '{name}' {words}{_place(make)}.")

    if missing := [part for part in PARTS if found[part] is None]:
        raise refuse(f"is a {type(made).__name__} without '{missing[0]}'. A cost has {', '.join(PARTS)}")
    for part in ("name", "unit"):
        if not isinstance(found[part], str) or not found[part].isidentifier():
            raise refuse(f"has {part} = {found[part]!r}. Write a word of letters, digits and _")
    if found["combine"] not in ("sum", "max"):
        raise refuse(f"has combine = {found['combine']!r}. Write 'sum' or 'max'")
    counts = found["counts"]
    if not isinstance(counts, Mapping) or not all(isinstance(flag, bool) for flag in counts.values()):
        raise refuse("has counts that are no table of true and false. Say what it includes")
    if not callable(found["rows"]):
        raise refuse("has rows that cannot be called. Write rows(space, use)")
    return OwnCost(name, made, found["name"], found["unit"], found["combine"], dict(counts))


def check_costs(costs: tuple[Cost, ...], space: Space) -> None:
    """Try every cost of one's own on a space; raises a ConfigError that names it."""
    for cost in costs:
        if isinstance(cost, OwnCost):
            cost.check(space)


def _place(written: Callable[..., Any] | None) -> str:
    """Where a callable is written: ` (file, line 3)`; nothing for one that does not tell."""
    try:
        assert written is not None
        return f" ({inspect.getsourcefile(written)}, line {inspect.getsourcelines(written)[1]})"
    except (AssertionError, OSError, TypeError):
        return ""


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")
