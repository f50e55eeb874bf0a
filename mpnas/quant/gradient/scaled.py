"""Gradients that differ in the rounding: scaled by where a value lies between two codes, and by their sign.

All of them clip as `Clipped`: nothing passes beyond the ends. The rule depends on the gradient that
arrives, so these members have no forward mode.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.quant.gradient.base import Gradient


@dataclasses.dataclass(frozen=True)
class EWGS(Gradient):
    """Element-wise gradient scaling: `g (1 + delta sgn(g) r)`, where r is what rounding took away.

    It grows for values on the side of their code towards which g points, and shrinks on the other.

    Attributes:
      delta: Strength, in [0, 2): then no gradient changes its sign. 0 is `Clipped`.

    Raises:
      ConfigError: `delta` is outside [0, 2).

    Source: Lee et al., CVPR 2021, https://arxiv.org/abs/2104.00903; `delta` as in Schaefer et
    al., WACV 2024, https://arxiv.org/abs/2206.07741, which uses it for weights.
    """

    delta: float = 5e-3

    def __post_init__(self) -> None:
        _check_delta(self)

    def round(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """`x` rounded half to even; its derivative is as the class says."""
        return _pulled_round(x, self)

    def pull(self, remainder: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The remainder `r = x - round(x)`, in [-1/2, 1/2], itself."""
        return remainder


@dataclasses.dataclass(frozen=True)
class InverseTanh(Gradient):
    """`g (1 + delta sgn(g) atanh(1.9 alpha r) / (2 atanh(0.95 alpha)))`: strongest next to a tie.

    As `EWGS`, but flat around the codes and steep near the ties, where it reaches the same 1/2.

    Attributes:
      delta: Strength, in [0, 2).
      alpha: Steepness near the ties, in (0, 1 / 0.95); towards 0 it becomes `EWGS`.

    Raises:
      ConfigError: a value is outside its interval.

    Source: Schaefer et al., WACV 2024, https://arxiv.org/abs/2206.07741, which uses it for activations.
    """

    delta: float = 5e-3
    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check_delta(self)
        if not 0 < self.alpha < 1 / 0.95:
            raise ConfigError(
                f"InverseTanh needs 0 < alpha < {1 / 0.95:.4f}, where atanh(0.95 alpha) is finite, got "
                f"{self.alpha}. 1 is usual."
            )

    def round(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """`x` rounded half to even; its derivative is as the class says."""
        return _pulled_round(x, self)

    def pull(self, remainder: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """`atanh(1.9 alpha r) / (2 atanh(0.95 alpha))`, in [-1/2, 1/2]."""
        return jnp.arctanh(1.9 * self.alpha * remainder) * (0.5 / math.atanh(0.95 * self.alpha))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pulled_round(x: Array, gradient: EWGS | InverseTanh) -> Array:
    return jnp.round(x)


def _pulled_forward(x: Array, gradient: EWGS | InverseTanh) -> tuple[Array, Array]:
    rounded = jnp.round(x)
    return rounded, x - rounded


def _pulled_backward(gradient: EWGS | InverseTanh, remainder: Array, g: Array) -> tuple[Array]:
    return (g * (1 + gradient.delta * jnp.sign(g) * gradient.pull(remainder)),)


_pulled_round.defvjp(_pulled_forward, _pulled_backward)


def _check_delta(gradient: EWGS | InverseTanh) -> None:
    if not 0 <= gradient.delta < 2:
        raise ConfigError(
            f"{type(gradient).__name__} needs 0 <= delta < 2, got {gradient.delta}. "
            "Beyond 2 gradients change their sign; 0.005 is usual."
        )
