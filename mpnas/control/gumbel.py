"""Gumbel-softmax: relaxed categorical draws that sharpen as the temperature falls.

Sources: Jang et al., 2017, https://arxiv.org/abs/1611.01144, eq. (2); as a precision search:
Zhao et al., AQ-BERT, 2021, https://arxiv.org/abs/2112.14938, eq. (5).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mpnas.control.base import Arch, Choices, even_logits
from mpnas.control.schedule import Exponential
from mpnas.space import Gates


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gumbel:
    """`softmax((logits + Gumbel noise) / tau)` per decision.

    Attributes:
      tau: Temperature over the search; unitless.
      hard: Use the largest candidate alone in the forward pass, the soft gates in the backward pass.
      lean: Starting logit of the widest candidate; narrower ones in proportion to their bits, 0 at
        0 bits. 0 makes all candidates equally likely.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    operand: ClassVar[str] = "alternatives"

    tau: Exponential = Exponential(2.0, 0.2)
    hard: bool = False
    lean: float = 1.0

    def init(self, choices: Choices) -> Arch:
        return Arch(logits=even_logits(choices, self.lean), memory={})

    def gates(self, arch: Arch, choices: Choices, *, progress: Any, key: Any) -> dict[str, Array]:
        if key is None:
            return self.probabilities(arch, choices)
        tau = self.tau(progress)
        gates = {}
        for number, (site, logits) in enumerate(sorted(arch.logits.items())):
            noise = jax.random.gumbel(jax.random.fold_in(key, number), logits.shape)
            soft = jax.nn.softmax((logits + noise) / tau, axis=1)
            if self.hard:
                sharp = jax.nn.one_hot(jnp.argmax(soft, axis=1), logits.shape[1])
                # The sum in this order is exactly one-hot: `soft - soft` is exactly zero.
                soft = sharp + (soft - jax.lax.stop_gradient(soft))
            gates[site] = soft
        return gates

    def probabilities(self, arch: Arch, choices: Choices) -> dict[str, Array]:
        # The argmax of logits + Gumbel noise is distributed like softmax(logits) at any temperature.
        return {site: jax.nn.softmax(logits, axis=1) for site, logits in arch.logits.items()}

    def regularizer(self, arch: Arch, choices: Choices, distortions: Callable[[], Gates]) -> Any:
        return 0.0

    def event(self, arch: Arch, choices: Choices, *, over_budget: Any, progress: Any) -> Arch:
        return arch
