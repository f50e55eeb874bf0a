"""Walking: a network's own program, operation by operation, turned into an integer graph.

Parameters are constants here and are computed with; what depends on the input is a `Value`, or several
side by side after a concatenation. Normalisations, biases and clips (hard sigmoids too) only change the
value; sums, windows, products and smooth functions emit operations. Everything else is refused with its
name and its place.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend import core

from mpnas.errors import UnsupportedOperationError
from mpnas.export.affine import Value
from mpnas.export.curves import CURVES
from mpnas.export.emit import Emitter
from mpnas.supernet.layout import place
from mpnas.supernet.primitives import CALLS

PRODUCT = "integer product of "  # how a layer's product is called in the program; its path follows
CONTRACTIONS = ("conv_general_dilated", "dot_general")
Side = tuple[Value, ...]  # values side by side along the last axis
Product = Callable[[str, Any, Side], Value]  # layer's path, its equation and its input -> its output


class Walker:
    """Reads a program whose layers are called programs named `PRODUCT` and their path."""

    def __init__(self, emitter: Emitter, product: Product) -> None:
        """A walker that leaves the layers to `product`."""
        self.emit = emitter
        self.product = product
        self._where = ""

    def read(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Values or constants of the outputs, from those of the inputs."""
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
        known |= zip(jaxpr.invars, inputs, strict=True)

        def value(variable: Any) -> Any:
            return variable.val if isinstance(variable, core.Literal) else known[variable]

        outer = self._where
        for equation in jaxpr.eqns:
            self._where = place(equation) or outer
            results = self._apply(equation, [value(v) for v in equation.invars])
            known.update(zip(equation.outvars, results, strict=True))
        return [value(v) for v in jaxpr.outvars]

    def _apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        if name in CALLS:
            called = str(params.get("name"))
            inner = next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)
            program = getattr(inner, "jaxpr", inner)
            if called.startswith(PRODUCT):
                equations = [e for e in program.eqns if e.primitive.name in CONTRACTIONS]
                return [(self.product(called.removeprefix(PRODUCT), equations[0], operands[0]),)]
            return self.read(program, getattr(inner, "consts", ()), operands)
        if not any(isinstance(operand, tuple) for operand in operands):
            results = equation.primitive.bind(*operands, **params)
            return list(results) if equation.primitive.multiple_results else [results]
        shape = tuple(equation.outvars[0].aval.shape)
        rule = RULES.get(name)
        result = rule(self, params, operands, shape) if rule is not None else None
        if result is None:
            raise self.refusal(name)
        return [result]

    def refusal(self, name: str) -> UnsupportedOperationError:
        """That an operation has no integer form, with its place."""
        return UnsupportedOperationError(
            f"operation '{name}'{self._where} has no integer form, so this network cannot be lowered. What "
            "can: convolutions and products with a kernel, biases, normalisations, ReLU and clips, sums, "
            "products of activations (gates), sigmoid, tanh and erf, concatenations of channels, maxima and "
            "means over windows, reshapes."
        )


def _per_channel(constant: Any, value: Value) -> np.ndarray | None:
    """A constant operand as one float64 per channel of the value's tensor; None if it varies otherwise."""
    array = np.asarray(constant, np.float64)
    if array.size == 1:
        return np.full(value.channels, array.reshape(())[()])
    last = value.shape[-1] if value.shape else 1
    if array.shape[-1] != value.channels or last != value.channels:
        return None
    rows = array.reshape(-1, value.channels)
    return rows[0] if np.all(rows == rows[0]) else None


def _cut(constant: Any, side: Side) -> list[np.ndarray] | None:
    """A constant for each of the values side by side."""
    array, ends = np.asarray(constant), np.cumsum([v.channels for v in side])[:-1]
    parts = np.split(array, ends, axis=-1) if array.ndim and array.shape[-1] > 1 else [array] * len(side)
    found = [_per_channel(part, value) for part, value in zip(parts, side, strict=True)]
    return None if any(part is None for part in found) else found  # type: ignore[return-value]


def _with_constant(
    side: Side, constant: Any, change: Callable[[Value, np.ndarray], Value]
) -> Side | None:
    parts = _cut(constant, side)
    return None if parts is None else tuple(change(v, c) for v, c in zip(side, parts, strict=True))


