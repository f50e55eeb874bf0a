"""Softmax with temperature: every candidate in the mix, in shares that sharpen as the temperature falls.

The temperature is part of the state: `gates` and `probabilities` read the same number, so the network
and its expected costs are those of one mixture.

Sources: Cai and Vasconcelos, EdMIPS, 2020, https://arxiv.org/abs/2004.05795 (a constant temperature of 1);
per channel: Risso et al., 2022, https://arxiv.org/abs/2206.08852 (from 5, times exp(-0.045) each epoch).
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
class Softmax:
    """`softmax(logits / tau)` per decision, without noise.

    Attributes:
      tau: Temperature over the search; unitless. The default is Risso's over 70 epochs; (1, 1) is EdMIPS.
      lean: Starting logit of the widest candidate; narrower ones in proportion to their bits, 0 at
        0 bits. 0 makes all candidates equally likely.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    operand: ClassVar[str] = "alternatives"

    tau: Exponential = Exponential(5.0, 0.2)
    lean: float = 1.0

    def init(self, choices: Choices) -> Arch:
        """`logits` by site; `memory` holds the temperature."""
        return Arch(logits=even_logits(choices, self.lean), memory={"tau": jnp.float32(self.tau(0.0))})

    def gates(self, arch: Arch, choices: Choices, *, progress: Any, key: Any) -> dict[str, Array]:
        return self.probabilities(arch, choices)

    def probabilities(self, arch: Arch, choices: Choices) -> dict[str, Array]:
        tau = arch.memory["tau"]
        return {site: jax.nn.softmax(logits / tau, axis=1) for site, logits in arch.logits.items()}

    def regularizer(self, arch: Arch, choices: Choices, distortions: Callable[[], Gates]) -> Any:
        return 0.0

    def event(self, arch: Arch, choices: Choices, *, over_budget: Any, progress: Any) -> Arch:
        """The temperature of this moment."""
        return Arch(logits=arch.logits, memory={"tau": jnp.asarray(self.tau(progress), jnp.float32)})
