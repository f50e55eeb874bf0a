"""DoReFa weights: squashed by tanh, stretched to [-1, 1], and put on the grid that ends there.

The result is not scaled back: the weights of every layer lie between -1 and 1, and a normalisation
behind the layer is expected to take that up.

Source: Zhou et al., 2016, https://arxiv.org/abs/1606.06160, section 2.3.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.gradient import Gradient
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import SCALE_FLOOR, Params, Range, ScaleEstimator, Stats, coarse


@dataclasses.dataclass(frozen=True)
class DoReFa(ScaleEstimator):
    """`2 round((2^B - 1)(t / 2 + 1/2)) / (2^B - 1) - 1` of `t = tanh x / max |tanh x|`; no parameters.

    The maximum is that of each group (the paper: of the layer) and a constant of the gradient, which
    passes through tanh. With 1 bit the values are +-mean |x|. Zero is no value of the grid: a group of
    zeros becomes positive. Without parameters the maximum and the mean are those of `x`; stored ones,
    `peak` and `step`, come from `settled`.
    """

    def check(self, fmt: IntFormat) -> None:
        """Raises ConfigError for a format whose levels are not symmetric around a zero that is none."""
        if not fmt.offset:
            raise ConfigError(
                f"DoReFa has 2^bits levels from -1 to 1 and none at zero, got {fmt}. "
                "Use IntFormat(bits, midrise=True)."
            )

    def range(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> Range:
        """Scale 2 / (2^B - 1); with 1 bit, 2 mean |x|.

        Raises:
          ConfigError: The levels of `fmt` are not midrise.
        """
        self.check(fmt)
        if "step" in params:
            return Range(params["step"], None)
        if fmt.bits == 1:
            size = jnp.abs(jax.lax.stop_gradient(x).astype(jnp.float32))
            return Range(jnp.maximum(2 * coarse(granularity.reduce(size, jnp.mean)), SCALE_FLOOR), None)
        step = np.float32(1 / (fmt.qmax + fmt.offset))
        return Range(jnp.full(granularity.groups(x.shape), step), None)

    def shape(
        self,
        x: Float[Array, "*shape"],
        params: Params,
        fmt: IntFormat,
        granularity: Granularity,
        gradient: Gradient,
    ) -> Float[Array, "*shape"]:
        """`tanh x` over its largest magnitude, in [-1, 1]; with 1 bit times mean |x|."""
        bent = jnp.tanh(x.astype(jnp.float32))
        peak = params["peak"] if "peak" in params else _peak(bent, granularity)
        bent = bent / granularity.expand(peak, x.shape)
        if fmt.bits == 1:
            scale = self.range(x, params, {}, fmt, granularity).scale
            bent = bent * granularity.expand(scale / 2, x.shape)
        # The barrier keeps XLA from turning (a / b) / c into a / (b * c) once the scale follows.
        return jax.lax.optimization_barrier(bent)

    def settled(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> tuple[ScaleEstimator, Params]:
        """The same with the maximum and the scale of `x` as the parameters `peak` and `step`."""
        bent = jnp.tanh(x.astype(jnp.float32))
        peak = params["peak"] if "peak" in params else _peak(bent, granularity)
        return self, {"peak": peak, "step": self.range(x, params, stats, fmt, granularity).scale}


def _peak(bent: Array, granularity: Granularity) -> Array:
    """Largest magnitude of each group; never 0, which a group of zeros would be divided by."""
    peak = granularity.reduce(jnp.abs(jax.lax.stop_gradient(bent)), jnp.max)
    return jnp.maximum(peak, SCALE_FLOOR)
