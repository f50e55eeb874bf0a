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
from mpnas.supernet.axes import Axis, freeze_all, fresh, join_all, reshaped
from mpnas.supernet.primitives import (
    CALLS,
    CUMULATIVE,
    ELEMENTWISE,
    VIEWS,
    mixed_dimensions,
    reduces,
    result_nonnegative,
    understood,
    windowed,
)
from mpnas.supernet.values import Buffer, Contraction, Event, Fold, Value

VERBS = {"add": "added", "add_any": "added", "mul": "multiplied", "sub": "subtracted"}


class Reader:
    """Interprets jaxprs; collects contractions, products, events, folds and notes."""

    def __init__(self, layer_of: Callable[[str], str], leaf_axes: Mapping[str, tuple[Axis, ...]]) -> None:
        self.layer_of = layer_of
        self.leaf_axes = leaf_axes
        self.contractions: list[Contraction] = []
        self.products: list[tuple[str, int]] = []
        self.events: list[Event] = []
        self.buffers: list[Buffer] = []
        self.folds: list[Fold] = []
        self.notes: list[str] = []
        self._loops = 0

    def buffer(self, axes: tuple[Axis, ...], name: str) -> int:
        """A new activation in memory."""
        self.buffers.append(Buffer(math.prod(axis.size for axis in axes), axes, name))
        return len(self.buffers) - 1

    def read(self, jaxpr: Any, inputs: Sequence[Value], times: int = 1) -> list[Value]:
        """Values of the outputs of `jaxpr`, given those of its inputs; `times` it runs per call."""
        known: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
        for constant in jaxpr.constvars:
            known[constant] = Value(_fixed(constant.aval.shape))

        def value(variable: Any) -> Value:
            if isinstance(variable, core.Literal):
                return Value(_fixed(np.shape(variable.val)), nonnegative=bool(np.all(variable.val >= 0)))
            return known[variable]

        for equation in jaxpr.eqns:
            operands = [value(v) for v in equation.invars]
            results = self._apply(equation, operands, times)
            known.update(zip(equation.outvars, results, strict=True))
        return [value(v) for v in jaxpr.outvars]

    def _apply(self, equation: Any, operands: list[Value], times: int) -> list[Value]:
        name = equation.primitive.name
        if name in CALLS:
            keys = ("jaxpr", "call_jaxpr", "fun_jaxpr")
            inner = next(equation.params[key] for key in keys if key in equation.params)
            return self.read(getattr(inner, "jaxpr", inner), operands, times)
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
            raise _endless(_place(equation))
        shapes = [tuple(v.aval.shape) for v in equation.outvars]
        if not active:
            return self._constant(name, equation, operands, shapes)
        if name in ELEMENTWISE:
            return [self._elementwise(name, equation, operands, shapes[0])]
        if name in VIEWS:
            # The same memory, and still the same layer's output.
            axes = _view_axes(name, equation, operands[0], shapes[0])
            return [dataclasses.replace(operands[0], axes=axes)]
        return self._rearrange(name, equation, operands, shapes)

    def _constant(
        self, name: str, equation: Any, operands: list[Value], shapes: list[tuple[int, ...]]
    ) -> list[Value]:
        """A value that does not depend on the input: remember the leaves that it comes from."""
        leaves = frozenset[str]().union(*(operand.leaves for operand in operands))
        if name in VIEWS and len(operands) == 1:
            axes = _view_axes(name, equation, operands[0], shapes[0])
            # Merged, split or repeated axes are no axes of the leaf: the result is no view of it.
            whole = {a for a in axes if a.size > 1} == {a for a in operands[0].axes if a.size > 1}
            return [dataclasses.replace(operands[0], axes=axes, view=operands[0].view if whole else None)]
        if name in ELEMENTWISE:
            results = [_joined(equation, operands, shapes[0], "combined elementwise")]
        else:
            results = self._moved_axes(name, equation, operands, shapes)
        nonnegative = result_nonnegative(name, equation.params, [o.nonnegative for o in operands])
        return [Value(axes, leaves=leaves, nonnegative=nonnegative) for axes in results]

    def _elementwise(
        self, name: str, equation: Any, operands: list[Value], shape: tuple[int, ...]
    ) -> Value:
        verb = VERBS.get(name, name)
        axes = _joined(equation, operands, shape, f"{verb}{_place(equation)}")
        active = [o for o in operands if o.buffer is not None]
        rest = [o for o in operands if o.buffer is None]
        buffer = self.buffer(axes, f"{verb}#{len(self.buffers)}")
        reads = tuple(dict.fromkeys(o.buffer for o in active if o.buffer is not None))
        self.events.append(Event(reads, buffer, inplace=name not in CUMULATIVE))
        call = active[0].call if len(active) == 1 and name in {"add", "sub", "mul", "div"} else None
        if name == "div" and active[0] is not operands[0]:
            call = None  # constant / x is not affine in x
        if call is not None and not all(_per_channel(o, self.contractions[call].out_axis) for o in rest):
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
            place = _place(equation)
            self.notes.append(f"operation '{name}'{place} is not understood; its channels are kept.")
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
        params, place = equation.params, _place(equation)
        if name == "iota":
            return [_fixed(shape) for shape in shapes]
        if not understood(name, params):
            reason = f"read by operation '{name}', which is not understood{place}"
            results = [fresh(shape) for shape in shapes]
            for row in [o.axes for o in operands] + results:
                freeze_all(row, reason)
            return results
        first = operands[0].axes
        if reduces(name, params):
            freeze_all((first[k] for k in params["axes"]), f"reduced over by {name}{place}")
            return [tuple(axis for k, axis in enumerate(first) if k not in params["axes"])]
        if name == "concatenate":
            return [_concatenated(params["dimension"], operands, shapes[0], f"concatenated{place}")]
        if name == "dynamic_update_slice":
            join_all(first, operands[1].axes, f"written into a slice{place}")
        if name == "sort":
            for other in operands[1:]:
                join_all(first, other.axes, f"sorted together{place}")
        mixed = mixed_dimensions(name, params)
        return [windowed(first, shape, mixed, f"cut, padded or moved by {name}{place}") for shape in shapes]

    def _convolution(self, equation: Any, operands: list[Value], times: int) -> Value:
        image, kernel = operands[:2]
        numbers, groups = equation.params["dimension_numbers"], equation.params["feature_group_count"]
        shape = equation.outvars[0].aval.shape
        axes = list(fresh(shape))
        axes[numbers.out_spec[0]] = image.axes[numbers.lhs_spec[0]]
        in_axis = image.axes[numbers.lhs_spec[1]]
        out_axis, kernel_in = kernel.axes[numbers.rhs_spec[0]], kernel.axes[numbers.rhs_spec[1]]
        axes[numbers.out_spec[1]] = out_axis
        taps = math.prod(kernel.axes[k].size for k in numbers.rhs_spec[1:])
        macs = math.prod(shape) * taps // math.prod(equation.params["lhs_dilation"]) * times
        place = _place(equation)
        if groups == 1:
            kind = "dense"
            in_axis.join(kernel_in, f"convolved{place}")
        elif groups == in_axis.size == out_axis.size:
            kind = "depthwise"
        else:
            kind = "grouped"
            freeze_all((in_axis, out_axis), f"a convolution in {groups} groups{place}")
        in_channels = kernel_in if kind != "depthwise" else None
        result = self._contract(kernel, image, kind, in_channels, out_axis, macs, tuple(axes), place)
        if kind == "depthwise":
            # After the layer is known to write its output: the reason ties it to who wrote its input.
            in_axis.join(out_axis, f"a depthwise convolution keeps its channels{place}")
        return result

    def _dot(self, equation: Any, operands: list[Value], times: int) -> Value:
        (left_c, right_c), (left_b, right_b) = equation.params["dimension_numbers"]
        left, right = operands
        place = _place(equation)
        join_all((left.axes[k] for k in left_c), (right.axes[k] for k in right_c), f"multiplied{place}")
        join_all((left.axes[k] for k in left_b), (right.axes[k] for k in right_b), f"multiplied{place}")
        free = [a for k, a in enumerate(left.axes) if k not in (*left_c, *left_b)]
        free_right = [a for k, a in enumerate(right.axes) if k not in (*right_c, *right_b)]
        axes = (*(left.axes[k] for k in left_b), *free, *free_right)
        terms = math.prod(left.axes[k].size for k in left_c)
        macs = math.prod(equation.outvars[0].aval.shape) * terms * times
        if left.view and right.buffer is not None:
            left, right, free_right, right_c = right, left, free, left_c
        if len(free_right) != 1 and right.view:
            freeze_all(free_right, f"one of several output axes of a product{place}")
        contracted = [right.axes[k] for k in right_c]
        if len(contracted) != 1 and right.view:
            freeze_all(contracted, f"one of several input axes of a product{place}")
        out_axis = free_right[-1] if free_right else Axis(1)
        in_axis = contracted[-1] if contracted else None
        if right.view is None:
            freeze_all(contracted, f"summed over by a product{place}")
        return self._contract(right, left, "dense", in_axis, out_axis, macs, axes, place)

    def _contract(
        self,
        kernel: Value,
        image: Value,
        kind: str,
        in_axis: Axis | None,
        out_axis: Axis,
        macs: int,
        axes: tuple[Axis, ...],
        place: str,
    ) -> Value:
        """The product of an image with a kernel, or of two values of which neither is a kernel."""
        if image.buffer is None and kernel.buffer is None:
            return Value(axes, leaves=kernel.leaves | image.leaves)
        own = self.leaf_axes[kernel.view] if kernel.view else ()
        if in_axis is not None and in_axis not in own:
            in_axis.freeze(f"summed over by a product{place}")
            in_axis = None
        if kernel.view is None or image.buffer is None or out_axis not in own:
            where = place.removeprefix(" in ") or "somewhere"
            both = image.buffer is not None and kernel.buffer is not None
            what = "two activations" if both else "an activation with something computed from parameters"
            self.notes.append(f"{where}: a product of {what}, kept in float32.")
            self.products.append((where, macs))
            return self._written("product", [image, kernel], axes, False)
        layer = self.layer_of(kernel.view)
        out_axis.written_by(layer)
        buffer = self.buffer(axes, f"{layer}/output")
        self.events.append(Event((image.buffer,), buffer, inplace=False, layer=layer))
        signed, looped = not image.nonnegative, self._loops > 0
        self.contractions.append(
            Contraction(kernel.view, kind, in_axis, out_axis, macs, image.buffer, signed, looped)
        )
        return Value(axes, buffer=buffer, call=len(self.contractions) - 1)

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
            dataclasses.replace(o, axes=(Axis(length), *o.axes), view=None, call=None)
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


