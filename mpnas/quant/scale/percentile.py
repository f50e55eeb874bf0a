"""Percentile range: the few largest values are clipped, so that the others get a finer grid.

Source: Lin et al., FQ-ViT, IJCAI 2022, https://arxiv.org/abs/2111.13824 (percentile calibration);
Schaefer et al., WACV 2024, https://arxiv.org/abs/2206.07741 (99.9 % of |x| for activations).
"""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.ends import Ends


@dataclasses.dataclass(frozen=True)
class Percentile(Ends):
    """Range that leaves out the largest magnitudes; for asymmetric formats, both tails.

    Symmetric: as `MinMax`, after clipping to the magnitude that `percent` of the values stay within.
    Asymmetric: from the value that `100 - percent` of the values stay below to the one that `percent`
    do. Nearest-rank percentiles: each is an element of the group, so that compiling changes no bit.
    Finding it sorts the tensor.

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
        axes = (axis,) if isinstance(axis, int) else axis
        last = jnp.moveaxis(x, axes, range(-len(axes), 0))
        ordered = jnp.sort(last.reshape(*last.shape[: x.ndim - len(axes)], -1))
        # Less by a hair: 99.9 % of 1000 is 999.0000000000001 in floats, and must not become 1000.
        rank = math.ceil(ordered.shape[-1] * self.percent / 100 - 1e-9)
        return ordered[..., max(rank - 1, 0)]
