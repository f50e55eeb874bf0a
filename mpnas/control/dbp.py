"""Differentiable bit-width parameters: a coin between two neighbouring bit-widths, dropping step by step.

Every decision sits on a pair (b_i, b_{i-1}) of its candidates; beta in [0, 1] is the probability of
the upper one, and each step flips the coin. When beta has fallen below a threshold the decision drops
to the pair below and starts again at beta = 1; drops stop as soon as the expected costs meet the
budget. The straight-through gradient of the coin is 1, so E[dL/dbeta] is the finite difference
E[L | upper] - E[L | lower] for a linear loss at any beta, and for a quadratic one at beta = 1/2; with
curvature c in the coin (a term c u^2) it is off by c (2 beta - 1).

Source: Huang et al., SDQ, 2022, https://arxiv.org/abs/2206.04459, phase 1.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mpnas.control.base import Arch, Choices
from mpnas.errors import ConfigError
from mpnas.space import Gates


@dataclasses.dataclass(frozen=True, kw_only=True)
class DBP:
    """Adjacent-pair Bernoulli gates with drop events.

    Attributes:
      threshold: beta below which a decision drops to the next pair; in (0, 1).
      distortion_weight: lambda_Q of the quantisation-error regulariser
        `lambda_Q * sum beta * ||Q_b(w) - w||^2`, >= 0. It is not divided by the number of weights, so
        large layers are pushed down first.

    Raises:
      ConfigError: a value out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    operand: ClassVar[str] = "alternatives"

    threshold: float = 1e-2
    distortion_weight: float = 1e-6

    def __post_init__(self) -> None:
        # No beta is below 0, so a threshold of 0 would never let anything drop.
        if not 0 < self.threshold < 1 or not self.distortion_weight >= 0:
            raise ConfigError(f"DBP needs 0 < threshold < 1 and distortion_weight >= 0, got {self}.")

    def init(self, choices: Choices) -> Arch:
        """Everything at its highest pair with beta = 1: `logits` are betas, `memory` the upper candidates."""
        beta = {site: jnp.ones(choice.decisions) for site, choice in choices.items()}
        upper = {
            site: jnp.full(choice.decisions, len(choice.bits) - 1, jnp.int32)
            for site, choice in choices.items()
        }
        return Arch(logits=beta, memory=upper)

    def gates(self, arch: Arch, choices: Choices, *, progress: Any, key: Any) -> dict[str, Array]:
        if key is None:
            return self.probabilities(arch, choices)
        gates = {}
        for number, (site, beta) in enumerate(sorted(arch.logits.items())):
            beta = _projected(beta)
            draw = jax.random.uniform(jax.random.fold_in(key, number), beta.shape)
            upper = (draw < jax.lax.stop_gradient(beta)).astype(beta.dtype)
            # In this order the value is exactly 0 or 1, and the gradient in beta exactly 1.
            upper = upper + (beta - jax.lax.stop_gradient(beta))
            gates[site] = _on_pair(upper, arch.memory[site], len(choices[site].bits))
        return gates

    def probabilities(self, arch: Arch, choices: Choices) -> dict[str, Array]:
        return {
            site: _on_pair(_projected(beta), arch.memory[site], len(choices[site].bits))
            for site, beta in arch.logits.items()
        }

    def regularizer(self, arch: Arch, choices: Choices, distortions: Callable[[], Gates]) -> Any:
        """`lambda_Q * sum beta * ||Q_b(w) - w||^2`, b the upper candidate of each decision's pair."""
        if self.distortion_weight == 0:
            return 0.0
        total: Any = 0.0
        for site, errors in distortions().items():
            error = jnp.take_along_axis(errors, arch.memory[site][:, None], axis=1)[:, 0]
            total = total + jnp.sum(_projected(arch.logits[site]) * jax.lax.stop_gradient(error))
        return self.distortion_weight * total

    def event(self, arch: Arch, choices: Choices, *, over_budget: Any, progress: Any) -> Arch:
        """Betas back in [0, 1]; while over budget, decisions below the threshold drop one pair."""
        beta, upper = {}, {}
        for site, value in arch.logits.items():
            value = jnp.clip(value, 0.0, 1.0)
            level = arch.memory[site]
            drops = (value < self.threshold) & (level > 0) & over_budget
            upper[site] = jnp.where(drops, level - 1, level)
            beta[site] = jnp.where(drops, 1.0, value)
        return Arch(logits=beta, memory=upper)


def _projected(beta: Array) -> Array:
    """beta in [0, 1], with slope 1 everywhere.

    `jnp.clip` has slope 1/2 on its bounds, and every decision starts on one.
    """
    return beta + jax.lax.stop_gradient(jnp.clip(beta, 0.0, 1.0) - beta)


def _on_pair(upper: Array, level: Array, candidates: int) -> Array:
    """Gates with weight `upper` at candidate `level` and the rest one below (none below the lowest)."""
    high = jax.nn.one_hot(level, candidates)
    low = jax.nn.one_hot(jnp.maximum(level - 1, 0), candidates)
    return high * upper[:, None] + low * (1 - upper[:, None])