def _fixed(shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Axes of an array that the program itself holds, which nobody slices with the channels."""
    axes = fresh(shape)
    freeze_all(axes, "lined up with a constant array of the program")
    return axes


def _view_axes(name: str, equation: Any, operand: Value, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Axes of the same numbers in another layout."""
    if name == "transpose":
        return tuple(operand.axes[k] for k in equation.params["permutation"])
    if name == "squeeze":
        return tuple(a for k, a in enumerate(operand.axes) if k not in equation.params["dimensions"])
    if name == "expand_dims":
        kept = iter(operand.axes)
        return tuple(Axis(1) if k in equation.params["dimensions"] else next(kept) for k in range(len(shape)))
    if name == "broadcast_in_dim":
        axes = list(fresh(shape))
        for source, target in enumerate(equation.params["broadcast_dimensions"]):
            if operand.axes[source].size == shape[target]:
                axes[target] = operand.axes[source]
        return tuple(axes)
    if name == "reshape":
        return reshaped(operand.axes, shape, f"flattened or split by a reshape{_place(equation)}")
    return operand.axes


def _joined(equation: Any, operands: list[Value], shape: tuple[int, ...], reason: str) -> tuple[Axis, ...]:
    """Axes of an elementwise result: equal sizes are joined, sizes of 1 and scalars broadcast."""
    axes = fresh(shape)
    for operand in operands:
        if len(operand.axes) == len(axes):
            for mine, theirs in zip(axes, operand.axes, strict=True):
                if mine.size == theirs.size:
                    mine.join(theirs, reason)
    name = equation.primitive.name
    mixed = mixed_dimensions(name, equation.params)
    freeze_all((axes[k] for k in mixed), f"mixed by {name}{_place(equation)}")
    return axes


def _concatenated(
    dimension: int, operands: list[Value], shape: tuple[int, ...], reason: str
) -> tuple[Axis, ...]:
    axes = list(operands[0].axes)
    axes[dimension] = Axis(shape[dimension])
    axes[dimension].freeze(reason)
    for operand in operands:
        for k, axis in enumerate(operand.axes):
            if k == dimension:
                axis.freeze(reason)
            else:
                axes[k].join(axis, reason)
    return tuple(axes)


def _per_channel(operand: Value, channel: Axis) -> bool:
    """Whether a constant varies along the channel axis only, so that it can be folded."""
    return all(axis.size == 1 or axis.root is channel.root for axis in operand.axes)


def _place(equation: Any) -> str:
    """Where in the person's own source the operation stands: ` in Block.__call__ (net.py:31)`."""
    traceback = getattr(equation.source_info, "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        path = frame.file_name.replace("\\", "/")
        if any(part in path for part in ("/jax/", "/jaxlib/", "/flax/", "/mpnas/supernet/")):
            continue
        name = frame.function_name.split("<locals>.")[-1]
        return f" in {name} ({path.rsplit('/', 1)[-1]}:{frame.line_num})"
    return ""


def _endless(place: str) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"a while loop{place} has no length that is known before it runs, so its work cannot be counted. "
        "Use a loop of fixed length (jax.lax.scan, or fori_loop with constant bounds)."
    )
