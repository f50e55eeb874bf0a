"""Which axes the result of an operation has, given those of its operands.

Nothing is computed here: an operation either carries axes on, lines them up, repeats or cuts them, or
freezes what it touches.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mpnas.supernet.axes import Axis, Channels, freeze_all, join_all, reshaped
from mpnas.supernet.primitives import mixed_dimensions

Axes = tuple[Axis, ...]


def fixed(channels: Channels, shape: Sequence[int]) -> Axes:
    """Axes of an array that the program itself holds, which nobody slices with the channels."""
    axes = channels.fresh(shape)
    freeze_all(axes, "lined up with a constant array of the program")
    return axes


def view_axes(
    channels: Channels, equation: Any, axes: Axes, shape: tuple[int, ...], where: str
) -> Axes:
    """Axes of the same numbers in another layout; `where` tells the operation's place in words."""
    name, params = equation.primitive.name, equation.params
    if name == "transpose":
        return tuple(axes[k] for k in params["permutation"])
    if name == "squeeze":
        return tuple(a for k, a in enumerate(axes) if k not in params["dimensions"])
    if name == "expand_dims":
        kept = iter(axes)
        return tuple(
            channels.axis(1) if k in params["dimensions"] else next(kept) for k in range(len(shape))
        )
    if name == "broadcast_in_dim":
        result = list(channels.fresh(shape))
        for source, target in enumerate(params["broadcast_dimensions"]):
            if axes[source].size == shape[target]:
                result[target] = axes[source]
        return tuple(result)
    if name == "reshape":
        return reshaped(channels, axes, shape, where)
    return axes


def joined(
    channels: Channels, equation: Any, operands: Sequence[Axes], shape: Sequence[int], why: str
) -> Axes:
    """Axes of an elementwise result: equal sizes are joined, sizes of 1 and scalars broadcast."""
    result = channels.fresh(shape)
    for axes in operands:
        if len(axes) == len(result):
            for mine, theirs in zip(result, axes, strict=True):
                if mine.size == theirs.size:
                    mine.join(theirs, why)
    mixed = mixed_dimensions(equation.primitive.name, equation.params)
    freeze_all((result[k] for k in mixed), f"mixed by {why}")
    return result


def concatenated(channels: Channels, dimension: int, operands: Sequence[Axes], why: str) -> Axes:
    """One longer row of the operands' channels along `dimension`; the other axes are joined."""
    result = list(operands[0])
    result[dimension] = Axis(channels, np.concatenate([axes[dimension].ids for axes in operands]))
    for axes in operands[1:]:
        for k, axis in enumerate(axes):
            if k != dimension:
                result[k].join(axis, why)
    return tuple(result)


def stacked(channels: Channels, dimension: int, operands: Sequence[Axes], why: str) -> Axes:
    """The operands' axes, joined one by one, and a new one across them at `dimension`."""
    for axes in operands[1:]:
        join_all(operands[0], axes, why)
    return (*operands[0][:dimension], channels.axis(len(operands)), *operands[0][dimension:])


def tiled(channels: Channels, axes: Axes, times: Sequence[int]) -> Axes:
    """Every axis so many times one after the other, the same channels each time."""
    return tuple(Axis(channels, np.tile(axis.ids, n)) for axis, n in zip(axes, times, strict=True))


def cut(axes: Axes, dimension: int, sizes: Sequence[int], where: str) -> list[Axes]:
    """Pieces along `dimension`: equal ones keep the same channels, unequal ones are frozen.

    A program cuts into equal parts by their number; after channels are gone the parts must be equal
    still, so each loses the same ones.
    """
    axis = axes[dimension]
    if len(set(sizes)) > 1:
        axis.freeze(f"cut into unequal parts{where}")
    else:
        axis.tied(len(sizes), f"cut into {len(sizes)} equal parts{where}")
    ends = np.cumsum(sizes)
    pieces = [Axis(axis.channels, axis.ids[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
    return [(*axes[:dimension], piece, *axes[dimension + 1 :]) for piece in pieces]


def windowed(channels: Channels, axes: Axes, shape: tuple[int, ...], mixed: set[int], reason: str) -> Axes:
    """Axes after slicing, padding or pooling: untouched ones stay, the others are frozen for `reason`."""
    if len(axes) != len(shape):
        freeze_all(axes, reason)
        return channels.fresh(shape)
    result = []
    for k, (axis, size) in enumerate(zip(axes, shape, strict=True)):
        same = axis.size == size
        if k in mixed or not same:
            axis.freeze(reason)
        result.append(axis if same else channels.axis(size))
        if not same:
            result[-1].freeze(reason)
    return tuple(result)


def per_channel(axes: Axes, channel: Axis) -> bool:
    """Whether a constant varies along the channel axis only, so that it can be folded."""
    return all(axis.size == 1 or np.array_equal(axis.roots, channel.roots) for axis in axes)


def picks_rows(equation: Any) -> bool:
    """Whether a gather picks whole rows of its first operand, and keeps them as the innermost axes."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    table, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    whole = len(table) > 1 and (sizes[0], *sizes[1:]) == (1, *table[1:])
    first = tuple(numbers.collapsed_slice_dims) == (0,)
    return whole and first and numbers.offset_dims[-1] == len(result) - 1


def place(equation: Any) -> str:
    """Where in the person's own source the operation stands: ` in Block.__call__ (net.py:31)`."""
    traceback = getattr(equation.source_info, "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        path = frame.file_name.replace("\\", "/")
        if any(part in path for part in ("/jax/", "/jaxlib/", "/flax/", "/mpnas/supernet/")):
            continue
        name = frame.function_name.split("<locals>.")[-1]
        return f" in {name} ({path.rsplit('/', 1)[-1]}:{frame.line_num})"
    return ""
