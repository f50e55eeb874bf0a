"""Tensors in a learned step and range, whose quotient implies their bits.

`step * round(clip(x, low, top) / step)`, with `low = -top` or 0. Step and range are gates: a controller
owns them, in units of the calibrated range, which this operand keeps as a power of two, so that a step
that is one stays one.

Source: Schaefer et al., 2022, https://arxiv.org/abs/2206.07741.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.quant import EWGS, Gradient, IntFormat, InverseTanh, Quantizer
from mpnas.space import Choice
from mpnas.space.fractional import (
    LOG_SLACK,
    finest,
    grid_widths,
    implied_bits,
    is_signed,
    power_of_two,
    shares_of,
)
from mpnas.supernet.operand import Entries, best_step, initial_ranges, range_entries


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImpliedBits:
    """Gates are `{"step", "top"}`, each `(decisions,)`, in units of the range `unit`, `(decisions,)`.

    Attributes:
      weight_gradient, act_gradient: Derivatives that rounding kernels and activations pretends. The
        default is what the source found best.
    """

    weight_gradient: Gradient = EWGS()
    act_gradient: Gradient = InverseTanh()

    def start(self, choice: Choice) -> Any:
        return {
            name: jnp.full(choice.decisions, value, jnp.float32)
            for name, value in zip(("step", "top"), finest(choice), strict=True)
        }

    def observe(self, choice: Choice, x: Float[Array, "..."], stats: Entries) -> Entries:
        return {}

    def mixed(
        self, choice: Choice, gates: Any, x: Float[Array, "..."], ranges: Entries, stats: Entries
    ) -> Float[Array, "..."]:
        step, top = self._absolute(choice, gates, ranges, x.shape)
        gradient = self.weight_gradient if choice.kind == "weight" else self.act_gradient
        low = -top if is_signed(choice) else jnp.zeros_like(top)
        return (step * gradient.round(jnp.clip(x.astype(jnp.float32), low, top) / step)).astype(x.dtype)

    def shares(self, choice: Choice, gates: Any) -> Float[Array, "decisions candidates"]:
        return shares_of(choice, implied_bits(choice, gates["step"], gates["top"]))

    def adopted(
        self, choice: Choice, x: Float[Array, "..."] | None, ranges: Entries, stats: Entries
    ) -> tuple[Entries, Entries]:
        """The unit: the smallest power of two whose finest grid covers the widest candidate's range."""
        widest = _grids(choice)[-1]
        sample = x if x is not None else jnp.ones((1, 1))
        found = widest.range(
            sample, range_entries(ranges, widest.bits), range_entries(stats, widest.bits)
        )
        scale = found.scale.max(keepdims=True)
        if x is not None:
            every = jnp.broadcast_to(widest.granularity.expand(found.scale, x.shape), x.shape)
            scale = choice.granularity.reduce(every, jnp.max)
        exponent = jnp.ceil(jnp.log2(scale) - LOG_SLACK) - np.float32(np.log2(finest(choice)[0]))
        return {"unit": power_of_two(exponent)}, {}

    def settled(
        self,
        choice: Choice,
        picked: Float[Array, "decisions candidates"],
        gates: Any,
        x: Float[Array, "..."] | None,
        ranges: Entries,
        stats: Entries,
    ) -> tuple[Float[Array, "..."] | None, Entries, Entries]:
        """The kernel clipped to its range, and the scale of every candidate.

        The candidate with the implied bits has the learned step, and quantises a kernel to the same
        values in every bit. The others have powers of two: for activations the smallest that covers the
        range, for kernels the one with the least squared error. Scales that are not learned come from
        the kernel, or from the range's ends.
        """
        shape = x.shape if x is not None else (1, 1)
        step, top = self._absolute(choice, gates, ranges, shape)
        low = -top if is_signed(choice) else jnp.zeros_like(top)
        kernel = None if x is None else jnp.clip(x, low, top).astype(x.dtype)
        params, observed = initial_ranges(choice, jnp.concatenate([low, top]) if kernel is None else kernel)
        bits = implied_bits(choice, gates["step"], gates["top"])
        for k, candidate in enumerate(choice.candidates):
            name = f"{candidate.bits}/step"
            if candidate not in _grids(choice) or name not in params:
                continue
            others = _power_of_two_step(choice, candidate, kernel, top, picked[:, k])
            own = choice.granularity.expand(bits == candidate.bits, shape)
            every = jnp.broadcast_to(jnp.where(own, step, others), shape)
            params[name] = candidate.granularity.reduce(every, jnp.max)
        return kernel, params, observed

    def _absolute(
        self, choice: Choice, gates: Any, ranges: Entries, shape: tuple[int, ...]
    ) -> tuple[Array, Array]:
        """Step and range in the units of the tensor, as they broadcast against it."""
        # A constant: trained along, it would be a second name for step and range.
        unit = jax.lax.stop_gradient(ranges["unit"])
        step, top = (choice.granularity.expand(gates[name] * unit, shape) for name in ("step", "top"))
        return step, top


def _grids(choice: Choice) -> list[Quantizer]:
    widths = grid_widths(choice)
    return [c for c in choice.candidates if isinstance(c, Quantizer) and c.bits in widths]


def _power_of_two_step(
    choice: Choice, candidate: Quantizer, kernel: Array | None, top: Array, picked: Array
) -> Array:
    """The step of a width that is not the implied one, as it broadcasts against the tensor."""
    if kernel is None:
        assert isinstance(candidate.format, IntFormat)
        return power_of_two(jnp.ceil(jnp.log2(top / (candidate.format.qmax + 0.5))))
    # From the finest grid of any candidate to a step as wide as the range.
    widest = grid_widths(choice)[-1]
    smallest = power_of_two(jnp.ceil(jnp.log2(top)) - widest)
    fitted = best_step(choice, candidate, kernel, smallest, picked, widest)
    return candidate.granularity.expand(fitted, kernel.shape)
