"""How much of a network is used: bits per channel and existing channels, from gates.

The bridge between gates and everything that counts. It is written once for numpy and for JAX
arrays (`x.__array_namespace__()`): with float gates under JAX it is differentiable, with one-hot
float64 gates it is exact. A channel's existence is read from the site that can remove it, so the
gradient of every cost reaches the layers before and after a removed channel.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpnas.quant.format import FLOAT_BITS
from mpnas.space.space import Gates, Space


@dataclasses.dataclass(frozen=True)
class Usage:
    """Expected (or, with one-hot gates, exact) use of each layer.

    Attributes:
      weight_bits: Layer -> `(out_channels,)` bits of a weight of that output channel.
      act_bits: Layer -> scalar bits of the activations that it reads.
      product_bits: Product of activations -> scalar bits of both operands.
      out_alive: Group -> `(channels,)` share of existence, as seen by the layers that write it.
      in_alive: The same as seen by the layers that read it. The two differ only while a cost is
        linearised, when the reading side is held fixed.
    """

    weight_bits: Mapping[str, Any]
    act_bits: Mapping[str, Any]
    product_bits: Mapping[str, tuple[Any, Any]]
    out_alive: Mapping[str, Any]
    in_alive: Mapping[str, Any]


def alive_channels(space: Space, gates: Gates) -> dict[str, Any]:
    """Group -> `(channels,)` share of existence, for the groups whose channels can be removed."""
    alive = {}
    for group, site in space.remover.items():
        alive[group] = 1 - gates[site][space.channel_decision[site], 0]
    for group in space.width_site:
        within = _within(space, gates, group)
        alive[group] = alive[group] * within if group in alive else within
    return alive


def _within(space: Space, gates: Gates, group: str) -> Any:
    """`(channels,)` share of the widths that reach each channel of a group."""
    site = space.width_site[group]
    counts = np.asarray(space.choices[site].bits)
    there = np.arange(space.work.groups[group].size) < counts[:, None]
    xp = gates[site].__array_namespace__()
    return gates[site][0] @ xp.asarray(there, dtype=gates[site].dtype)


def usage(space: Space, gates: Gates, *, in_alive: Mapping[str, Any] | None = None) -> Usage:
    """What the gates make of each layer.

    Args:
      space: The space that the gates belong to.
      gates: Site -> `(decisions, candidates)`; each row sums to 1.
      in_alive: Existence of input channels to use instead of the gates' own.
    """
    xp = next(iter(gates.values())).__array_namespace__() if gates else np
    removable = alive_channels(space, gates)
    out_alive = {
        name: removable.get(name, xp.ones(group.size)) for name, group in space.work.groups.items()
    }
    held = in_alive is not None
    in_alive = out_alive if in_alive is None else {**out_alive, **in_alive}
    weight_bits = {}
    act_bits = {}
    for layer in space.work.layers:
        site = space.weight_site.get(layer.path)
        bits = xp.full(layer.out_channels, float(FLOAT_BITS))
        if site is not None:
            unit = xp.asarray(space.choices[site].bits, dtype=gates[site].dtype)
            bits = (gates[site] @ unit)[space.channel_decision[site]]
        for group in layer.writes.groups:
            if group in space.width_site or space.remover.get(group, site) != site:
                # What others decide on too, a shared mask or a width: not this layer's bits alone. Those
                # are 0 where they remove a channel: existence by both would count that twice.
                own = space.remover.get(group) == site and not held
                bits = bits * (_within(space, gates, group) if own else layer.writes.along(in_alive))
                break
        weight_bits[layer.path] = bits
        act_bits[layer.path] = _bits(space, gates, space.act_site.get(layer.path), xp)
    product_bits = {}
    for product in space.work.products:
        left, right = space.product_sites.get(product.path, (None, None))
        product_bits[product.path] = (_bits(space, gates, left, xp), _bits(space, gates, right, xp))
    return Usage(weight_bits, act_bits, product_bits, out_alive, in_alive)


def _bits(space: Space, gates: Gates, site: str | None, xp: Any) -> Any:
    """Bits of the activations at a site; those of a float without one."""
    if site is None:
        return xp.asarray(float(FLOAT_BITS))
    unit = xp.asarray(space.choices[site].bits, dtype=gates[site].dtype)
    return gates[site][0] @ unit
