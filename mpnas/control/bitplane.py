"""Bit planes that open and close: a width is how many of them are open at the end.

Each decision over weights has one gate per plane of the magnitude, `sigmoid(sharpness * logit)`; the
sharpness grows, so that gates end at 0 or 1 and nothing is rounded on the way. Sites without planes
(activations, masks) are a softmax of logits at the same sharpness. The sharpness is part of the state.

The regulariser of the source, the gap to the budget times the sum of the gates, is the slope of the
expected bits; here the penalty on expected costs, which counts bits by the size of the layers, does it.

Source: Xiao et al., CSQ, 2023, https://arxiv.org/abs/2212.02770.
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
from mpnas.space.fractional import plane_bits, plane_count, shares_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class BitPlane:
    """Sigmoid gates on bit planes, with a sharpness that grows exponentially.

    The planes of the weights are trained with the ranges: give those a rate near 1e-2.

    Attributes:
      sharpness: beta over the search; unitless.
      lean: Starting logit of every plane. 0 is the source's: all gates at 1/2; above 0 the search starts
        near the widest candidates.
      other_lean: Starting logit of the widest candidate where there are no planes, such as activations.
        A plane is given up alone, a wide candidate against all others: with equal logits the
        activations would fall first, whatever they are worth.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    operand: ClassVar[str] = "planes"

    sharpness: Exponential = Exponential(1.0, 200.0)
    lean: float = 1.0
    other_lean: float = 8.0

    def init(self, choices: Choices) -> Arch:
        """`logits` by site, `(decisions, planes)` or `(decisions, candidates)`; `memory` is the sharpness."""
        logits = even_logits(choices, self.other_lean)
        for site, choice in choices.items():
            if planes := plane_count(choice):
                logits[site] = jnp.full((choice.decisions, planes), self.lean, jnp.float32)
        return Arch(logits=logits, memory={"sharpness": jnp.float32(self.sharpness(0.0))})

    def gates(self, arch: Arch, choices: Choices, *, progress: Any, key: Any) -> dict[str, Any]:
        """Site -> `{"planes": (decisions, planes), "sharpness": ()}`, or shares where there are no planes."""
        sharpness = arch.memory["sharpness"]
        gates: dict[str, Any] = {}
        for site, logits in arch.logits.items():
            if plane_count(choices[site]):
                gates[site] = {"planes": jax.nn.sigmoid(sharpness * logits), "sharpness": sharpness}
            else:
                gates[site] = jax.nn.softmax(sharpness * logits, axis=1)
        return gates

    def probabilities(self, arch: Arch, choices: Choices) -> dict[str, Array]:
        """The two candidates beside the open planes, in the shares that have as many bits."""
        rows = {}
        for site, gates in self.gates(arch, choices, progress=None, key=None).items():
            choice = choices[site]
            if plane_count(choice):
                gates = shares_of(choice, plane_bits(choice, gates["planes"]))
            rows[site] = gates
        return rows

    def regularizer(self, arch: Arch, choices: Choices, distortions: Callable[[], Gates]) -> Any:
        return 0.0

    def event(self, arch: Arch, choices: Choices, *, over_budget: Any, progress: Any) -> Arch:
        """The sharpness of this moment."""
        sharpness = jnp.asarray(self.sharpness(progress), jnp.float32)
        return Arch(logits=arch.logits, memory={"sharpness": sharpness})
