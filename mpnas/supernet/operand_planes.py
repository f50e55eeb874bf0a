"""Weights as bit planes: `step * sum_k 2^k (positive_k - negative_k) * open_k`, without any rounding.

Every weight has two logits per plane, one for each sign; `sigmoid(sharpness * logit)` makes them bits
as the sharpness grows, and at the end the kernel is exactly a fixed-point number. The logits and the
span live with the ranges. The exponents are constants: in published code they were trained along, and
the result was no fixed-point number.

Source: Xiao et al., CSQ, 2023, https://arxiv.org/abs/2212.02770.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.quant import Quantizer
from mpnas.quant.scale.base import SCALE_FLOOR
from mpnas.space import Choice
from mpnas.space.fractional import grid_widths, plane_bits, plane_count, shares_of
from mpnas.supernet.operand import Entries, best_step, initial_ranges

START_SHARPNESS = 200.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class BitPlanes:
    """Gates are `{"planes": (decisions, planes), "sharpness": ()}`, the lowest plane first.

    Ranges are `positive` and `negative` `(*kernel, planes)`, and `span` `(scale groups,)`, the value of
    all planes together; a step is `span / (2^planes - 1)`.

    Attributes:
      present, absent: First logits of the bits of a kernel that are 1 and 0. The default starts from
        the kernel that there is; (1, 0) is the source's soft start, where absent bits are undecided.
    """

    present: float = 1.0
    absent: float = -1.0

    def start(self, choice: Choice) -> Any:
        planes = jnp.ones((choice.decisions, plane_count(choice)))
        return {"planes": planes, "sharpness": jnp.float32(START_SHARPNESS)}

    def observe(self, choice: Choice, x: Float[Array, "..."], stats: Entries) -> Entries:
        return {}

    def mixed(
        self, choice: Choice, gates: Any, x: Float[Array, "..."], ranges: Entries, stats: Entries
    ) -> Float[Array, "..."]:
        """The kernel of the planes; the values of `x` do not count."""
        positive, negative = (
            jax.nn.sigmoid(gates["sharpness"] * ranges[name]) for name in ("positive", "negative")
        )
        return (self._step(choice, ranges, x.shape) * _code(choice, gates["planes"], positive - negative)
                ).astype(x.dtype)

    def shares(self, choice: Choice, gates: Any) -> Float[Array, "decisions candidates"]:
        return shares_of(choice, plane_bits(choice, gates["planes"]))

    def adopted(
        self, choice: Choice, x: Float[Array, "..."] | None, ranges: Entries, stats: Entries
    ) -> tuple[Entries, Entries]:
        """The binary expansion of the kernel, its largest weight of each scale group with all bits set."""
        assert x is not None
        kernel = x.astype(jnp.float32)
        planes, granularity = plane_count(choice), _widest(choice).granularity
        span = jnp.maximum(granularity.reduce(jnp.abs(kernel), jnp.max), SCALE_FLOOR)
        levels = jnp.round(jnp.abs(kernel) / granularity.expand(span, kernel.shape) * (2**planes - 1))
        bits = (levels.astype(jnp.int32)[..., None] >> jnp.arange(planes)) & 1 == 1
        present, absent = jnp.float32(self.present), jnp.float32(self.absent)
        positive, negative = (
            jnp.where(bits & (sign * kernel > 0)[..., None], present, absent) for sign in (1, -1)
        )
        return {"positive": positive, "negative": negative, "span": span}, {}

    def settled(
        self,
        choice: Choice,
        picked: Float[Array, "decisions candidates"],
        gates: Any,
        x: Float[Array, "..."] | None,
        ranges: Entries,
        stats: Entries,
    ) -> tuple[Float[Array, "..."] | None, Entries, Entries]:
        """The kernel with every bit at 0 or 1, and steps whose grids hold it best.

        Planes with a gate of 1/2 or more are open, and always the one with the largest gate (of equal
        ones the highest): a site that repair kept must not be all zero. The step of a width is the
        smallest step times the power of two with the least squared error over the decisions that picked
        it: none, where the open planes fit into the width; else every weight moves to its nearest value.
        A width whose scale is not learned keeps its own rule.
        """
        assert x is not None
        planes = gates["planes"]
        largest = planes.shape[1] - 1 - jnp.argmax(planes[:, ::-1], axis=1)
        opened = (planes >= 0.5) | (jnp.arange(planes.shape[1]) == largest[:, None])
        bits = (ranges["positive"] > 0).astype(jnp.float32) - (ranges["negative"] > 0)
        step = self._step(choice, ranges, x.shape)
        kernel = step * _code(choice, opened.astype(jnp.float32), bits)
        params, observed = initial_ranges(choice, kernel)
        for k, candidate in enumerate(choice.candidates):
            if f"{candidate.bits}/step" in params:
                params[f"{candidate.bits}/step"] = best_step(
                    choice, candidate, kernel, step, picked[:, k], plane_count(choice)
                )
        return kernel.astype(x.dtype), params, observed

    def _step(self, choice: Choice, ranges: Entries, shape: tuple[int, ...]) -> Array:
        # No quotient of two traced numbers: the product with a constant is the same compiled or not.
        smallest = ranges["span"] * np.float32(1 / (2 ** plane_count(choice) - 1))
        return _widest(choice).granularity.expand(smallest, shape)


def _widest(choice: Choice) -> Quantizer:
    width = grid_widths(choice)[-1]
    return next(c for c in choice.candidates if isinstance(c, Quantizer) and c.bits == width)


def _code(choice: Choice, planes: Array, bits: Array) -> Array:
    """`sum_k 2^k planes_k bits_k`; exact for whole bits."""
    worth = planes * 2.0 ** np.arange(planes.shape[1], dtype=np.float32)
    expand = jax.vmap(lambda w: choice.granularity.expand(w, bits.shape[:-1]), in_axes=1, out_axes=-1)
    return jnp.sum(expand(worth) * bits, axis=-1)
