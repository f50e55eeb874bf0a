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
      weight_share: Layer -> `(out_channels, candidates)` how much of each channel has each of the widths
        `weight_widths(space, layer)`; what no share says does not exist.
      act_share: Layer -> `(candidates,)` the same of the activations that it reads, and `act_widths`.
      product_share: Product of activations -> the same of both operands, and `product_widths`.
      out_alive: Group -> `(channels,)` share of existence, as seen by the layers that write it.
      in_alive: The same as seen by the layers that read it. The two differ only while a cost is
        linearised, when the reading side is held fixed.
    """

    weight_bits: Mapping[str, Any]
    act_bits: Mapping[str, Any]
    product_bits: Mapping[str, tuple[Any, Any]]
    weight_share: Mapping[str, Any]
    act_share: Mapping[str, Any]
    product_share: Mapping[str, tuple[Any, Any]]
    out_alive: Mapping[str, Any]
    in_alive: Mapping[str, Any]


def weight_widths(space: Space, layer: str) -> tuple[int, ...]:
    """Bit-widths that a layer's weights may have; float's alone where nothing is chosen."""
    return _widths(space, space.weight_site.get(layer))


def act_widths(space: Space, layer: str) -> tuple[int, ...]:
    """Bit-widths that the activations read by a layer may have; float's alone where nothing is chosen."""
    return _widths(space, space.act_site.get(layer))


def product_widths(space: Space, product: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Bit-widths that the two operands of a product of activations may have."""
    left, right = space.product_sites.get(product, (None, None))
    return _widths(space, left), _widths(space, right)


def _widths(space: Space, site: str | None) -> tuple[int, ...]:
    return (FLOAT_BITS,) if site is None else tuple(space.choices[site].bits)


def alive_channels(space: Space, gates: Gates, *, widths: bool = True) -> dict[str, Any]:
    """Group -> `(channels,)` share of existence, for the groups whose channels can be removed.

    Args:
      space: The space that the gates belong to.
      gates: Site -> `(decisions, candidates)`, at least of the sites that remove channels.
      widths: Whether widths that are interpolated count; a network reads those channels stretched.
    """
    alive = {}
    for group, site in space.remover.items():
        alive[group] = 1 - gates[site][space.channel_decision[site], 0]
    for group in space.width_site:
        if group in space.stretched and not widths:
            continue
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
    weight_bits, weight_share = {}, {}
    act_bits, act_share = {}, {}
    for layer in space.work.layers:
        site = space.weight_site.get(layer.path)
        bits = xp.full(layer.out_channels, float(FLOAT_BITS))
        share = xp.ones((layer.out_channels, 1))
        if site is not None:
            unit = xp.asarray(space.choices[site].bits, dtype=gates[site].dtype)
            bits = (gates[site] @ unit)[space.channel_decision[site]]
            share = gates[site][space.channel_decision[site]]
        for group in layer.writes.groups:
            if group in space.width_site or space.remover.get(group, site) != site:
                # What others decide on too, a shared mask or a width: not this layer's bits alone. Those
                # are 0 where they remove a channel: existence by both would count that twice.
                own = space.remover.get(group) == site and not held
                exists = _within(space, gates, group) if own else layer.writes.along(in_alive)
                bits, share = bits * exists, share * exists[:, None]
                break
        weight_bits[layer.path], weight_share[layer.path] = bits, share
        act_bits[layer.path], act_share[layer.path] = _acts(space, gates, space.act_site.get(layer.path), xp)
    product_bits, product_share = {}, {}
    for product in space.work.products:
        sites = space.product_sites.get(product.path, (None, None))
        (left, one), (right, other) = (_acts(space, gates, site, xp) for site in sites)
        product_bits[product.path], product_share[product.path] = (left, right), (one, other)
    return Usage(
        weight_bits, act_bits, product_bits, weight_share, act_share, product_share, out_alive, in_alive
    )


def _acts(space: Space, gates: Gates, site: str | None, xp: Any) -> tuple[Any, Any]:
    """Bits of the activations at a site, and the share of each of its widths; a float's without one."""
    if site is None:
        return xp.asarray(float(FLOAT_BITS)), xp.ones(1)
    unit = xp.asarray(space.choices[site].bits, dtype=gates[site].dtype)
    return gates[site][0] @ unit, gates[site][0]
