"""Hypervolume: the size of everything that a set of points beats, up to a reference point.

Two objectives are swept in one pass; more are counted by the exclusive volume of each point in
turn, exact for any number of objectives and meant for fronts of some dozens of points.

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
        return _sweep(gains) if len(directions) == 2 else _exclusive_sum(_front(gains))


def _sweep(gains: Float[np.ndarray, "n 2"]) -> float:
    volume, height = 0.0, 0.0
    for width, top in gains[np.argsort(-gains[:, 0], kind="stable")]:
        volume += float(width) * max(0.0, float(top) - height)
        height = max(height, float(top))
    return volume


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
