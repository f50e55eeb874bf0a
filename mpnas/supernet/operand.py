"""Operands of a searched product: how the gates of a site become the tensor that is multiplied.

An operand is a frozen object without arrays: gates, ranges and statistics are handed to it. The usual
one mixes alternatives, and is that of every network that is not searched. The others are searched in a
network of their own, made from the usual one (`adopted`) and turned back into it (`settled`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.quant import Pruned
from mpnas.space import Choice
from mpnas.space.fractional import power_of_two

# Name -> array: range parameters and statistics of one operand.
Entries = Mapping[str, Array]
UNPICKED = 1e-9  # weight of the error of decisions that do not use a width, where nobody else does


class Operand(Protocol):
    """What one kind of gates does to a tensor; hashable, because it is part of a network's structure."""

    def start(self, choice: Choice) -> Any:
        """Gates of a fresh network: everything at its highest candidate."""
        ...

    def observe(self, choice: Choice, x: Float[Array, "..."], stats: Entries) -> Entries:
        """The statistics that change when one more `x` is seen in training."""
        ...

    def mixed(
        self, choice: Choice, gates: Any, x: Float[Array, "..."], ranges: Entries, stats: Entries
    ) -> Float[Array, "..."]:
        """The tensor to multiply with, in the shape and dtype of `x`."""
        ...

    def shares(self, choice: Choice, gates: Any) -> Float[Array, "decisions candidates"]:
        """How much of each candidate the gates amount to; the first column of a remover is what is gone."""
        ...

    def adopted(
        self, choice: Choice, x: Float[Array, "..."] | None, ranges: Entries, stats: Entries
    ) -> tuple[Entries, Entries]:
        """Range parameters and statistics to start from.

        Args:
          choice: The site.
          x: The kernel; None for activations.
          ranges, stats: Those of the alternatives, calibrated.
        """
        ...

    def settled(
        self,
        choice: Choice,
        picked: Float[Array, "decisions candidates"],
        gates: Any,
        x: Float[Array, "..."] | None,
        ranges: Entries,
        stats: Entries,
    ) -> tuple[Float[Array, "..."] | None, Entries, Entries]:
        """Kernel, range parameters and statistics of the alternatives that stand for the gates.

        Args:
          choice: The site.
          picked: One-hot rows: the assignment that the search ended with.
          gates: At the end of the search.
          x: The kernel; None for activations, and then the result too.
          ranges, stats: This operand's.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Alternatives:
    """The mixture `sum_k gates[:, k] * candidate_k(x)`; gates are `(decisions, candidates)`."""

    def start(self, choice: Choice) -> Array:
        return jnp.zeros((choice.decisions, len(choice.bits))).at[:, -1].set(1.0)

    def observe(self, choice: Choice, x: Float[Array, "..."], stats: Entries) -> Entries:
        seen: dict[str, Array] = {}
        for candidate in choice.candidates:
            new = candidate.observe(x, range_entries(stats, candidate.bits))  # type: ignore[union-attr]
            seen |= {f"{candidate.bits}/{name}": value for name, value in new.items()}
        return seen

    def mixed(
        self, choice: Choice, gates: Any, x: Float[Array, "..."], ranges: Entries, stats: Entries
    ) -> Float[Array, "..."]:
        return mixture(choice, gates, x, ranges, stats)

    def shares(self, choice: Choice, gates: Any) -> Float[Array, "decisions candidates"]:
        return gates

    def adopted(
        self, choice: Choice, x: Float[Array, "..."] | None, ranges: Entries, stats: Entries
    ) -> tuple[Entries, Entries]:
        return ranges, stats

    def settled(
        self,
        choice: Choice,
        picked: Float[Array, "decisions candidates"],
        gates: Any,
        x: Float[Array, "..."] | None,
        ranges: Entries,
        stats: Entries,
    ) -> tuple[Float[Array, "..."] | None, Entries, Entries]:
        return x, ranges, stats


def mixture(
    choice: Choice,
    gates: Float[Array, "decisions candidates"],
    x: Float[Array, "..."],
    ranges: Entries,
    stats: Entries,
) -> Float[Array, "..."]:
    """`sum_k gates[:, k] * candidate_k(x)`, each decision over its own channels of `x`.

    A Python sum over candidates: stacking them on an axis costs 1.6x the step.

    Args:
      choice: Candidates, and which channels of `x` decide together.
      gates: Share of each candidate, per decision; one-hot rows give exactly that candidate's values.
      x: The operand; the result has its shape and dtype.
      ranges, stats: Of all candidates, keyed `<bits>/<name>`, each `(scale groups,)`.
    """
    total = jnp.zeros_like(x)
    for k, candidate in enumerate(choice.candidates):
        if isinstance(candidate.format, Pruned):  # type: ignore[union-attr]
            continue
        quantized = candidate.quantize(  # type: ignore[union-attr]
            x, range_entries(ranges, candidate.bits), range_entries(stats, candidate.bits)
        )
        total = total + choice.granularity.expand(gates[:, k], x.shape) * quantized
    # Gates are float32: without the cast a bfloat16 layer would compute in float32, or refuse to.
    return total.astype(x.dtype)


def range_entries(entries: Mapping[str, Any], bits: int) -> dict[str, Any]:
    """The entries of the candidate with `bits`, without its prefix: `4/step` becomes `step`."""
    prefix = f"{bits}/"
    return {name[len(prefix) :]: value for name, value in entries.items() if name.startswith(prefix)}


def initial_ranges(choice: Choice, x: Float[Array, "..."]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Range parameters and statistics of every candidate from a sample, keyed `<bits>/<name>`."""
    params: dict[str, Array] = {}
    stats: dict[str, Array] = {}
    for candidate in choice.candidates:
        learned, observed = candidate.init(x)  # type: ignore[union-attr]
        params |= {f"{candidate.bits}/{name}": value for name, value in learned.items()}
        stats |= {f"{candidate.bits}/{name}": value for name, value in observed.items()}
    return params, stats


def best_step(
    choice: Choice,
    candidate: Any,
    kernel: Float[Array, "..."],
    smallest: Float[Array, "..."],
    picked: Float[Array, "decisions"],
    doublings: int,
) -> Float[Array, "groups"]:
    """Of `smallest * 2^j` the first with the least squared error of each of a candidate's scale groups.

    Args:
      choice: The site.
      candidate: One of its quantizers, with a learned step.
      kernel: What is quantised.
      smallest: Broadcasts to `kernel`; the largest of a scale group counts.
      picked: Whose error counts: 1 for decisions that use the candidate, else 0.
      doublings: The largest j.
    """
    users = choice.granularity.expand(jnp.maximum(picked, UNPICKED), kernel.shape)
    finest = candidate.granularity.reduce(jnp.broadcast_to(smallest, kernel.shape), jnp.max)
    steps = finest * power_of_two(jnp.arange(doublings + 1.0))[:, None]

    def error(step: Array) -> Array:
        quantized = candidate.quantize(kernel, {"step": step})
        return candidate.granularity.reduce(users * (quantized - kernel) ** 2, jnp.sum)

    best = jnp.argmin(jax.vmap(error)(steps), axis=0)
    return jnp.take_along_axis(steps, best[None], axis=0)[0]
