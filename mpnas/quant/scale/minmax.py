"""Min-max range: the finest grid that still reaches every value of the tensor at hand.

Nothing is trained or remembered. The gradient treats the range as a constant.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, section 3.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import Params, Range, Stats, covering_range


@dataclasses.dataclass(frozen=True)
class MinMax:
    """Range from the extremes of `x` itself; no parameters, no statistics.

    Symmetric: the smallest scale whose grid covers `x` (negative values under an unsigned format
    are clipped). Asymmetric: zero is included and the zero point nudged to a whole number. A group
    of zeros gets the scale `SCALE_FLOOR`.
    """

    def check(self, fmt: IntFormat) -> None:
        """Serves every integer format."""

    def init(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Params, Stats]:
        """Two empty dicts."""
        return {}, {}

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
        """The finest range of `fmt` that covers each group of `x`."""
        x = jax.lax.stop_gradient(x).astype(jnp.float32)
        return covering_range(
            granularity.reduce(x, jnp.min), granularity.reduce(x, jnp.max), fmt
        )
