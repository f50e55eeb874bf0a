"""Schedules: numbers that change with the share of a stage that is done."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from mpnas.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Exponential:
    """Geometric interpolation `start * (end / start)^progress`.

    Attributes:
      start: Value at progress 0; > 0.
      end: Value at progress 1; > 0.

    Raises:
      ConfigError: a value that is not above 0.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    start: float
    end: float

    def __post_init__(self) -> None:
        if not (self.start > 0 and self.end > 0):
            raise ConfigError(f"an exponential schedule needs start > 0 and end > 0, got {self}.")

    def __call__(self, progress: Any) -> Any:
        """The value at a progress in [0, 1], a JAX scalar; progress may be traced."""
        return self.start * jnp.exp(progress * jnp.log(self.end / self.start))


@dataclasses.dataclass(frozen=True)
class Ramp:
    """From `start` linearly to 1 over the first `share` of the stage, then 1.

    Source: penalty schedule of Schaefer et al., 2022, https://arxiv.org/abs/2206.07741.

    Attributes:
      start: Value at progress 0; in [0, 1].
      share: Progress at which 1 is reached; in (0, 1].

    Raises:
      ConfigError: a value out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    start: float = 0.01
    share: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.start <= 1 and 0 < self.share <= 1):
            raise ConfigError(f"a ramp needs 0 <= start <= 1 and 0 < share <= 1, got {self}.")

    def __call__(self, progress: float) -> float:
        """The value at a progress in [0, 1]; a plain number, not traced."""
        return min(1.0, self.start + (1 - self.start) * progress / self.share)