def _add(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    left, right = operands
    if isinstance(left, tuple) and isinstance(right, tuple):
        return _sum_of_two(walker, left, right)
    side, constant = (left, right) if isinstance(left, tuple) else (right, left)
    return _with_constant(side, constant, Value.plus)


def _sub(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    left, right = operands
    if isinstance(right, tuple):
        right = tuple(v.times(np.full(v.channels, -1.0)) for v in right)
    else:
        right = -np.asarray(right)
    return _add(walker, params, [left, right], shape)


def _sum_of_two(walker: Walker, left: Side, right: Side) -> Side | None:
    """Part by part; where two concatenations are cut differently nothing lines up."""
    if [v.shape for v in left] != [v.shape for v in right]:
        return None
    if any("input" in (a.tensor, b.tensor) for a, b in zip(left, right)):
        raise walker.refusal("add of the unquantised input")
    return tuple(walker.emit.added(a, b, "add") for a, b in zip(left, right))


def _mul(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    left, right = operands
    if isinstance(left, tuple) and isinstance(right, tuple):
        return _product_of_two(walker, left, right)
    side, constant = (left, right) if isinstance(left, tuple) else (right, left)
    return _with_constant(side, constant, Value.times)


def _product_of_two(walker: Walker, left: Side, right: Side) -> Side | None:
    """Part by part, a single part of one channel with each; cut differently nothing lines up."""
    if any(v.tensor == "input" for v in (*left, *right)):
        raise walker.refusal("mul of the unquantised input")
    cuts = [[v.shape[-1:] for v in side] for side in (left, right)]
    if cuts[0] != cuts[1]:
        if cuts[0] == [(1,)]:
            left = left * len(right)
        elif cuts[1] == [(1,)]:
            right = right * len(left)
        else:
            return None
    return tuple(walker.emit.multiplied(a, b, "multiply") for a, b in zip(left, right, strict=True))


def _power(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    """A square or a cube, as products."""
    side, power = operands[0], params.get("y", 2)
    if power not in (2, 3):
        return None
    square = _product_of_two(walker, side, side)
    return square if power == 2 or square is None else _product_of_two(walker, square, side)


def _curve(name: str) -> Callable[..., Any]:
    """A smooth function of every number."""

    def rule(
        walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]
    ) -> Any:
        if any(v.tensor == "input" for v in operands[0]):
            raise walker.refusal(f"{name} of the unquantised input")
        return tuple(walker.emit.curved(value, CURVES[name], name) for value in operands[0])

    return rule


def _div(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    left, right = operands
    if isinstance(right, tuple):
        return None
    return _with_constant(left, 1 / np.asarray(right, np.float64), Value.times)


def _neg(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    return _with_constant(operands[0], -1.0, Value.times)


def _max(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    return _clip(operands, Value.at_least)


def _min(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    return _clip(operands, Value.at_most)


def _clip(operands: list[Any], change: Callable[[Value, np.ndarray], Value]) -> Side | None:
    left, right = operands
    if isinstance(left, tuple) and isinstance(right, tuple):
        return None
    side, constant = (left, right) if isinstance(left, tuple) else (right, left)
    return _with_constant(side, constant, change)


def _clamp(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    low, side, high = operands
    if not isinstance(side, tuple) or isinstance(low, tuple) or isinstance(high, tuple):
        return None
    raised = _with_constant(side, low, Value.at_least)
    return None if raised is None else _with_constant(raised, high, Value.at_most)


def _same(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    return operands[0]


def _view(walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]) -> Any:
    """Another shape of the same numbers in the same order; a broadcast or a merged batch is none."""
    side = operands[0]
    batch = params.get("broadcast_dimensions", (0,))[:1] in ((0,), ())
    size = sum(math.prod(v.shape) for v in side)
    if not batch or math.prod(shape[1:]) != size:
        return None
    if len(side) == 1:
        return (side[0].viewed(shape[1:]),)
    # Side by side along the last axis: it must stay the last.
    if shape[-1] != sum(v.channels for v in side):
        return None
    return tuple(v.viewed((*shape[1:-1], v.channels)) for v in side)


def _concatenate(
    walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]
) -> Any:
    if params["dimension"] != len(shape) - 1 or not all(isinstance(side, tuple) for side in operands):
        return None
    return tuple(value for side in operands for value in side)


def _reduce(kind: str) -> Callable[..., Any]:
    """Sum or maximum over all places of some spatial axes."""

    def rule(
        walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]
    ) -> Any:
        rank, axes = len(operands[0][0].shape) + 1, params["axes"]
        if any(axis in (0, rank - 1) for axis in axes):
            return None

        def one(value: Value) -> Value:
            window = tuple(n if k in axes else 1 for k, n in enumerate(value.shape[:-1], start=1))
            pooled = walker.emit.pooled(value, kind, window, window, ((0, 0),) * len(window), "reduce")
            return pooled.viewed((*shape[1:-1], value.channels))

        return _each(operands[0], one)

    return rule


def _window(kind: str) -> Callable[..., Any]:
    """Sum or maximum under a sliding window."""

    def rule(
        walker: Walker, params: Mapping[str, Any], operands: list[Any], shape: tuple[int, ...]
    ) -> Any:
        window, strides, padding = (
            tuple(params[key]) for key in ("window_dimensions", "window_strides", "padding")
        )
        dilated = any(n != 1 for key in ("base_dilation", "window_dilation") for n in params[key])
        if dilated or (window[0], window[-1]) != (1, 1) or (strides[0], strides[-1]) != (1, 1):
            return None
        around = tuple((int(a), int(b)) for a, b in padding[1:-1])

        def one(value: Value) -> Value:
            return walker.emit.pooled(value, kind, window[1:-1], strides[1:-1], around, "pool")

        return _each(operands[0], one)

    return rule


def _each(side: Side, change: Callable[[Value], Value]) -> Side | None:
    """`change` of each value, none of which may be the input or viewed in other channels."""
    if any(v.tensor == "input" or v.shape[-1] != v.channels for v in side):
        return None
    return tuple(map(change, side))


RULES: Mapping[str, Callable[..., Any]] = {
    "add": _add, "add_any": _add, "sub": _sub, "mul": _mul, "div": _div, "neg": _neg, "max": _max,
    "min": _min, "clamp": _clamp, "copy": _same, "stop_gradient": _same, "convert_element_type": _same,
    "optimization_barrier": _same, "reshape": _view, "squeeze": _view, "expand_dims": _view,
    "broadcast_in_dim": _view, "concatenate": _concatenate, "reduce_sum": _reduce("sum"),
    "reduce_max": _reduce("max"), "reduce_window_sum": _window("sum"), "reduce_window_max": _window("max"),
    "integer_pow": _power, "square": _power, **{name: _curve(name) for name in CURVES},
}
"""Primitive -> what it does to values side by side: `(walker, parameters, operands, shape) -> values`, or
None where it has no integer form."""
