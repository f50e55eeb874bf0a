"""Scale estimators: where the width of one integer step, and the zero point, come from.

An estimator is a frozen configuration; what it learns or observes lives in two plain dicts that
the caller keeps. Exactness rests on one rule that every estimator follows: under `jit`, XLA turns
x / (a / b) into x * b / a and contracts a * b + c, so a scale is no bare quotient and sums no
product. Then the same codes come out compiled or not. A sum over a group may differ in its last bits
between two programs: `coarse` takes them off.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, section 3 (nudged zero point).
"""

import abc
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.gradient import Gradient
from mpnas.quant.granularity import Granularity

# Smallest scale, in the units of the values: keeps the all-zero group (a pruned or dead channel)
# from dividing by zero, and lies far below the step of any weight that matters.
SCALE_FLOOR = 1e-8

# One array per quantity, shape (groups,).
Params = dict[str, Float[Array, "..."]]
Stats = dict[str, Float[Array, "..."]]


class Range(NamedTuple):
    """Where the codes of each group lie on the real line.

    Attributes:
      scale: Width of one step, in the units of the values; > 0.
      zero_point: Whole number, as float, whose code means 0.0; None for symmetric formats.
    """

    scale: Float[Array, "groups"]
    zero_point: Float[Array, "groups"] | None


class ScaleEstimator(Protocol):
    """Finds the range of a tensor from its values, from trained and from observed quantities.

    A member says what it does differently: by default it serves every integer format, trains and
    observes nothing, quantizes values as they are, and does not read them to find their range.
    """

    def check(self, fmt: IntFormat) -> None:
        """Raises ConfigError, with the way out, if this estimator cannot serve `fmt`."""
        return None

    def init(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Params, Stats]:
        """Quantities trained by gradient and quantities observed, `(groups,)`, from a sample."""
        return {}, {}

    def observe(
        self, x: Float[Array, "..."], stats: Stats, fmt: IntFormat, granularity: Granularity
    ) -> Stats:
        """The observed quantities after seeing one more `x`."""
        return stats

    @abc.abstractmethod
    def range(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> Range:
        """The range with which to quantize `shape(x)`."""

    def shape(
        self,
        x: Float[Array, "*shape"],
        params: Params,
        fmt: IntFormat,
        granularity: Granularity,
        gradient: Gradient,
    ) -> Float[Array, "*shape"]:
        """The values that are put on the grid in the place of `x`: bent, or clipped by `gradient`."""
        return x

    def settled(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> tuple["ScaleEstimator", Params]:
        """An estimator, and its parameters, that quantizes as this one does `x`, for any part of `x`.

        What this one reads off `x` is then stored: groups of `x` may lose elements, or go.
        """
        return self, params


def covering_range(
    low: Float[Array, "groups"], high: Float[Array, "groups"], fmt: IntFormat
) -> Range:
    """The finest range of `fmt` that reaches from `low` to `high`.

    Symmetric formats take the smallest scale with `low >= (qmin + offset) * scale` and
    `high <= (qmax + offset) * scale`; unsigned ones cannot reach below 0 and clip there.
    Asymmetric formats widen the range to contain 0 and nudge it until 0.0 is a code.

    Args:
      low: Smallest value per group.
      high: Largest value per group; `high >= low`.
      fmt: Integer format.

    Returns:
      The range; its scale is at least `SCALE_FLOOR`.
    """
    if not fmt.symmetric:
        return _nudged_range(jnp.minimum(low, 0.0), jnp.maximum(high, 0.0), fmt)
    scale = jnp.full_like(high, SCALE_FLOOR)
    for end, level in ((low, fmt.qmin + fmt.offset), (high, fmt.qmax + fmt.offset)):
        if level:
            scale = jnp.maximum(scale, end * np.float32(1 / level))
    return Range(scale, None)


def grid_ends(scale: Float[Array, "groups"], fmt: IntFormat) -> tuple[Array, Array]:
    """Smallest and largest value of a symmetric `fmt` at this scale, `(groups,)` each."""
    return scale * (fmt.qmin + fmt.offset), scale * (fmt.qmax + fmt.offset)


def coarse(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x` to 13 significant bits, within 0.013 %, so that last bits of a sum do not reach a scale."""
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=12)


def refuse_zero_point(estimator: object, fmt: IntFormat, finds: str) -> None:
    """Raises ConfigError for an asymmetric format, at an estimator that `finds` no zero point."""
    if not fmt.symmetric:
        raise ConfigError(
            f"{type(estimator).__name__} {finds} without a zero point, got the asymmetric {fmt}. "
            "Use symmetric=True, or MinMax or MovingAverage for the scale."
        )


def needed(estimator: object, params: Params, name: str) -> Float[Array, "groups"]:
    """The parameter `name` of an estimator.

    Raises:
      ValueError: It is missing.
    """
    if name not in params:
        raise ValueError(
            f"{type(estimator).__name__} needs the parameter '{name}', got {sorted(params)}. "
            "Make it from a sample with Quantizer.init and pass it as params."
        )
    return params[name]


def _nudged_range(low: Array, high: Array, fmt: IntFormat) -> Range:
    """Jacob's asymmetric range for `low <= 0 <= high`."""
    scale = jnp.maximum((high - low) * np.float32(1 / (fmt.qmax - fmt.qmin)), SCALE_FLOOR)
    zero_point = jnp.clip(jnp.round(fmt.qmin - low / scale), fmt.qmin, fmt.qmax)
    return Range(scale, zero_point)
