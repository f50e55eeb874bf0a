"""The searched product: a convolution or matrix product whose operands are mixtures of candidates.

`x_q[g] = sum_k gates[g, k] * candidate_k(x)[g]` for the weights and for the input, then one product:
never one product per candidate. The module is put into the hook that Flax offers (`nnx.Conv`'s
`conv_general_dilated`, `nnx.Linear`'s `dot_general`); it holds gates, which somebody else computes,
and range parameters. It has no randomness and no search code: with one-hot gates it is simply a
quantised network.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mpnas.quant import Pruned
from mpnas.space import Choice


class Gate(nnx.Variable):
    """How much of each candidate is in the mix, `(decisions, candidates)`; or a channel mask."""


class RangeParam(nnx.Variable):
    """A learned quantity of a scale, `(scale groups,)`; trained with the weights."""


class RangeStat(nnx.Variable):
    """An observed quantity of a scale, `(scale groups,)`; updated in training mode."""


def mixture(
    choice: Choice,
    gates: Float[Array, "decisions candidates"],
    x: Float[Array, "..."],
    ranges: Mapping[str, Array],
    stats: Mapping[str, Array],
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


class MixedProduct(nnx.Module):
    """Stands in a layer's hook; called with the arguments of the lax product that it wraps.

    Attributes:
      product: The function that was in the hook before.
      weight, act: The choices for the kernel and for the input; None leaves the operand float.
      in_axis: Kernel axis of the input channels, where the mask of removed channels applies.
      weight_gates, act_gates: `(decisions, candidates)`, put there by whoever calls the model.
      in_alive: `(in_channels,)` share of existence of each input channel; None where all exist.
      recording: When set, the call quantises nothing and initialises the ranges from what it sees.
      use_running_average: Set by `model.eval()`: statistics of ranges are then not updated.
    """

    def __init__(
        self,
        product: Callable[..., Array] | None,
        kernel: Float[Array, "..."] | None,
        *,
        weight: Choice | None,
        act: Choice | None,
        in_axis: int | None,
        in_mask: int | None,
    ) -> None:
        """Every operand starts at its highest candidate.

        Args:
          product: What to call with the mixed operands; None where somebody else does.
          kernel: A sample of the kernel, from which the ranges of the weights are initialised.
          weight, act, in_axis: As the attributes.
          in_mask: Number of input channels, if some of them can be removed.
        """
        self.product = product
        self.weight = weight
        self.act = act
        self.in_axis = in_axis
        self.recording = False
        self.use_running_average = True
        sample = jnp.ones((2, 1))
        weight_params, weight_stats = _initial(weight, kernel)
        act_params, act_stats = _initial(act, sample)
        self.weight_gates = Gate(_start(weight)) if weight else None
        self.act_gates = Gate(_start(act)) if act else None
        self.in_alive = Gate(jnp.ones(in_mask)) if in_mask is not None else None
        self.weight_ranges = nnx.Dict({name: RangeParam(value) for name, value in weight_params.items()})
        self.weight_stats = nnx.Dict({name: RangeStat(value) for name, value in weight_stats.items()})
        self.act_ranges = nnx.Dict({name: RangeParam(value) for name, value in act_params.items()})
        self.act_stats = nnx.Dict({name: RangeStat(value) for name, value in act_stats.items()})

    def __call__(self, lhs: Array, rhs: Array, *args: Any, **kwargs: Any) -> Array:
        assert self.product is not None
        return self.around(self.product, lhs, rhs, *args, **kwargs)

    def around(
        self, product: Callable[..., Array], lhs: Array, rhs: Array, *args: Any, **kwargs: Any
    ) -> Array:
        """`product` of the mixed operands."""
        if self.recording:
            self._record(lhs, rhs)
            return product(lhs, rhs, *args, **kwargs)
        return product(self.quantized_input(lhs), self.quantized_kernel(rhs), *args, **kwargs)

    def entering(self, x: Array) -> Array:
        """One operand on its way into a product that has no kernel."""
        if self.recording:
            self._record(x, None)
            return x
        return self.quantized_input(x)

    def quantized_kernel(self, kernel: Array) -> Array:
        """The mixed kernel, its removed input channels at zero."""
        if self.weight is not None and self.weight_gates is not None:
            gates = self.weight_gates[...]
            ranges, stats = _values(self.weight_ranges), _values(self.weight_stats)
            kernel = mixture(self.weight, gates, kernel, ranges, stats)
        if self.in_alive is not None and self.in_axis is not None:
            shape = [1] * kernel.ndim
            shape[self.in_axis] = -1
            kernel = kernel * self.in_alive[...].reshape(shape).astype(kernel.dtype)
        return kernel

    def quantized_input(self, x: Array) -> Array:
        """The mixed input; in training mode the statistics of its ranges move on first."""
        if self.act is None or self.act_gates is None:
            return x
        if not self.use_running_average:
            for candidate in self.act.candidates:
                old = range_entries(_values(self.act_stats), candidate.bits)
                new = candidate.observe(x, old)  # type: ignore[union-attr]
                for name, value in new.items():
                    self.act_stats[f"{candidate.bits}/{name}"][...] = jax.lax.stop_gradient(value)
        return mixture(self.act, self.act_gates[...], x, _values(self.act_ranges), _values(self.act_stats))

    def _record(self, x: Array, kernel: Array | None) -> None:
        for choice, seen, ranges, stats in (
            (self.act, x, self.act_ranges, self.act_stats),
            (self.weight, kernel, self.weight_ranges, self.weight_stats),
        ):
            if choice is not None and seen is not None:
                params, observed = initial_ranges(choice, seen)
                for name, value in params.items():
                    ranges[name][...] = value
                for name, value in observed.items():
                    stats[name][...] = value


def _initial(choice: Choice | None, x: Array | None) -> tuple[dict[str, Array], dict[str, Array]]:
    return ({}, {}) if choice is None or x is None else initial_ranges(choice, x)


def _start(choice: Choice) -> Array:
    """Gates of a freshly attached model: everything at its highest candidate."""
    return jnp.zeros((choice.decisions, len(choice.bits))).at[:, -1].set(1.0)


def _values(variables: Mapping[str, Any]) -> dict[str, Array]:
    return {name: variable[...] for name, variable in variables.items()}
