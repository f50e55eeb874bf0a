"""Curves: smooth functions of one number as lookup tables of whole numbers.

A table has the function's values at evenly spaced places, and straight lines between them. With h between
two places it is nowhere further from the function than

    h^2 / 8 * max |f''|     between two places (the error of linear interpolation),
    |f(reach) - f(x)|       beyond them, where the table goes on as it ends,
    one step of the result  from rounding an entry, and what lies between two of them.

Here h is 2^-7 to 2^-9 and a step 2^-29 or 2^-30, so that a sigmoid is off by at most 7.4e-7: more than
float32 rounds by, and 1/5000 of a step of 8 bits. Where a gate is quantised that moves a code about as
seldom as the order of a float32 sum does.

Source: https://en.wikipedia.org/wiki/Linear_interpolation#Accuracy. The largest second derivatives, by
hand: of the logistic function s, s'' = s (1 - s) (1 - 2 s), largest at s = 1/2 - 1/sqrt(12); of
tanh(x) = 2 s(2 x) - 1 eight times that; of erf at x = 1 / sqrt(2).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import erf, erfc, expit

from mpnas.export.ops import Table

SEGMENTS = 2**12
LARGEST_ENTRY = 2**30
LOGISTIC_BEND = 1 / (6 * math.sqrt(3))
ERF_BEND = 4 / math.sqrt(2 * math.pi * math.e)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A function that hardly changes far from 0.

    Attributes:
      function: What it computes, on float64.
      reach: Half of the range of the table, which is from -reach to reach; a power of two.
      size: A power of two that the function does not exceed.
      bend: The largest of its second derivative.
    """

    function: Callable[[np.ndarray], np.ndarray]
    reach: float
    size: float
    bend: float

    @property
    def scale(self) -> float:
        """Real size of one step of the result."""
        return self.size / LARGEST_ENTRY

    @property
    def finest(self) -> float:
        """The smallest real size of a step of the input with which all of the table lies within int32."""
        return self.reach / 2**30

    @property
    def error(self) -> float:
        """How far the table can be from the function."""
        h = 2 * self.reach / SEGMENTS
        ends = np.array([-self.reach, self.reach])
        beyond = np.abs(self.function(ends) - self.function(np.array([-np.inf, np.inf]))).max()
        return max(h**2 / 8 * self.bend, float(beyond)) + self.scale

    @functools.cached_property
    def entries(self) -> np.ndarray:
        """The function's values in steps, int64 `(SEGMENTS + 1,)`."""
        places = np.linspace(-self.reach, self.reach, SEGMENTS + 1)
        return np.rint(self.function(places) / self.scale).astype(np.int64)

    def table(self, name: str, source: str, output: str, scale: float) -> Table:
        """The function of a sum.

        Args:
          name, source, output: Of the operation and its tensors.
          scale: Step of the sum, a power of two, at least `finest`.

        Raises:
          GraphError: the step is longer than a segment.
        """
        shift = round(math.log2(2 * self.reach / SEGMENTS / scale))
        return Table(name, source, output, self.entries, start=-round(self.reach / scale), shift=shift)


CURVES: Mapping[str, Curve] = {
    "logistic": Curve(expit, 16.0, 1.0, LOGISTIC_BEND),
    "tanh": Curve(np.tanh, 8.0, 1.0, 8 * LOGISTIC_BEND),
    "erf": Curve(erf, 4.0, 1.0, ERF_BEND),
    "erfc": Curve(erfc, 4.0, 2.0, ERF_BEND),
}
"""Name of the primitive in a program -> its function."""
