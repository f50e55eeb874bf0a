"""Least-error range: the clipping, out of a sweep, whose mean squared quantization error is smallest.

Source: Lin et al., FQ-ViT, IJCAI 2022, https://arxiv.org/abs/2111.13824 (OMSE, a sweep in steps of 1 %);
Sakr et al., ICML 2022, https://arxiv.org/abs/2206.06501 (the 100-point sweep that OCTAV replaces).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.quant.fake_quantize import fake_quantize
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import Range, covering_range
from mpnas.quant.scale.ends import Ends

# A finer clipping must lower the error by this share to be taken: sums differ in their last bits
# between compiled programs, and must not decide between equals.
MARGIN = 1e-5


@dataclasses.dataclass(frozen=True)
class MSE(Ends):
    """Range from the extremes times the fraction that minimises `sum (Q(x) - x)^2` of each group.

    The grid of fractions is 1, 1 - 1/points, ..., 1/points; of equal ones the largest is taken. It
    contains 1, so that no group errs more than under `MinMax`. A group of zeros gets `SCALE_FLOOR`.

    Attributes:
      points: Number of fractions, at least 1; each costs one quantization of the tensor.

    Raises:
      ConfigError: `points` is below 1.
    """

    points: int = 100

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ConfigError(
                f"a sweep needs at least 1 point, got {self.points}. 100 are usual."
            )

    def ends(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Float[Array, "groups"], Float[Array, "groups"]]:
        """The best fraction of the minimum and of the maximum of each group."""
        low, high = granularity.reduce(x, jnp.min), granularity.reduce(x, jnp.max)
        best = best_fraction(x, low, high, fmt, granularity, self.points)
        return low * best, high * best


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def best_fraction(
    x: Float[Array, "..."],
    low: Float[Array, "groups"],
    high: Float[Array, "groups"],
    fmt: IntFormat,
    granularity: Granularity,
    points: int,
) -> Float[Array, "groups"]:
    """The fraction of `low` and `high`, of 1, ..., 1/points, at which quantizing `x` errs least.

    Compiled by itself, as loops that run uncompiled are compiled anew at each call.
    """

    def error(fraction: Array) -> Array:
        found = covering_range(low * fraction, high * fraction, fmt)
        return granularity.reduce((_quantized(x, found, fmt, granularity) - x) ** 2, jnp.sum)

    def better(best: tuple[Array, Array], fraction: Array) -> tuple[tuple[Array, Array], None]:
        least, of = best
        tried = error(fraction)
        improves = tried < least * (1 - MARGIN)
        return (jnp.where(improves, tried, least), jnp.where(improves, fraction, of)), None

    fractions = jnp.arange(points, 0, -1, dtype=jnp.float32) / points
    start = (error(fractions[0]), jnp.ones_like(low))
    (_, best), _ = jax.lax.scan(better, start, fractions[1:])
    return best


def _quantized(x: Array, found: Range, fmt: IntFormat, granularity: Granularity) -> Array:
    scale = granularity.expand(found.scale, x.shape)
    shift = found.zero_point
    return fake_quantize(
        x, scale, None if shift is None else granularity.expand(shift, x.shape), fmt
    )
