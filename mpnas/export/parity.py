"""Parity: how far what was exported is from the network that it was exported from, on the same inputs.

Every format is held against the discretised network in this one way, and the numbers go into the record
and the front beside the file (`artifacts.exports[].parity` of `mpnas/pareto/schema.json`).
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mpnas.errors import ExportError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """Agreement of an export with its network.

    Attributes:
      n: Number of inputs.
      mismatch_rate: Share of them with another answer, in [0, 1]: the largest output is elsewhere. With one
        output alone, that the output is not the same number.
      max_abs_diff: Largest difference of an output, in its units.
      metric_diff: Accuracy of the export minus that of the network, in [-1, 1]; None without labels.
    """

    n: int
    mismatch_rate: float
    max_abs_diff: float
    metric_diff: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As in a front; what was not measured is left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def parity_of(
    expected: Float[np.ndarray, "n ..."],
    found: Float[np.ndarray, "n ..."],
    labels: Int[np.ndarray, "n"] | None = None,
) -> Parity:
    """How far the outputs of an export are from those of the network.

    Args:
      expected: Outputs of the network; classes are the last axis.
      found: Outputs of the export for the same inputs in the same order.
      labels: Their true classes, for the difference of accuracy; outputs are then `(n, classes)`.

    Raises:
      ExportError: outputs of another shape, none at all, or one that is not finite.

    >>> parity_of(np.array([[0.0, 1.0], [3.0, 2.0]]), np.array([[0.0, 1.5], [2.0, 3.0]]))
    Parity(n=2, mismatch_rate=0.5, max_abs_diff=1.0, metric_diff=None)
    """
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if expected.shape != found.shape or not expected.size:
        raise ExportError(
            f"the export gives outputs {found.shape} where the network gives {expected.shape}, so they "
            "cannot be compared. Give both the same inputs, at least one."
        )
    rows = expected.reshape(len(expected), -1), found.reshape(len(found), -1)
    if bad := int(np.sum(~np.isfinite(rows).all(axis=(0, 2)))):
        raise ExportError(
            f"outputs of {bad} of {len(expected)} inputs are not finite, so nothing can be compared. Look "
            "for NaN in the network's weights and ranges."
        )
    classes = expected.shape[-1] if expected.ndim > 1 else 1
    wrong = rows[0] != rows[1] if classes == 1 else _answers(expected) != _answers(found)
    metric = None
    if labels is not None:
        metric = float(np.mean(found.argmax(-1) == labels) - np.mean(expected.argmax(-1) == labels))
    return Parity(
        n=len(expected), mismatch_rate=float(np.mean(wrong.any(axis=1))),
        max_abs_diff=float(np.abs(rows[0] - rows[1]).max()), metric_diff=metric,
    )


def _answers(outputs: np.ndarray) -> np.ndarray:
    """The place of the largest output, `(n, places)`; among equals the first."""
    return outputs.argmax(axis=-1).reshape(len(outputs), -1)
