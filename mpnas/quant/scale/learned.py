"""Learned step size (LSQ): the scale is a parameter, trained with the weights.

Its gradient comes out of the quantizer's own expression (clip, then straight-through rounding);
this file only gives it a start and the size that lets steps and weights share a learning rate.

Source: Esser et al., ICLR 2020, https://arxiv.org/abs/1902.08153, eq. (3) and sections 2.1, 2.2.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.quant.format import IntFormat
from mpnas.quant.gradient import grad_scale
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import (
    SCALE_FLOOR,
    Params,
    Range,
    ScaleEstimator,
    Stats,
    covering_range,
    needed,
    refuse_zero_point,
)


@dataclasses.dataclass(frozen=True)
class LearnedStep(ScaleEstimator):
    """Scale from the parameter `step`, one per group; only for symmetric formats.

    Attributes:
      batched: The leading axis of `x` is the batch (activations), and does not count as elements
        of a group in the gradient's size.
    """

    batched: bool = False

    def check(self, fmt: IntFormat) -> None:
        """Raises ConfigError for an asymmetric format: LSQ has no zero point to learn."""
        refuse_zero_point(self, fmt, "learns a scale")

    def init(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Params, Stats]:
        """`step` = 2 * mean|x| / sqrt(qmax) per group (section 2.1); no statistics.

        Never wider than it takes to cover the sample: at 8 bits the formula would leave most codes
        unused, which costs accuracy until training has narrowed the step.
        """
        self.check(fmt)
        sample = x.astype(jnp.float32)
        magnitude = granularity.reduce(jnp.abs(sample), jnp.mean)
        step = magnitude * np.float32(2 / np.sqrt(_qmax(fmt)))
        cover = covering_range(
            granularity.reduce(sample, jnp.min), granularity.reduce(sample, jnp.max), fmt
        ).scale
        return {"step": jnp.maximum(jnp.minimum(step, cover), SCALE_FLOOR)}, {}

    def range(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> Range:
        """Scale max(|step|, `SCALE_FLOOR`), its gradient times 1 / sqrt(n * qmax) (section 2.2).

        n is the number of elements of the group, without the batch if `batched`.

        Raises:
          ConfigError: `fmt` is asymmetric.
          ValueError: `params` was not made by `init`.
        """
        self.check(fmt)
        # The batch may have no number yet: a program is exported for batches of any size.
        elements = granularity.group_sizes((1, *x.shape[1:]) if self.batched else x.shape)
        factor = 1 / np.sqrt(np.maximum(elements, 1) * _qmax(fmt))
        step = grad_scale(needed(self, params, "step"), factor.astype(np.float32))
        return Range(positive(step, SCALE_FLOOR), None)


def stored(found: Range, fmt: IntFormat) -> tuple[LearnedStep, Params]:
    """The estimator that has this range whatever it is asked to quantize, and its parameters.

    Raises:
      ConfigError: `fmt` is asymmetric, and the zero point would be lost.
    """
    estimator = LearnedStep()
    estimator.check(fmt)
    return estimator, {"step": found.scale}


def positive(learned: Float[Array, "groups"], floor: float) -> Float[Array, "groups"]:
    """`max(|learned|, floor)`, with the gradient of `|learned|`; 1 at 0.

    The floor changes the value only: a size that reaches 0 must still feel its gradient.
    """
    size = jnp.where(learned < 0, -learned, learned)
    return size + jax.lax.stop_gradient(jnp.maximum(size, floor) - size)


def _qmax(fmt: IntFormat) -> int:
    """Largest code, but 1 for signed 1 bit, whose largest code is 0."""
    return max(fmt.qmax, 1)
