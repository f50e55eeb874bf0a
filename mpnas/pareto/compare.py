"""Two fronts held against each other: by volume, by epsilon, cost by cost, and over their seeds.

Source: Zitzler, Thiele, Laumanns, Fonseca, Grunert da Fonseca, IEEE Trans. Evol. Comput. 7(2), 2003,
"Performance assessment of multiobjective optimizers", section III: one front is better than another
only if the epsilon indicator says so both ways; hypervolume alone orders what nothing else does.
Objectives are brought to [0, 1] by the best and worst values of both fronts' nondominated points
(Knowles, Thiele, Zitzler, TIK report 214, 2006, section 3.5).
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mpnas.errors import FrontFileError
from mpnas.pareto.bootstrap import Interval, volume_difference
from mpnas.pareto.dominance import oriented
from mpnas.pareto.front import corner_of
from mpnas.pareto.hypervolume import hypervolume
from mpnas.pareto.objectives import directions_of, on_front, table_of, value_of

Front = Mapping[str, Any]
NORMALISATION = "each objective from 0 to 1, from the worst to the best of both fronts' nondominated points"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stretch:
    """An interval of the first cost in which the same front is better.

    Attributes:
      start: From this cost on, in the cost's unit.
      end: Up to below this cost; None for all costs from `start` on.
      better: "A", "B", or "equal".
      only: Whether the other front has no point as cheap.
      gap: Largest difference of the metric within it, >= 0, in its unit; None where `only`.
    """

    start: float
    end: float | None
    better: str
    only: bool
    gap: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two fronts A and B are to each other.

    Attributes:
      objectives: Names of the objectives that decide, in file order.
      points: Nondominated points of (A, B).
      reference_point: Objective -> the value that hypervolumes are counted from, the same for both.
      rule: How it was chosen.
      hypervolume: Of (A, B), in the product of the objectives' units.
      share: The same as fractions of the box between the reference point and the best values of both.
      epsilon: (by how much A must improve to be nowhere worse than B, the same of B against A), on
        objectives brought to [0, 1]: additive, <= 0 if it already is; None if a front has no points.
      normalisation: How they were brought there.
      stretches: Where along the first cost which front has the better metric.
      bootstrap: Interval of the difference A - B of hypervolumes, over seeds.
      notes: What to know when reading the numbers, as sentences.
    """

    objectives: list[str]
    points: tuple[int, int]
    reference_point: dict[str, float]
    rule: str
    hypervolume: tuple[float, float]
    share: tuple[float, float] | None
    epsilon: tuple[float, float] | None
    normalisation: str
    stretches: list[Stretch]
    bootstrap: Interval
    notes: list[str]


def compare(one: Front, other: Front, samples: int = 1000) -> Comparison:
    """How front A (`one`) and front B (`other`) stand to each other.

    Args:
      one, other: Documents that `load` or `build` returned.
      samples: Resamplings of the bootstrap; >= 1.

    Raises:
      FrontFileError: They decide by different objectives or cost models or on different data, or their
        numbers are too large to be multiplied.
    """
    _refuse_incomparable(one, other)
    axes = on_front(one["objectives"])
    fronts = [[point for point in front["points"] if point["nondominated"]] for front in (one, other)]
    corner, rule = _corner(one, other, axes)
    limits = list(corner.values())
    values = [oriented(table_of(points, axes), directions_of(axes)) for points in fronts]
    base = oriented([limits], directions_of(axes))[0]
    volumes = [_volume(points, axes, limits) for points in fronts]
    if not all(map(math.isfinite, volumes)):
        raise FrontFileError("the numbers of these fronts are too large for a hypervolume.")
    return Comparison(
        objectives=[axis["name"] for axis in axes],
        points=(len(fronts[0]), len(fronts[1])),
        reference_point=corner,
        rule=rule,
        hypervolume=(volumes[0], volumes[1]),
        share=_shares(values, volumes, base),
        epsilon=_epsilons(values[0], values[1]) if fronts[0] and fronts[1] else None,
        normalisation=NORMALISATION,
        stretches=stretches(one, other),
        bootstrap=volume_difference(one["points"], other["points"], axes, limits, samples),
        notes=_notes(one, other, axes),
    )


def _refuse_incomparable(one: Front, other: Front) -> None:
    keys = ("name", "direction", "unit", "kind", "cost_model")
    models = [{model["id"]: model for model in front["cost_models"]} for front in (one, other)]
    axes = [[{k: o.get(k) for k in keys} for o in on_front(front["objectives"])] for front in (one, other)]
    if axes[0] != axes[1]:
        names = [", ".join(axis["name"] for axis in found) for found in axes]
        why = f"{names[0]} against {names[1]}" if names[0] != names[1] else "units, directions or cost models"
        raise FrontFileError(f"the fronts decide by different objectives: {why}. Sweep for the same ones.")
    for axis in axes[0]:
        model = axis["cost_model"]
        if axis["kind"] == "cost" and models[0][model] != models[1][model]:
            raise FrontFileError(
                f"the fronts count {axis['name']} differently: see their cost model '{model}'."
            )
    for key in ("name", "select_part"):
        found = [front["run"]["dataset"][key] for front in (one, other)]
        if found[0] != found[1]:
            raise FrontFileError(
                f"the fronts are measured on different data: {key} is '{found[0]}' against '{found[1]}'."
            )
    digests = [front["run"]["dataset"].get("sha256") for front in (one, other)]
    if all(digests) and digests[0] != digests[1]:
        raise FrontFileError(
            "the fronts are measured on different data: both are called "
            f"'{one['run']['dataset']['name']}', but hold other examples (SHA-256 {digests[0][:12]}... "
            f"against {digests[1][:12]}...)."
        )


