"""Min-max range: the finest grid that still reaches every value of the tensor at hand.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, section 3.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.ends import Ends


@dataclasses.dataclass(frozen=True)
class MinMax(Ends):
    """Range from the extremes of `x` itself; no parameters, no statistics.

    Symmetric: the smallest scale whose grid covers `x` (negative values under an unsigned format
    are clipped). Asymmetric: zero is included and the zero point nudged to a whole number. A group
    of zeros gets the scale `SCALE_FLOOR`.
    """

    def ends(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Float[Array, "groups"], Float[Array, "groups"]]:
        """Minimum and maximum of each group."""
        return granularity.reduce(x, jnp.min), granularity.reduce(x, jnp.max)
