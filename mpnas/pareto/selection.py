"""Pick one point of a front: the best network that a device can afford.

What is bounded is given away, what is not bounded is optimised: with maxima the most accurate
point under them; with an allowed drop alone the cheapest point within it.
"""

from collections.abc import Mapping
from typing import Any

from mpnas.errors import BudgetError, FrontFileError, nearest
from mpnas.pareto.objectives import TEST_PREFIX, first_cost, value_of


def pick(
    front: Mapping[str, Any],
    maxima: Mapping[str, float],
    max_drop: float | None = None,
    metric: str = "accuracy",
) -> dict[str, Any]:
    """The point of a front to use under the given bounds.

    Args:
      front: A document that `load` or `build` returned.
      maxima: Cost -> largest amount allowed, in the cost's unit; may be empty.
      max_drop: Largest loss of the metric against the mean of the float references, in the
        metric's unit (0.01 = one point of accuracy); None allows any.
      metric: The metric to judge by, measured on the selection part.

    Returns:
      A nondominated point: the best metric, then the lowest first cost, then the lowest id. With
      `max_drop` and no maxima the lowest first cost decides, then the metric.

    Raises:
      BudgetError: No point fits; says what the front offers.
      FrontFileError: The front has no such metric or cost, the metric is of the test part, or
        `max_drop` is given and there is no float network to drop from.
    """
    judge = _objective(front, metric, "metric")
    if metric.startswith(TEST_PREFIX):
        raise FrontFileError(f"'{metric}' is measured on the test part, which selects nothing.")
    bounds = [(_objective(front, name, "cost"), maximum) for name, maximum in maxima.items()]
    sign = -1.0 if judge["direction"] == "max" else 1.0
    candidates = [point for point in front["points"] if point["nondominated"]]
    if not candidates:
        raise BudgetError("the front has no points; see its rejected trials for the reasons.")
    start = None if max_drop is None else _float_metric(front, judge, max_drop)
    # Computed drops carry rounding of the order 1e-16; 0.9 - 0.89 must fit a drop of 0.01.
    loss = None if start is None or max_drop is None else sign * start + max_drop + 1e-12
    fitting = [
        point for point in candidates
        if all(value_of(point, cost) <= maximum for cost, maximum in bounds)
        and (loss is None or sign * value_of(point, judge) <= loss)
    ]
    if not fitting:
        raise BudgetError(_nothing_fits(candidates, bounds, judge, max_drop, start))
    cheap = first_cost(front)

    def order(point: dict[str, Any]) -> tuple[float, float, str]:
        cost, badness = value_of(point, cheap), sign * value_of(point, judge)
        both = (cost, badness) if max_drop is not None and not maxima else (badness, cost)
        return (*both, point["id"])

    return min(fitting, key=order)


def _objective(front: Mapping[str, Any], name: str, kind: str) -> dict[str, Any]:
    known = {o["name"]: o for o in front["objectives"] if o["kind"] == kind}
    if name not in known:
        raise FrontFileError(f"the front has no {kind} '{name}'; nearest: {nearest(name, known)}.")
    return known[name]


def _float_metric(front: Mapping[str, Any], judge: Mapping[str, Any], max_drop: float) -> float:
    """What the float networks reach, on the mean."""
    floats = [value_of(r, judge) for r in front["references"] if r["kind"] == "float"]
    if not floats:
        raise FrontFileError(
            "a largest drop needs a float network among the references, and this front has none. "
            "Give maxima instead."
        )
    if not max_drop >= 0:
        raise BudgetError(f"the largest drop must be at least 0, got {max_drop}.")
    return sum(floats) / len(floats)


def _nothing_fits(
    candidates: list[dict[str, Any]],
    bounds: list[tuple[dict[str, Any], float]],
    judge: Mapping[str, Any],
    max_drop: float | None,
    start: float | None,
) -> str:
    asked = [f"{cost['name']} <= {_said(cost, maximum)}" for cost, maximum in bounds]
    if max_drop is not None and start is not None:
        drop = f"{100 * max_drop:g} points" if judge["unit"] == "fraction" else f"{max_drop:g}"
        asked.append(f"{judge['name']} within {drop} of the float network's {_said(judge, start)}")
    offers = []
    for objective in [*(cost for cost, _ in bounds), judge]:
        values = [value_of(point, objective) for point in candidates]
        low, high = _said(objective, min(values)), _said(objective, max(values))
        offers.append(f"{objective['name']} {low}" + (f" to {high}" if high != low else ""))
    return (
        f"no point of the front has {' and '.join(asked)}; it offers {', '.join(offers)}. "
        "Loosen the bounds, or sweep with other budgets."
    )


def _said(objective: Mapping[str, Any], value: float) -> str:
    """A value as a person reads it: 20,000 and 79.31 %."""
    if objective["unit"] == "fraction":
        return f"{100 * value:.2f} %"
    # Six digits would turn a million into 1e+06.
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.6g}"