def _corner(one: Front, other: Front, axes: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], str]:
    points, references = ([*one[part], *other[part]] for part in ("points", "references"))
    floats = [reference for reference in references if reference["kind"] == "float"]
    dearest = floats or points + references
    costs = "the dearest float network of both" if floats else "the dearest network of both"
    rule = f"costs of {costs}; metrics 0, or the worst measured if less is better"
    if not dearest:
        return {axis["name"]: 0.0 for axis in axes}, rule
    return corner_of(axes, dearest, points + references), rule


def _volume(points: Sequence[Any], axes: Sequence[Any], limits: Sequence[float]) -> float:
    return hypervolume(table_of(points, axes), directions_of(axes), limits)


def _shares(
    values: Sequence[Float[np.ndarray, "n m"]], volumes: Sequence[float], base: Float[np.ndarray, "m"]
) -> tuple[float, float] | None:
    # Points beyond the reference point count nothing, so they do not stretch the box either.
    everything = np.concatenate(values)
    sides = np.maximum(everything, base).max(axis=0) - base if len(everything) else [0.0]
    box = math.prod(map(float, sides))
    return (volumes[0] / box, volumes[1] / box) if box > 0 else None


def _epsilons(one: Float[np.ndarray, "n m"], other: Float[np.ndarray, "k m"]) -> tuple[float, float]:
    low, high = np.min([*one, *other], axis=0), np.max([*one, *other], axis=0)
    span = np.where(high > low, high - low, 1.0)
    left, right = (one - low) / span, (other - low) / span
    return epsilon(left, right), epsilon(right, left)


def epsilon(one: Float[np.ndarray, "n m"], other: Float[np.ndarray, "k m"]) -> float:
    """Additive epsilon indicator: the least that, added to all of `one`, leaves none of `other` unmatched.

    Args:
      one, other: A row per point, larger is better in every column; none empty.

    >>> epsilon(np.array([[1.0, 2.0]]), np.array([[2.0, 1.0], [0.0, 2.5]]))
    1.0
    """
    return float((other[:, None] - one[None]).max(axis=2).min(axis=1).max())


def stretches(one: Front, other: Front) -> list[Stretch]:
    """Where along the first cost which front reaches the better metric at no higher cost.

    Both fronts are read as attainment step functions: the best metric of all points up to a cost.

    Returns:
      Intervals in ascending order, the first from the cheapest point of both, the last without end.
    """
    cost, metric = (on_front(one["objectives"], kind)[0] for kind in ("cost", "metric"))
    sign = 1.0 if metric["direction"] == "max" else -1.0
    steps = [_steps(front["points"], cost, metric, sign) for front in (one, other)]
    starts = sorted({start for line in steps for start, _ in line})
    found: list[Stretch] = []
    for start, end in itertools.zip_longest(starts, starts[1:]):
        left, right = (_reached(line, start) for line in steps)
        better = "equal" if left == right else "A" if left > right else "B"
        only = math.isinf(left) or math.isinf(right)
        gap = None if only else abs(left - right)
        last = found[-1] if found else None
        if last and (last.better, last.only) == (better, only):
            widest = None if gap is None or last.gap is None else max(gap, last.gap)
            found[-1] = dataclasses.replace(last, end=end, gap=widest)
        else:
            found.append(Stretch(start=start, end=end, better=better, only=only, gap=gap))
    return found


def _steps(points: Sequence[Any], cost: Any, metric: Any, sign: float) -> list[tuple[float, float]]:
    """(cost, best signed metric up to it), ascending in both."""
    found: list[tuple[float, float]] = []
    for price, gain in sorted((value_of(p, cost), sign * value_of(p, metric)) for p in points):
        if not found or gain > found[-1][1]:
            found.append((price, gain))
    return found


def _reached(line: Sequence[tuple[float, float]], cost: float) -> float:
    return max((gain for price, gain in line if price <= cost), default=-math.inf)


def _notes(one: Front, other: Front, axes: Sequence[Any]) -> list[str]:
    notes = []
    models = [front["run"]["model"]["name"] for front in (one, other)]
    if models[0] != models[1]:
        notes.append(f"The networks differ: A is of '{models[0]}', B of '{models[1]}'.")
    seeds = [len({point["seed"] for point in front["points"]}) for front in (one, other)]
    if seeds[0] != seeds[1]:
        notes.append(
            f"A has {seeds[0]} seeds and B has {seeds[1]}: a front keeps the best of its seeds, so more of "
            "them make it larger by chance alone."
        )
    if len(axes) > 2:
        notes.append(
            f"Cost by cost only {axes[0]['name']} and the first cost are looked at; hypervolume and epsilon "
            f"look at all {len(axes)} objectives."
        )
    return notes
