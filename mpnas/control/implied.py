"""Implied bits: a learned step and a learned range, whose quotient says how many bits it takes.

Each decision has two logits: log2 of the step d and of the end of the range, both in units of the
calibrated range, so that no network is needed to know the bits. In the logarithm one rate suits every
width: the logit's change is the change in bits. Steps are rounded to powers of two. As in the source
the gradients of d and of the range are clipped to [-d, d]. Masks of channels are a plain softmax; no
channel is removed by implied bits themselves.

Source: Schaefer et al., 2022, https://arxiv.org/abs/2206.07741.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mpnas.control.base import Arch, Choices, even_logits
from mpnas.quant import StraightThrough
from mpnas.space import Choice, Gates
from mpnas.space.fractional import finest, implied_bits, is_implied, power_of_two, shares_of

LOWEST_TOP, HIGHEST_TOP = -8.0, 7.0  # log2 of the range, in units of the calibrated one
INSIDE = 1e-3  # keeps a projected step off the half way between two powers of two


@dataclasses.dataclass(frozen=True, kw_only=True)
class Implied:
    """Bits from a power-of-two step and a range, both learned.

    The source updates them at every 20th step: `arch = { every = 20 }` of the phase.

    Attributes:
      lean: Starting logit of existing channels against removed ones, where masks are searched.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    operand: ClassVar[str] = "implied"

    lean: float = 1.0

    def init(self, choices: Choices) -> Arch:
        """The finest grid of each site: `logits` are `{"step", "top"}`, each `(decisions,)`; no memory."""
        logits: dict[str, Any] = dict(even_logits(choices, self.lean))
        for site, choice in choices.items():
            if is_implied(choice):
                step, top = np.log2(finest(choice))
                logits[site] = {
                    "step": jnp.full(choice.decisions, step, jnp.float32),
                    "top": jnp.full(choice.decisions, top, jnp.float32),
                }
        return Arch(logits=logits, memory={})

    def gates(self, arch: Arch, choices: Choices, *, progress: Any, key: Any) -> dict[str, Any]:
        """Site -> `{"step", "top"}` in units of the calibrated range, or shares of candidates."""
        return {
            site: _step_and_top(logits) if is_implied(choices[site]) else jax.nn.softmax(logits, axis=1)
            for site, logits in arch.logits.items()
        }

    def probabilities(self, arch: Arch, choices: Choices) -> dict[str, Array]:
        """The two candidates beside the implied bits, in the shares that have as many bits."""
        rows = {}
        for site, gates in self.gates(arch, choices, progress=None, key=None).items():
            choice = choices[site]
            if is_implied(choice):
                gates = shares_of(choice, implied_bits(choice, gates["step"], gates["top"]))
            rows[site] = gates
        return rows

    def regularizer(self, arch: Arch, choices: Choices, distortions: Callable[[], Gates]) -> Any:
        return 0.0

    def event(self, arch: Arch, choices: Choices, *, over_budget: Any, progress: Any) -> Arch:
        """Ranges within their bounds; steps no wider than the range, nor finer than the widest candidate."""
        logits = {
            site: _projected(choices[site], leaves) if is_implied(choices[site]) else leaves
            for site, leaves in arch.logits.items()
        }
        return Arch(logits=logits, memory=arch.memory)


def _step_and_top(logits: dict[str, Array]) -> dict[str, Array]:
    step = jnp.exp2(logits["step"])
    top = _bounded_slope(jnp.exp2(logits["top"]), step)
    exponent = StraightThrough().round(jnp.log2(_bounded_slope(step, step)))
    return {"step": power_of_two(exponent), "top": top}


def _projected(choice: Choice, logits: dict[str, Array]) -> dict[str, Array]:
    top = jnp.clip(logits["top"], LOWEST_TOP, HIGHEST_TOP)
    step, end = finest(choice)
    # The smallest whole exponent with round(top / step) <= levels, and what is rounded up to it.
    finest_exponent = jnp.floor(top - np.log2(end / step + 0.5)) + 1
    lowest = finest_exponent - 0.5 + INSIDE
    return {"step": jnp.clip(logits["step"], lowest, jnp.maximum(top, lowest)), "top": top}


@jax.custom_vjp
def _bounded_slope(x: Array, bound: Array) -> Array:
    """`x` itself, whose gradient arrives clipped to `[-bound, bound]`; `bound` gets none."""
    return x


_bounded_slope.defvjp(
    lambda x, bound: (x, bound),
    lambda bound, slope: (jnp.clip(slope, -bound, bound), jnp.zeros_like(bound)),
)
