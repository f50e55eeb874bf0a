"""Percentile range: the few largest values are clipped, so that the others get a finer grid.

Source: Lin et al., FQ-ViT, IJCAI 2022, https://arxiv.org/abs/2111.13824 (percentile calibration);
Schaefer et al., WACV 2024, https://arxiv.org/abs/2206.07741 (99.9 % of |x| for activations).
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.ends import Ends

TOP_BIT = np.uint32(1 << 31)


@dataclasses.dataclass(frozen=True)
class Percentile(Ends):
    """Range that leaves out the largest magnitudes; for asymmetric formats, both tails.

    Symmetric: as `MinMax`, after clipping to the magnitude that `percent` of the values stay within.
    Asymmetric: from the value that `100 - percent` of the values stay below to the one that `percent`
    do. Nearest-rank percentiles: each is an element of the group, so that compiling changes no bit.

    Attributes:
      percent: Share of the values in %, in (50, 100]; 100 is `MinMax`.

    Raises:
      ConfigError: `percent` is outside (50, 100].
    """

    percent: float = 99.9

    def __post_init__(self) -> None:
        if not 50 < self.percent <= 100:
            raise ConfigError(
                f"a percentile range needs 50 < percent <= 100, got {self.percent}. "
                "100 clips nothing; 99.9 is usual."
            )

    def ends(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Float[Array, "groups"], Float[Array, "groups"]]:
        """The percentiles of each group."""
        if not fmt.symmetric:
            # From above, so that both tails leave out the same number of values.
            return -granularity.reduce(-x, self._rank), granularity.reduce(x, self._rank)
        most = granularity.reduce(jnp.abs(x) if fmt.signed else jnp.maximum(x, 0.0), self._rank)
        low, high = granularity.reduce(x, jnp.min), granularity.reduce(x, jnp.max)
        return jnp.maximum(low, -most), jnp.minimum(high, most)

    def _rank(self, x: Float[Array, "..."], axis: int | tuple[int, ...]) -> Float[Array, "..."]:
        """Smallest element that at least `percent` of the elements along `axis` do not exceed."""
        elements = math.prod(np.take(x.shape, axis).ravel().tolist())
        # Less by a hair: 99.9 % of 1000 is 999.0000000000001 in floats, and must not become 1000.
        rank = max(math.ceil(elements * self.percent / 100 - 1e-9), 1)
        return _smallest(x, rank, axis)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _smallest(x: Array, rank: int, axis: int | tuple[int, ...]) -> Array:
    """The element along `axis` that comes `rank`-th in ascending order, from 1.

    Its 32 bits are found one after the other by counting; sorting takes eight times as long on a CPU.
    Compiled by itself, as loops that run uncompiled are compiled anew at each call.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    # Unsigned integers in the order of the floats: negative ones turned over, the others above them.
    keys = jnp.where(bits & TOP_BIT, ~bits, bits | TOP_BIT)

    def settle(k: int, found: Array) -> Array:
        trial = found | (TOP_BIT >> jnp.uint32(k))
        below = jnp.sum(keys < trial, axis=axis, keepdims=True)
        return jnp.where(below < rank, trial, found)

    found = jax.lax.fori_loop(0, 32, settle, jnp.zeros_like(jnp.min(keys, axis=axis, keepdims=True)))
    bits = jnp.where(found & TOP_BIT, found & ~TOP_BIT, ~found)
    return jnp.squeeze(jax.lax.bitcast_convert_type(bits, jnp.float32), axis)
