"""Hypervolume: the size of everything that a set of points beats, up to a reference point.

Two objectives are swept in one pass, three in slices of two; more are counted by the exclusive volume of
each point in turn, exact for any number of objectives and meant for fronts of some dozens of points.

Source: While, Bradstreet, Barone, IEEE Trans. Evol. Comput. 16(1), 2012, "A fast way of
calculating exact hypervolumes" (WFG), section III.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from mpnas.pareto.dominance import nondominated, oriented


def hypervolume(values: ArrayLike, directions: Sequence[str], reference: Sequence[float]) -> float:
    """Volume of the union of the boxes between each point and the reference point.

    Args:
      values: (N, M), one row per point, finite.
      directions: M words, "max" or "min".
      reference: M finite values; a point that is not strictly better in every objective adds 0.

    Returns:
      The volume, in the product of the objectives' units; 0.0 for no points; infinite or NaN where no
      float holds it.

    Raises:
      ValueError: Shapes do not fit, or a value is not finite.

    >>> hypervolume([[3, 1], [1, 3]], ["max", "max"], [0, 0])
    5.0
    """
    gains = oriented(values, directions) - oriented([reference], directions)
    gains = gains[(gains > 0).all(axis=1)]
    with np.errstate(over="ignore", invalid="ignore"):  # the caller sees that it is not finite
        if len(directions) == 2:
            return _sweep(gains)
        return _slices(_front(gains)) if len(directions) == 3 else _exclusive_sum(_front(gains))


def _sweep(gains: Float[np.ndarray, "n 2"]) -> float:
    width, top = gains[np.argsort(-gains[:, 0], kind="stable")].T
    height = np.maximum.accumulate(np.concatenate([[0.0], top]))
    # A sum from left to right, as cumsum's, is the same for the same points in every file.
    return float(np.cumsum(np.concatenate([[0.0], width * np.diff(height)]))[-1])


def _slices(gains: Float[np.ndarray, "n 3"]) -> float:
    # From the third objective's top down, what is beaten at each level is the area of those above it.
    gains = gains[np.argsort(-gains[:, 2], kind="stable")]
    depth = -np.diff(np.concatenate([gains[:, 2], [0.0]]))
    return float(sum(_sweep(gains[: k + 1, :2]) * depth[k] for k in range(len(gains)) if depth[k] > 0))


def _front(gains: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "k m"]:
    distinct = np.unique(gains, axis=0)
    return distinct[nondominated(distinct, ["max"] * gains.shape[1])]


def _exclusive_sum(gains: Float[np.ndarray, "n m"]) -> float:
    # What a point alone beats = its box, less what the later points beat inside that box.
    volume = 0.0
    for index, gain in enumerate(gains):
        inside = np.minimum(gains[index + 1 :], gain)
        shared = _exclusive_sum(_front(inside)) if len(inside) else 0.0
        volume += float(np.prod(gain)) - shared
    return volume
