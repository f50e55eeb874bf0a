"""Memory: bytes of everything that is stored, and bytes of the activations alive at one moment.

The stored file holds, per layer: the codes of its weights; a scale (and a zero point, where the format
has one) per group of channels that share it, per channel where a normalisation is folded into it; a
float bias per channel where it has one; the width of each decision; and the width and scale of its
input. What folds into nothing stays in float32. A site that offers integers has room for their scales
even where 32 bits are chosen: otherwise more bits could cost less, and no budget would have a floor.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from mpnas.cost.base import NO_OVERHEAD, alive_pairs, existing_elements
from mpnas.quant import IntFormat, Quantizer
from mpnas.quant.format import FLOAT_BITS
from mpnas.space import Choice, Layer, Space, Usage

SCALE_BITS = 32
BIAS_BITS = 32
ZERO_POINT_BITS = 32
WIDTH_BITS = 4  # 0..8, 16 and 32 are eleven widths


@dataclasses.dataclass(frozen=True)
class WeightBytes:
    """Bytes of all that is stored for a network: weights, scales, zero points, biases, widths."""

    name: str = "weight_bytes"
    unit: str = "byte"
    combine: Literal["sum", "max"] = "sum"

    @property
    def counts(self) -> Mapping[str, bool]:
        return {
            "scales": True,
            "zero_points": True,
            "bias": True,
            "assignment_index": True,
            "first_last_layers": True,
            "graph": False,
        }

    def rows(self, space: Space, use: Usage) -> list[Any]:
        rows: list[Any] = [space.work.loose_parameters * FLOAT_BITS / 8]
        counted = set()
        for layer in space.work.layers:
            out, pairs = alive_pairs(use, layer)
            area = layer.parameters // (layer.out_channels * layer.in_channels)
            bits = area * (use.weight_bits[layer.path].sum() * pairs)
            site = space.weight_site.get(layer.path)
            if site is not None:
                bits = bits + _scale_bits(space, layer, use) + WIDTH_BITS * space.choices[site].decisions
            if layer.bias:
                bits = bits + BIAS_BITS * out
            act = space.act_site.get(layer.path)
            if act is not None and act not in counted:
                counted.add(act)
                bits = bits + _bits_per_scale(space.choices[act]) + WIDTH_BITS
            rows.append(bits / 8)
        return rows


def _scale_bits(space: Space, layer: Layer, use: Usage) -> Any:
    """Bits of the scales of a layer's weights.

    A group of channels keeps its scale while any of them exists. Where several decisions fall into one
    group, each may pick another width, and each width has a scale of its own: as many are counted as
    there can be.
    """
    choice = space.choices[space.weight_site[layer.path]]
    quantizer = choice.candidates[-1]
    assert isinstance(quantizer, Quantizer)
    alive = layer.writes.along(use.out_alive)
    if layer.multiplier:
        return _bits_per_scale(choice) * alive.sum()
    group_of = np.asarray(quantizer.granularity.index(layer.out_channels))
    pairs = np.unique(np.stack([group_of, space.channel_decision[choice.site]]), axis=1)
    scales = np.minimum(np.bincount(pairs[0]), len(_integers(choice)))
    # The channels of each group, the last one repeated where a group is short: (groups, channels).
    sizes = np.bincount(group_of)
    place = np.minimum(np.arange(sizes.max()), sizes[:, None] - 1)
    members = np.argsort(group_of, kind="stable")[np.cumsum(sizes)[:, None] - sizes[:, None] + place]
    return _bits_per_scale(choice) * (alive[members].max(axis=1) * scales).sum()


def _bits_per_scale(choice: Choice) -> int:
    """Bits of a scale and, where its format has one, a zero point; 0 if no candidate is an integer."""
    formats = _integers(choice)
    shifted = any(fmt.has_zero_point for fmt in formats)
    return (SCALE_BITS + ZERO_POINT_BITS * shifted) * bool(formats)


def _integers(choice: Choice) -> list[IntFormat]:
    """The integer formats among the candidates."""
    formats = (candidate.format for candidate in choice.candidates if isinstance(candidate, Quantizer))
    return [fmt for fmt in formats if isinstance(fmt, IntFormat)]


@dataclasses.dataclass(frozen=True)
class PeakActBytes:
    """Bytes of the activations alive together, at the worst moment of the program.

    Every tensor that lives between two operations counts at the width of the layers that read it (the
    widest of them), at 32 bits where something else reads it. An elementwise operation writes into the
    place of an input that is not needed any more. Scratch memory of kernels is not counted.
    """

    name: str = "peak_act_bytes"
    unit: str = "byte"
    combine: Literal["sum", "max"] = "max"

    @property
    def counts(self) -> Mapping[str, bool]:
        return {**NO_OVERHEAD, **{"input": True, "residual_tensors": True, "kernel_scratch": False}}

    def rows(self, space: Space, use: Usage) -> list[Any]:
        sizes = {}
        for tensor in space.work.tensors.values():
            bits: Any = FLOAT_BITS
            if tensor.readers:
                widths = [use.act_bits[reader] for reader in tensor.readers]
                xp = widths[0].__array_namespace__()
                bits = xp.max(xp.stack(widths))
            sizes[tensor.name] = existing_elements(use, tensor) * bits / 8
        return [sum(sizes[name] for name in moment) for moment in space.work.timeline]
