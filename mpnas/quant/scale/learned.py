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

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.gradient import grad_scale
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import SCALE_FLOOR, Params, Range, Stats, covering_range


@dataclasses.dataclass(frozen=True)
class LearnedStep:
    """Scale from the parameter `step`, one per group; only for symmetric formats.

    Attributes:
      batched: The leading axis of `x` is the batch (activations), and does not count as elements
        of a group in the gradient's size.
    """

    batched: bool = False

    def check(self, fmt: IntFormat) -> None:
        """Raises ConfigError for an asymmetric format: LSQ has no zero point to learn."""
        if not fmt.symmetric:
            raise ConfigError(
                f"LearnedStep learns a scale without a zero point, got the asymmetric {fmt}. "
                "Use symmetric=True, or MinMax or MovingAverage for the scale."
            )

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

    def observe(
        self, x: Float[Array, "..."], stats: Stats, fmt: IntFormat, granularity: Granularity
    ) -> Stats:
        """`stats` unchanged."""
        return stats

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
        if "step" not in params:
            raise ValueError(
                f"LearnedStep needs the parameter 'step', got {sorted(params)}. "
                "Make it from a sample with Quantizer.init and pass it as params."
            )
        elements = granularity.group_sizes(x.shape)
        if self.batched:
            elements = elements / x.shape[0]
        factor = 1 / np.sqrt(np.maximum(elements, 1) * _qmax(fmt))
        step = grad_scale(params["step"], factor.astype(np.float32))
        size = jnp.where(step < 0, -step, step)
        # The floor changes the value only: a step that reaches 0 must still feel its gradient.
        return Range(size + jax.lax.stop_gradient(jnp.maximum(size, SCALE_FLOOR) - size), None)


def _qmax(fmt: IntFormat) -> int:
    """Largest code, but 1 for signed 1 bit, whose largest code is 0."""
    return max(fmt.qmax, 1)
