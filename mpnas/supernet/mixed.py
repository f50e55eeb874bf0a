"""The searched product: a convolution or matrix product whose operands follow their gates.

The usual operand is the mixture `x_q[g] = sum_k gates[g, k] * candidate_k(x)[g]`, for the weights and
for the input, then one product: never one product per candidate. The module is put into the hook that
Flax offers (`nnx.Conv`'s `conv_general_dilated`, `nnx.Linear`'s `dot_general`); it holds gates, which
somebody else computes, and range parameters. It has no randomness and no search code: with one-hot
gates it is simply a quantised network.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mpnas.space import Choice, Lanes
from mpnas.supernet.operand import Alternatives, Entries, Operand, initial_ranges
from mpnas.supernet.stretch import stretched_kernel


class Gate(nnx.Variable):
    """How much of each candidate is in the mix, `(decisions, candidates)`; or what an operand takes."""


class RangeParam(nnx.Variable):
    """A learned quantity of a scale, `(scale groups,)`; trained with the weights."""


class RangeStat(nnx.Variable):
    """An observed quantity of a scale, `(scale groups,)`; updated in training mode."""


class MixedProduct(nnx.Module):
    """Stands in a layer's hook; called with the arguments of the lax product that it wraps.

    Attributes:
      product: The function that was in the hook before.
      weight, act: The choices for the kernel and for the input; None leaves the operand float.
      weight_operand, act_operand: How their gates become tensors.
      in_axis: Kernel axis of the input channels, where the mask of removed channels applies.
      weight_gates, act_gates: What the operands take, put there by whoever calls the model.
      in_lanes: Which channels those are.
      in_alive: `(in_channels,)` share of existence of each input channel; None where all exist.
      in_stretch: Group -> `(channels, channels)`, how a mixture of its widths is interpolated.
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
        in_axis: int | None = None,
        reads: Lanes | None = None,
        stretched: Mapping[str, int] | None = None,
    ) -> None:
        """Every operand starts at its highest candidate.

        Args:
          product: What to call with the mixed operands; None where somebody else does.
          kernel: A sample of the kernel, from which the ranges of the weights are initialised.
          weight, act, in_axis: As the attributes.
          reads: The channels along `in_axis`, if some of them can be removed.
          stretched: Size of the groups whose widths are interpolated.
        """
        self.product = product
        self.weight = weight
        self.act = act
        self.weight_operand: Operand = Alternatives()
        self.act_operand: Operand = Alternatives()
        self.in_axis = in_axis
        self.recording = False
        self.use_running_average = True
        sample = jnp.ones((2, 1))
        weight_params, weight_stats = _initial(weight, kernel)
        act_params, act_stats = _initial(act, sample)
        self.weight_gates = Gate(self.weight_operand.start(weight)) if weight else None
        self.act_gates = Gate(self.act_operand.start(act)) if act else None
        self.in_lanes = reads
        self.in_alive = Gate(jnp.ones(reads.size)) if reads is not None else None
        groups = reads.groups if reads is not None else ()
        self.in_stretch = nnx.Dict({g: Gate(jnp.eye(n)) for g, n in (stretched or {}).items() if g in groups})
        self.weight_ranges = _held(RangeParam, weight_params)
        self.weight_stats = _held(RangeStat, weight_stats)
        self.act_ranges = _held(RangeParam, act_params)
        self.act_stats = _held(RangeStat, act_stats)

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
            gates, ranges, stats = self.held("weight")
            kernel = self.weight_operand.mixed(self.weight, gates, kernel, ranges, stats)
        if self.in_stretch and self.in_axis is not None and self.in_lanes is not None:
            kernel = stretched_kernel(kernel, self.in_axis, self.in_lanes, _values(self.in_stretch))
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
            for name, value in self.act_operand.observe(self.act, x, self.held("act")[2]).items():
                self.act_stats[name][...] = jax.lax.stop_gradient(value)
        gates, ranges, stats = self.held("act")
        return self.act_operand.mixed(self.act, gates, x, ranges, stats)

    def held(self, kind: str) -> tuple[Any, Entries, Entries]:
        """Gates, range parameters and statistics of the operand `weight` or `act`."""
        gates, *entries = (getattr(self, f"{kind}_{name}") for name in ("gates", "ranges", "stats"))
        ranges, stats = map(_values, entries)
        return (gates[...] if isinstance(gates, nnx.Variable) else _values(gates)), ranges, stats

    def hold(self, kind: str, operand: Operand, gates: Any, ranges: Entries, stats: Entries) -> None:
        """Replace the operand `weight` or `act` with all that it holds; the choice stays."""
        setattr(self, f"{kind}_operand", operand)
        held = _held(Gate, gates) if isinstance(gates, Mapping) else Gate(gates)
        setattr(self, f"{kind}_gates", held)
        setattr(self, f"{kind}_ranges", _held(RangeParam, ranges))
        setattr(self, f"{kind}_stats", _held(RangeStat, stats))

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


def _held(kind: type[nnx.Variable], arrays: Mapping[str, Array]) -> nnx.Dict:
    return nnx.Dict({name: kind(value) for name, value in arrays.items()})


def _values(variables: Mapping[str, Any]) -> dict[str, Array]:
    return {name: variable[...] for name, variable in variables.items()}
