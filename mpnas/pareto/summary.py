"""Summaries over seeds: mean and spread of what the same trial gives when its seed changes.

Points that differ only in seed share a label, so a label is the key to average over.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpnas.pareto.bits import Sites, main_bits


def stat(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (n - 1; None for one value), count and the values.

    >>> stat([0.5, 1.0])["mean"], stat([0.5])["std"]
    (0.75, None)
    """
    numbers = [float(value) for value in values]
    spread = statistics.stdev(numbers) if len(numbers) > 1 else None
    return {"mean": statistics.fmean(numbers), "std": spread, "n": len(numbers), "values": numbers}


def label_of(record: Mapping[str, Any], sites: Sites) -> str:
    """What a trial is, without its seed: "gumbel weight_bytes=25%", "uniform 8-bit", "float".

    Args:
      record: Has kind, controller, budget and assignment.
      sites: Site -> kind, decisions, parameters, macs; a uniform network is named by its bits.
    """
    if record["kind"] == "float":
        return "float"
    if record["kind"] == "uniform":
        weight = main_bits(record["assignment"], sites, "weight")
        activation = main_bits(record["assignment"], sites, "activation")
        if weight is not None:
            alike = activation in (None, weight)
            return f"uniform {weight}-bit" if alike else f"uniform W{weight}A{activation}"
    return " ".join([record["controller"] or record["kind"], budget_text(record["budget"])]).strip()


def budget_text(budget: Mapping[str, float | str]) -> str:
    """A budget on one line, keys sorted.

    >>> budget_text({"weight_bytes": "25%", "bops": 1e6})
    'bops=1000000 weight_bytes=25%'
    """
    return " ".join(f"{key}={_amount(budget[key])}" for key in sorted(budget))


def _amount(asked: float | str) -> str:
    return asked if isinstance(asked, str) else f"{asked:.12g}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedMean:
    """Points of one label, averaged.

    Attributes:
      label: What they share; see `label_of`.
      kind, controller, budget: As in the points.
      seeds: Their seeds, ascending.
      points: Their ids, in the order of the seeds.
      metrics: Metric -> stat over the points; only metrics that all of them have.
      costs: Cost -> stat over the points; only costs that all of them have.
    """

    label: str
    kind: str
    controller: str | None
    budget: dict[str, float | str]
    seeds: list[int]
    points: list[str]
    metrics: dict[str, dict[str, Any]]
    costs: dict[str, dict[str, Any]]


def over_seeds(points: Iterable[Mapping[str, Any]]) -> list[SeedMean]:
    """One `SeedMean` per label, in the order in which the labels first appear."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for point in points:
        groups.setdefault((point["kind"], point["label"]), []).append(point)
    return [_mean(sorted(group, key=lambda p: (p["seed"], p["id"]))) for group in groups.values()]


def _mean(group: list[Mapping[str, Any]]) -> SeedMean:
    first = group[0]
    metrics = [{name: found["mean"] for name, found in p["metrics"].items()} for p in group]
    return SeedMean(
        label=first["label"],
        kind=first["kind"],
        controller=first["controller"],
        budget=first["budget"],
        seeds=[p["seed"] for p in group],
        points=[p["id"] for p in group],
        metrics=_common(metrics),
        costs=_common([p["costs"] for p in group]),
    )


def _common(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    names = sorted(set.intersection(*(set(row) for row in rows)))
    return {name: stat([row[name] for row in rows]) for name in names}


def standard_error(*stats: Mapping[str, Any]) -> float | None:
    """Standard error of a difference of independent means; None if one has a single value."""
    if any(found["std"] is None for found in stats):
        return None
    return math.sqrt(sum(found["std"] ** 2 / found["n"] for found in stats))
