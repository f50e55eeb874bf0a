"""Dominance: which points no other point beats.

A point is off the front if and only if another one is at least as good in every objective and
strictly better in one. Exact ties beat nobody, so both stay; a point that only ties in one
objective and loses in another goes.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

_BLOCK = 256  # rows compared at once: memory grows as block * N * M, not N * N * M


def oriented(values: ArrayLike, directions: Sequence[str]) -> Float[np.ndarray, "n m"]:
    """Objective values with signs such that larger is better in every column.

    Args:
      values: One row per point, one column per objective, all finite.
      directions: "max" or "min" for each column.

    Raises:
      ValueError: Shapes do not fit, a direction is neither word, or a value is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, len(directions))
    if array.ndim != 2 or array.shape[1] != len(directions):
        raise ValueError(
            f"values needs one column per direction, got {array.shape} for {list(directions)}."
        )
    if unknown := set(directions) - {"max", "min"}:
        raise ValueError(f"a direction is 'max' or 'min', got {sorted(unknown)}.")
    if not np.isfinite(array).all():
        raise ValueError("dominance needs finite values; a NaN is neither better nor worse.")
    return array * np.array([1.0 if word == "max" else -1.0 for word in directions])


def nondominated(values: ArrayLike, directions: Sequence[str]) -> Bool[np.ndarray, "n"]:
    """True for each point that no other point dominates.

    Args:
      values: (N, M), one row per point and one column per objective, all finite.
      directions: M words, "max" or "min".

    Returns:
      (N,) mask. Equal rows get equal answers.

    Raises:
      ValueError: As in `oriented`.

    >>> nondominated([[0.9, 10], [0.9, 12], [0.8, 5], [0.8, 5]], ["max", "min"]).tolist()
    [True, False, True, True]
    """
    points = oriented(values, directions)
    mask = np.ones(len(points), dtype=bool)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK, None, :]
        as_good = (points[None] >= block).all(axis=-1)
        better = (points[None] > block).any(axis=-1)
        mask[start : start + _BLOCK] = ~np.any(as_good & better, axis=1)
    return mask
