"""Widening: a network with more channels that computes what it computed before.

New channels of a group are drawn like the weights that write it, and every layer that reads them
starts with zeros there: the outputs stay as they were, and the zeros have gradients. Widths are then
chosen by masks over the wide network.

Source: the function-preserving start is that of Chen et al., Net2Net, 2016,
https://arxiv.org/abs/1511.05641, with zeros in place of copied channels.
"""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx

from mpnas.errors import SearchSpaceError
from mpnas.space import Lanes, Rule, Work, asked_widths, channel_counts, resolve
from mpnas.supernet.resize import leaf_at, resize_modules

SEED = 0x71DE
ONES = ("scale", "var")  # vectors whose neutral value is 1; of others it is 0


def growth_of(work: Work, rules: Sequence[Rule]) -> dict[str, int]:
    """Group -> number of channels of its widest candidate, for groups that need more than they have.

    Raises:
      SearchSpaceError: as `mpnas.space.asked_widths`, or a group cannot be widened.
    """
    widths, _ = asked_widths(work, resolve(work, rules), rules)
    growth = {}
    for name, shares in widths.items():
        size = work.groups[name].size
        if (widest := max(channel_counts(shares, size))) > size:
            growth[name] = widest
    for (leaf, _), lanes in work.axes.items():
        if not growth.keys().isdisjoint(lanes.groups) and _blocks(lanes, work.group_sizes) is None:
            raise _disordered(leaf, lanes, growth)
    return growth


def refuse_disorder(work: Work, growth: Mapping[str, int], wide: Work) -> None:
    """Make sure that the new channels stand where the program looks for them.

    Args:
      work: Of the network before.
      growth: Group -> number of its channels now.
      wide: Of the network after it was widened.

    Raises:
      SearchSpaceError: they do not; names the group.
    """
    for place, lanes in work.axes.items():
        if not growth.keys().isdisjoint(lanes.groups):
            entries = [
                (group, channel)
                for group, size, times in _blocks(lanes, work.group_sizes) or ()
                for channel in np.repeat(np.arange(growth.get(group, size)), times).tolist()
            ]
            if wide.axes.get(place) != Lanes.from_entries(entries):
                raise _disordered(place[0], lanes, growth)


def _disordered(leaf: str, lanes: Lanes, growth: Mapping[str, int]) -> SearchSpaceError:
    name = next(group for group in lanes.groups if group in growth)
    return SearchSpaceError(
        f"'{name}' cannot be widened: '{leaf}' holds its channels in an order that does not tell where new "
        "ones belong. Offer widths of at most 1 there."
    )


def widened(model: nnx.Module, work: Work, growth: Mapping[str, int], *, seed: int = SEED) -> nnx.Module:
    """A clone of `model` with as many channels per group as `growth` says; it computes the same.

    Args:
      model: The module that `work` was read off; it is not changed.
      work: Which array axis holds which channels.
      growth: Group -> number of channels, at least as many as it has.
      seed: Of the new weights.
    """
    wide = nnx.clone(model)
    if not growth:
        return wide
    rng = np.random.default_rng(seed)
    kernels = {layer.kernel for layer in work.layers}
    reading = {(layer.kernel, layer.in_axis) for layer in work.layers}
    # Readers first: what is new in both axes of a kernel is then drawn with its output channel.
    for leaf, axis in sorted(work.axes, key=lambda place: place not in reading):
        lanes = work.axes[leaf, axis]
        if growth.keys().isdisjoint(lanes.groups):
            continue
        variable = leaf_at(wide, leaf)
        array = np.asarray(variable[...])
        if (leaf, axis) in reading:
            new = _constant(0.0)
        elif leaf in kernels:
            new = _drawn(rng, float(np.std(array)))
        else:
            new = _constant(1.0 if leaf.rpartition("/")[2] in ONES else 0.0)
        blocks = _blocks(lanes, work.group_sizes)
        assert blocks is not None, "growth_of has refused this"
        variable.set_value(jnp.asarray(_padded(array, axis, blocks, growth, new), array.dtype))
    resize_modules(wide, work)
    return wide


Fill = Callable[[tuple[int, ...]], np.ndarray]


def _constant(value: float) -> Fill:
    return lambda shape: np.full(shape, value)


def _drawn(rng: np.random.Generator, spread: float) -> Fill:
    return lambda shape: rng.normal(0.0, spread, shape)


Block = tuple[str, int, int]  # group, its channels, entries per channel


def _blocks(lanes: Lanes, sizes: Mapping[str, int]) -> list[Block] | None:
    """The whole groups that an axis is made of, in order; None if it is made of something else.

    A depthwise layer with a multiplier writes each channel several times in a row. A single channel that
    is repeated may be that, too, or (as is taken here) stand once in each of several rows; whether it
    does is seen when the network is wider (`refuse_disorder`).
    """
    blocks = []
    for group, channels in lanes.runs:
        size, start = sizes[group], 0
        while start < len(channels):
            left = channels[start:]
            times = next((k for k, channel in enumerate(left) if channel), len(left)) if size > 1 else 1
            block = tuple(np.repeat(np.arange(size), times).tolist())
            if not block or channels[start : start + len(block)] != block:
                return None
            blocks.append((group, size, times))
            start += len(block)
    return blocks


def _padded(
    array: np.ndarray, axis: int, blocks: Sequence[Block], growth: Mapping[str, int], new: Fill
) -> np.ndarray:
    """`array` with every block along `axis` as long as its group has grown, new entries at its end."""
    parts, start = [], 0
    for group, size, times in blocks:
        parts.append(np.take(array, range(start, start + size * times), axis=axis))
        start += size * times
        more = (growth.get(group, size) - size) * times
        parts.append(new(tuple(more if k == axis else n for k, n in enumerate(array.shape))))
    return np.concatenate(parts, axis=axis)
