"""Bootstrap over seeds: how far the difference of two hypervolumes could be luck.

Trials of one label differ only in seed. A resampling draws, for each label, as many seeds as it has,
with replacement, and takes the points of those; a label with one seed stays as it is. The interval is
the percentile one: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mpnas.pareto.hypervolume import hypervolume
from mpnas.pareto.objectives import directions_of, table_of

LEVEL = 0.95
_SEED = 0  # the same fronts give the same interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval of a difference, or why there is none.

    Attributes:
      ends: (low, high); None without one.
      level: Share of the resamplings inside it.
      samples: Resamplings drawn; 0 without an interval.
      why: Why there is none; None if there is one.
      fixed: Labels of one seed in A and B, which no resampling could change.
    """

    ends: tuple[float, float] | None
    level: float
    samples: int
    why: str | None
    fixed: int


def volume_difference(
    one: Sequence[Mapping[str, Any]],
    other: Sequence[Mapping[str, Any]],
    axes: Sequence[Mapping[str, Any]],
    reference: Sequence[float],
    samples: int,
) -> Interval:
    """The interval of hypervolume(A) - hypervolume(B) over the seeds of both.

    Args:
      one, other: All points of A and of B, dominated ones too: another draw may bring them forth.
      axes: The objectives that decide.
      reference: One value per axis.
      samples: Resamplings; >= 1.
    """
    labels = [_seeds(points) for points in (one, other)]
    fixed = sum(len(seeds) == 1 for label in labels for seeds in label)
    for name, found in zip("AB", labels, strict=True):
        if all(len(seeds) == 1 for seeds in found):
            few = f"one seed: no interval (no label of {name} has a second one)"
            why = few if found else f"{name} has no points: no interval"
            return Interval(ends=None, level=LEVEL, samples=0, why=why, fixed=fixed)
    generator = np.random.default_rng(_SEED)
    tables = [table_of(points, axes) for points in (one, other)]
    differences = []
    for _ in range(samples):
        left, right = (
            hypervolume(_resampled(table, label, generator), directions_of(axes), reference)
            for table, label in zip(tables, labels, strict=True)
        )
        differences.append(left - right)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(differences, [tail, 100 - tail])
    return Interval(ends=(float(low), float(high)), level=LEVEL, samples=samples, why=None, fixed=fixed)


def _seeds(points: Sequence[Mapping[str, Any]]) -> list[list[list[int]]]:
    """For each label, for each of its seeds, the rows of its points; in an order that files share."""
    found: dict[str, dict[int, list[int]]] = {}
    for row, point in enumerate(points):
        found.setdefault(point["label"], {}).setdefault(point["seed"], []).append(row)
    return [[seeds[seed] for seed in sorted(seeds)] for _, seeds in sorted(found.items())]


def _resampled(
    table: Float[np.ndarray, "n m"], labels: list[list[list[int]]], generator: np.random.Generator
) -> Float[np.ndarray, "k m"]:
    rows: set[int] = set()  # a point drawn twice fills no more of the volume
    for seeds in labels:
        drawn = generator.integers(len(seeds), size=len(seeds)) if len(seeds) > 1 else [0]
        rows.update(row for seed in drawn for row in seeds[seed])
    return table[sorted(rows)]
