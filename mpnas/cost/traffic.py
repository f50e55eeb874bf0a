"""Bits that a layer moves: its weights, read once, and the activations that it reads and were written."""

from typing import Any

from mpnas.cost.base import alive_pairs, existing_elements
from mpnas.space import Layer, Space, Usage


def weight_traffic(use: Usage, layer: Layer) -> Any:
    """Bits of the layer's weights that exist; each is read once per sample."""
    _, pairs = alive_pairs(use, layer)
    area = layer.parameters // (layer.out_channels * layer.in_channels)
    return area * (use.weight_bits[layer.path].sum() * pairs)


def activation_traffic(space: Space, use: Usage, layer: Layer) -> Any:
    """Bits of the layer's input, read once and, by the first of its readers, counted as written once.

    The input of the layer's first call; it is written at the width at which it is read. What no layer
    reads, the network's output, is not counted.
    """
    tensor = space.work.tensors[layer.tensor]
    first = next(one.path for one in space.work.layers if one.tensor == layer.tensor)
    moves = 2 if layer.path == first else 1
    return moves * (existing_elements(use, tensor) * use.act_bits[layer.path])
