"""Reading a program: what each operation of a jaxpr means for channels, signs and memory.

An abstract interpreter. Every value carries its axes (see `axes`), whether it depends on the
model's input, whether it can be negative, and the product that it is a channelwise affine function of
(so that a normalisation is recognised as foldable). What comes out are the contractions in program
order, the memory events, and the joined axes; `trace` turns them into a `Work`.

Traps: jax 0.10 broadcasts size-1 dimensions inside elementwise primitives, so programs are traced
with a batch of at least 2; a transposed convolution's zeros are not work, so its multiplications are
divided by the input dilation; XLA's own cost analysis ignores trip counts and padding.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend import core

from mpnas.errors import UnsupportedOperationError
from mpnas.supernet.axes import Axis, Channels, freeze_all, join_all
from mpnas.supernet.layout import (
    concatenated,
    cut,
    fixed,
    joined,
    per_channel,
    picks_rows,
    place,
    stacked,
    tiled,
    view_axes,
    windowed,
)
from mpnas.supernet.primitives import (
    CALLS,
    CUMULATIVE,
    ELEMENTWISE,
    ENDLESS,
    VIEWS,
    mixed_dimensions,
    reduces,
    result_nonnegative,
    understood,
)
from mpnas.supernet.values import Buffer, Contraction, Event, FloatProduct, Fold, Value

ATTENTION = "attention of "  # begins the name under which `trace` calls an attention
VERBS = {"add": "added", "add_any": "added", "mul": "multiplied", "sub": "subtracted"}


class Reader:
    """Interprets jaxprs; collects contractions, products, events, folds and notes."""

    def __init__(
        self, layer_of: Callable[[str], str], channels: Channels, leaf_axes: Mapping[str, tuple[Axis, ...]]
    ) -> None:
        self.layer_of = layer_of
        self.channels = channels
        self.leaf_axes = leaf_axes
        self.contractions: list[Contraction] = []
        self.products: list[FloatProduct] = []
        self.events: list[Event] = []
        self.buffers: list[Buffer] = []
        self.folds: list[Fold] = []
        self.notes: list[str] = []
        self._where = ""
        self._loops = 0
        self._attention: str | None = None
        self._products_in_attention = 0

    def buffer(self, axes: tuple[Axis, ...], name: str) -> int:
        """A new activation in memory."""
        self.buffers.append(Buffer(math.prod(axis.size for axis in axes), axes, name))
        return len(self.buffers) - 1

    def read(self, jaxpr: Any, inputs: Sequence[Value], times: int = 1) -> list[Value]:
        """Values of the outputs of `jaxpr`, given those of its inputs; `times` it runs per call."""
        known: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
        for constant in jaxpr.constvars:
            known[constant] = Value(fixed(self.channels, constant.aval.shape))

        def value(variable: Any) -> Value:
            if isinstance(variable, core.Literal):
                axes = fixed(self.channels, np.shape(variable.val))
                return Value(axes, nonnegative=bool(np.all(variable.val >= 0)))
            return known[variable]

        outer = self._where
        for equation in jaxpr.eqns:
            # A called program knows its own frames only: what has none of them stands where it is called.
            self._where = place(equation) or outer
            operands = [value(v) for v in equation.invars]
            results = self._apply(equation, operands, times)
            known.update(zip(equation.outvars, results, strict=True))
        return [value(v) for v in jaxpr.outvars]

    def _apply(self, equation: Any, operands: list[Value], times: int) -> list[Value]:
        name = equation.primitive.name
        if name in CALLS:
            params, called = equation.params, str(equation.params.get("name"))
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            return self._call(called, getattr(inner, "jaxpr", inner), operands, times)
        if name == "scan":
            return self._scan(equation, operands, times)
        if name == "cond":
            return self._cond(equation, operands, times)
        if name == "conv_general_dilated":
            return [self._convolution(equation, operands, times)]
        if name == "dot_general":
            return [self._dot(equation, operands, times)]
        if name == "optimization_barrier":
            return operands
        active = [operand for operand in operands if operand.buffer is not None]
        if name == "while" and active:
            raise UnsupportedOperationError(ENDLESS.format(self._where))
        if name == "gather" and active == operands[1:] and (looked := self._lookup(equation, operands)):
            return [looked]
        shapes = [tuple(v.aval.shape) for v in equation.outvars]
        if not active:
            return self._constant(name, equation, operands, shapes)
        if name in ELEMENTWISE:
            return [self._elementwise(name, equation, operands, shapes[0])]
        if name in VIEWS:
            # The same memory, and still the same layer's output.
            axes = view_axes(self.channels, equation, operands[0].axes, shapes[0], self._where)
            return [dataclasses.replace(operands[0], axes=axes)]
        return self._rearrange(name, equation, operands, shapes)

    def _call(self, name: str, jaxpr: Any, operands: list[Value], times: int) -> list[Value]:
        """The results of a called program; an attention's is known by the name that `trace` gave it."""
        if not name.startswith(ATTENTION):
            return self.read(jaxpr, operands, times)
        outer = self._attention, self._products_in_attention
        self._attention, self._products_in_attention = name.removeprefix(ATTENTION), 0
        results = self.read(jaxpr, operands, times)
        self._attention, self._products_in_attention = outer
        return results

    def _constant(
        self, name: str, equation: Any, operands: list[Value], shapes: list[tuple[int, ...]]
    ) -> list[Value]:
        """A value that does not depend on the input: remember the leaves that it comes from."""
        leaves = frozenset[str]().union(*(operand.leaves for operand in operands))
        if name in VIEWS and len(operands) == 1:
            axes = view_axes(self.channels, equation, operands[0].axes, shapes[0], self._where)
            # Merged, split or repeated axes are no axes of the leaf: the result is no view of it.
            whole = {a for a in axes if a.size > 1} == {a for a in operands[0].axes if a.size > 1}
            return [dataclasses.replace(operands[0], axes=axes, view=operands[0].view if whole else None)]
        if name in ELEMENTWISE:
            results = [joined(self.channels, equation, [o.axes for o in operands], shapes[0], name)]
        else:
            results = self._moved_axes(name, equation, operands, shapes)
        nonnegative = result_nonnegative(name, equation.params, [o.nonnegative for o in operands])
        return [Value(axes, leaves=leaves, nonnegative=nonnegative) for axes in results]

    def _elementwise(
        self, name: str, equation: Any, operands: list[Value], shape: tuple[int, ...]
    ) -> Value:
        verb = VERBS.get(name, name)
        axes = joined(self.channels, equation, [o.axes for o in operands], shape, f"{verb}{self._where}")
        active = [o for o in operands if o.buffer is not None]
        rest = [o for o in operands if o.buffer is None]
        buffer = self.buffer(axes, f"{verb}#{len(self.buffers)}")
        reads = tuple(dict.fromkeys(o.buffer for o in active if o.buffer is not None))
        self.events.append(Event(reads, buffer, inplace=name not in CUMULATIVE))
        call = active[0].call if len(active) == 1 and name in {"add", "sub", "mul", "div"} else None
        if name == "div" and active[0] is not operands[0]:
            call = None  # constant / x is not affine in x
        if call is not None and not all(per_channel(o.axes, self.contractions[call].out_axis) for o in rest):
            call = None
        if call is not None:
            leaves = frozenset[str]().union(*(o.leaves for o in rest))
            kind = "multiplier" if name in {"mul", "div"} else "bias"
            self.folds.append(Fold(call, reads[0], buffer, leaves, kind))
        nonnegative = result_nonnegative(name, equation.params, [o.nonnegative for o in operands])
        return Value(axes, buffer=buffer, nonnegative=nonnegative, call=call)

    def _rearrange(
        self, name: str, equation: Any, operands: list[Value], shapes: list[tuple[int, ...]]
    ) -> list[Value]:
        """Reductions, concatenation, windows, and what is not understood: new memory."""
        if not understood(name, equation.params):
            self.notes.append(f"operation '{name}'{self._where} is not understood; its channels are kept.")
        results = self._moved_axes(name, equation, operands, shapes)
        nonnegative = result_nonnegative(name, equation.params, [o.nonnegative for o in operands])
        return [self._written(name, operands, axes, nonnegative) for axes in results]

    def _written(self, name: str, operands: list[Value], axes: tuple[Axis, ...], nonnegative: bool) -> Value:
        """A result in memory of its own."""
        buffer = self.buffer(axes, f"{name}#{len(self.buffers)}")
        reads = tuple(dict.fromkeys(o.buffer for o in operands if o.buffer is not None))
        self.events.append(Event(reads, buffer, inplace=False))
        return Value(axes, buffer=buffer, nonnegative=nonnegative)

    def _moved_axes(
        self, name: str, equation: Any, operands: list[Value], shapes: list[tuple[int, ...]]
    ) -> list[tuple[Axis, ...]]:
        """Axes of each result of an operation that is neither elementwise nor a view."""
        params, where = equation.params, self._where
        if name == "iota":
            return [fixed(self.channels, shape) for shape in shapes]
        if not understood(name, params):
            reason = f"read by operation '{name}', which is not understood{where}"
            results = [self.channels.fresh(shape) for shape in shapes]
            for row in [o.axes for o in operands] + results:
                freeze_all(row, reason)
            return results
        first = operands[0].axes
        if reduces(name, params):
            freeze_all((first[k] for k in params["axes"]), f"reduced over by {name}{where}")
            return [tuple(axis for k, axis in enumerate(first) if k not in params["axes"])]
        if name == "concatenate":
            rows = [operand.axes for operand in operands]
            return [concatenated(self.channels, params["dimension"], rows, f"concatenated{where}")]
        if name == "stack":
            return [stacked(self.channels, params["axis"], [o.axes for o in operands], f"stacked{where}")]
        if name == "tile":
            return [tiled(self.channels, first, params["reps"])]
        if name == "split":
            return cut(first, params["axis"], params["sizes"], where)
        if name == "dynamic_update_slice":
            join_all(first, operands[1].axes, f"written into a slice{where}")
        if name == "sort":
            for other in operands[1:]:
                join_all(first, other.axes, f"sorted together{where}")
        mixed = mixed_dimensions(name, params)
        reason = f"cut, padded or moved by {name}{where}"
        return [windowed(self.channels, first, shape, mixed, reason) for shape in shapes]

    def _convolution(self, equation: Any, operands: list[Value], times: int) -> Value:
        image, kernel = operands[:2]
        numbers, groups = equation.params["dimension_numbers"], equation.params["feature_group_count"]
        shape = equation.outvars[0].aval.shape
        axes = list(self.channels.fresh(shape))
        axes[numbers.out_spec[0]] = image.axes[numbers.lhs_spec[0]]
        in_axis = image.axes[numbers.lhs_spec[1]]
        out_axis, kernel_in = kernel.axes[numbers.rhs_spec[0]], kernel.axes[numbers.rhs_spec[1]]
        axes[numbers.out_spec[1]] = out_axis
        taps = math.prod(kernel.axes[k].size for k in numbers.rhs_spec[1:])
        macs = math.prod(shape) * taps // math.prod(equation.params["lhs_dilation"]) * times
        where = self._where
        freeze_all((image.axes[k] for k in numbers.lhs_spec[2:]), f"positions of a convolution{where}")
        freeze_all((axes[k] for k in numbers.out_spec[2:]), f"positions of a convolution{where}")
        if groups == 1:
            kind = "dense"
            in_axis.join(kernel_in, f"convolved{where}")
        elif groups == in_axis.size:
            kind = "depthwise"
        else:
            kind = "grouped"
            each = f"each group of a convolution keeps the same channels{where}"
            in_axis.tied(groups, each).join(kernel_in, each)
        in_channels = kernel_in if kind != "depthwise" else None
        result = self._contract(kernel, image, kind, in_channels, out_axis, macs, tuple(axes), where)
        # After the layer is known to write its output: the reason ties it to who wrote its input.
        if kind == "depthwise":
            spread = Axis(self.channels, np.repeat(in_axis.ids, out_axis.size // groups))
            spread.join(out_axis, f"a depthwise convolution keeps its channels{where}")
        elif kind == "grouped":
            out_axis.tied(groups, each)
        return result

    def _dot(self, equation: Any, operands: list[Value], times: int) -> Value:
        (left_c, right_c), (left_b, right_b) = equation.params["dimension_numbers"]
        left, right, where = *operands, self._where
        join_all((left.axes[k] for k in left_c), (right.axes[k] for k in right_c), f"multiplied{where}")
        join_all((left.axes[k] for k in left_b), (right.axes[k] for k in right_b), f"multiplied{where}")
        free = [a for k, a in enumerate(left.axes) if k not in (*left_c, *left_b)]
        free_right = [a for k, a in enumerate(right.axes) if k not in (*right_c, *right_b)]
        axes = (*(left.axes[k] for k in left_b), *free, *free_right)
        terms = math.prod(left.axes[k].size for k in left_c)
        macs = math.prod(equation.outvars[0].aval.shape) * terms * times
        if left.view and right.buffer is not None:
            left, right, free_right, right_c, right_b = right, left, free, left_c, left_b
        contracted = [right.axes[k] for k in right_c]
        if right.view:
            # Of several axes (heads and their channels) the innermost one holds the channels.
            freeze_all(free_right[:-1], f"one of several output axes of a product{where}")
            freeze_all(contracted[:-1], f"one of several input axes of a product{where}")
            freeze_all((right.axes[k] for k in right_b), f"a batch of products{where}")
        else:
            # The number of terms may be a factor of the result, as in an attention's scores.
            freeze_all(contracted, f"summed over by a product of activations{where}")
        out_axis = free_right[-1] if free_right else self.channels.axis(1)
        in_axis = contracted[-1] if contracted else None
        return self._contract(right, left, "dense", in_axis, out_axis, macs, axes, where)

    def _contract(
        self,
        kernel: Value,
        image: Value,
        kind: str,
        in_axis: Axis | None,
        out_axis: Axis,
        macs: int,
        axes: tuple[Axis, ...],
        where: str,
    ) -> Value:
        """The product of an image with a kernel, or of two values of which neither is a kernel."""
        if image.buffer is None and kernel.buffer is None:
            return Value(axes, leaves=kernel.leaves | image.leaves)
        own = self.leaf_axes[kernel.view] if kernel.view else ()
        if in_axis is not None and in_axis not in own:
            in_axis.freeze(f"summed over by a product of activations{where}")
            in_axis = None
        if kernel.view is None or image.buffer is None or out_axis not in own:
            return self._product(kernel, image, macs, axes, where)
        layer = self.layer_of(kernel.view)
        out_axis.written_by(layer)
        buffer = self.buffer(axes, f"{layer}/output")
        self.events.append(Event((image.buffer,), buffer, inplace=False, layer=layer))
        signed, looped, stacked = not image.nonnegative, self._loops > 0, len(kernel.axes) < len(own)
        self.contractions.append(
            Contraction(kernel.view, kind, in_axis, out_axis, macs, image.buffer, signed, looped, stacked)
        )
        return Value(axes, buffer=buffer, call=len(self.contractions) - 1)

    def _product(
        self, left: Value, right: Value, macs: int, axes: tuple[Axis, ...], where: str
    ) -> Value:
        """A product without a kernel: one of the two of an attention, or nothing that can be attached to."""
        signed = not (left.nonnegative and right.nonnegative)
        if self._attention is not None:
            number = self._products_in_attention = self._products_in_attention + 1
            if number == 1:
                self.products.append(
                    FloatProduct(f"{self._attention}/scores", macs, ("query", "key"), (signed, signed))
                )
            elif number == 2:
                # The weights come out of a softmax.
                self.products.append(
                    FloatProduct(f"{self._attention}/mix", macs, ("weights", "value"), (False, signed))
                )
        if self._attention is None or number > 2:
            both = left.buffer is not None and right.buffer is not None
            what = "two activations" if both else "an activation with something computed from parameters"
            name = where.removeprefix(" in ") or "somewhere"
            self.notes.append(f"{name}: a product of {what}, kept in float32.")
            self.products.append(FloatProduct(name, macs))
        return self._written("product", [right, left], axes, False)

    def _lookup(self, equation: Any, operands: list[Value]) -> Value | None:
        """Rows of a table of parameters, picked by the input; None if this gather is something else."""
        table, indices = operands
        if table.view is None or not picks_rows(equation):
            return None
        last = len(table.axes) - 1
        table.axes[0].freeze(f"rows are looked up{self._where}")
        freeze_all(table.axes[1:last], f"one of several axes of a looked-up row{self._where}")
        shape = equation.outvars[0].aval.shape
        axes = (*self.channels.fresh(shape[: len(shape) - last]), *table.axes[1:])
        return self._contract(table, indices, "lookup", None, table.axes[last], 0, axes, self._where)

    def _scan(self, equation: Any, operands: list[Value], times: int) -> list[Value]:
        params = equation.params
        constants, carried, length = params["num_consts"], params["num_carry"], params["length"]
        split = constants + carried
        jaxpr = params["jaxpr"].jaxpr
        inner = list(operands[:constants])
        active = any(operand.buffer is not None for operand in operands)
        for k in range(carried):
            before = operands[constants + k]
            passed_on = jaxpr.outvars[k] is jaxpr.invars[constants + k]
            inner.append(before if passed_on else self._carry(before, jaxpr.outvars[k].aval, active))
        inner += [dataclasses.replace(o, axes=o.axes[1:], call=None) for o in operands[split:]]
        self._loops += 1
        outputs = self.read(jaxpr, inner, times * length)
        self._loops -= 1
        for start, end in zip(operands[constants:split], outputs[:carried], strict=True):
            join_all(start.axes, end.axes, "carried through a scan")
        stacked = [
            dataclasses.replace(o, axes=(self.channels.axis(length), *o.axes), view=None, call=None)
            for o in outputs[carried:]
        ]
        return [*outputs[:carried], *stacked]

    def _carry(self, before: Value, aval: Any, active: bool) -> Value:
        """What a later turn of a loop can find in the place of `before`: the sign is not known."""
        buffer = before.buffer
        if buffer is None and active and np.issubdtype(aval.dtype, np.floating):
            buffer = self.buffer(before.axes, f"carry#{len(self.buffers)}")
        return Value(before.axes, leaves=before.leaves, buffer=buffer)

    def _cond(self, equation: Any, operands: list[Value], times: int) -> list[Value]:
        """All branches are counted; each result is what any of them may give."""
        branches = [self.read(branch.jaxpr, operands[1:], times) for branch in equation.params["branches"]]
        results = []
        for options in zip(*branches, strict=True):
            for other in options[1:]:
                join_all(options[0].axes, other.axes, "one of the branches of a condition")
            sources = [operands[0], *options]
            if any(option.buffer is not None for option in sources):
                nonnegative = all(option.nonnegative for option in options)
                results.append(self._written("cond", sources, options[0].axes, nonnegative))
            else:
                leaves = frozenset[str]().union(*(option.leaves for option in options))
                results.append(Value(options[0].axes, leaves=leaves))
        return results
