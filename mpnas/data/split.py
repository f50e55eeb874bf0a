"""An order of labelled rows over which every class is spread evenly: its slices are stratified.

Slices give disjoint parts of any size. A class of n rows has its rows at the fractions 1/2n, 3/2n,
... of the order. Large classes are so in every slice in proportion; one too small to be shared out
sits in the middle, and stays in the training part when the others are cut from the front.
"""

import numpy as np
from jaxtyping import Int

SPLIT_SEED = 0
"""Seed of every split: it must not vary from run to run, or runs would test on trained rows."""


def stratified_order(
    labels: Int[np.ndarray, " rows"], seed: int = SPLIT_SEED
) -> Int[np.ndarray, " rows"]:
    """A shuffled order of the rows, with each class spread evenly over it.

    Args:
      labels: Class of each row, any integers.
      seed: Which of the orders; the same in every numpy version.

    Returns:
      A permutation of `range(rows)`, int64.

    >>> order = stratified_order(np.array([0, 0, 0, 0, 1, 1]))
    >>> [sorted(np.array([0, 0, 0, 0, 1, 1])[part].tolist()) for part in (order[:3], order[3:])]
    [[0, 0, 1], [0, 0, 1]]
    """
    # RandomState's stream is frozen for good; a Generator's may change with numpy.
    shuffled = np.random.RandomState(seed).permutation(len(labels))
    _, classes, counts = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    by_class = np.argsort(classes, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(labels), np.float64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
    return shuffled[np.argsort((rank + 0.5) / counts[classes], kind="stable")]
