"""Reforming: the same space searched by other operands, and the way back.

A search by bit planes or implied bits needs other parameters than a mixture of alternatives, but the
same sites, assignments and costs. `reformed` is the network for the search, `adopted` its first arrays
from those of the usual network, `settled` the arrays of the usual network at the end: whatever comes
after a search (repair, retraining, export) sees the usual network only.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from mpnas.errors import ConfigError, nearest
from mpnas.space import Assignment, Choice, Gates
from mpnas.space.fractional import is_implied, plane_count
from mpnas.supernet.attach import Parts, Supernet, assembled, ranges_by_site
from mpnas.supernet.mixed import Gate, MixedProduct, RangeParam
from mpnas.supernet.operand import Alternatives, Operand
from mpnas.supernet.operand_implied import ImpliedBits
from mpnas.supernet.operand_planes import BitPlanes
from mpnas.supernet.resize import leaf_at
from mpnas.supernet.trace import module_at

OPERANDS: dict[str, Operand] = {
    "alternatives": Alternatives(), "planes": BitPlanes(), "implied": ImpliedBits(),
}


@functools.lru_cache(maxsize=64)
def reformed(net: Supernet, operand: str) -> Supernet:
    """The network with one kind of operand wherever a site allows it; `net` itself for alternatives.

    Args:
      net: A network that mixes alternatives.
      operand: `alternatives`, `planes` or `implied`.

    Raises:
      ConfigError: no such operand.
    """
    if operand not in OPERANDS:
        raise ConfigError(f"there is no operand '{operand}'; nearest: {nearest(operand, OPERANDS)}.")
    if operand == "alternatives":
        return net
    operands = {site: _operand_for(operand, choice) for site, choice in net.space.choices.items()}
    return assembled(_model(net, net.parts, operands), net.space, net.slots, operands, net.origin)


def adopted(net: Supernet, searched: Supernet, parts: Parts) -> Parts:
    """Parts of the reformed network from parts of the usual one, whose ranges are calibrated."""
    return parts if searched is net else _adopting(net, searched)(parts)


def settled(
    net: Supernet, searched: Supernet, parts: Parts, gates: Gates, assignment: Assignment
) -> Parts:
    """Parts of the usual network that stand for a finished search.

    Kernels are hardened, and every candidate has a range; under the bits that the gates amount to, a
    kernel is quantised to what the search ended with, in every bit.

    Args:
      net: The usual network.
      searched: The reformed one, and
      parts, gates: its arrays at the end of the search.
      assignment: What repair made of the search.
    """
    if searched is net:
        return parts
    picked = {site: np.asarray(rows, np.float32) for site, rows in net.space.one_hot(assignment).items()}
    return _settling(net, searched)(parts, gates, picked)


@functools.lru_cache(maxsize=64)
def _adopting(net: Supernet, searched: Supernet) -> Callable[[Parts], Parts]:
    """One compiled program for all starts; op by op every shape would be compiled on its own."""
    return jax.jit(lambda parts: _parts(net, _model(net, parts, searched.operands)))


@functools.lru_cache(maxsize=64)
def _settling(net: Supernet, searched: Supernet) -> Callable[[Parts, Gates, Gates], Parts]:
    """One compiled program for all ends."""

    def settle(parts: Parts, gates: Gates, picked: Gates) -> Parts:
        model = searched.module(parts, gates, train=True)
        for product, kernel_of, kind, choice, site in _searched(net, model):
            kernel = kernel_of[...] if kind == "weight" else None
            held, *entries = product.held(kind)
            kernel, *entries = searched.operands[site].settled(choice, picked[site], held, kernel, *entries)
            product.hold(kind, Alternatives(), Alternatives().start(choice), *entries)
            if kernel is not None:
                kernel_of.set_value(kernel)
        return _parts(net, model)

    return jax.jit(settle)


def _operand_for(name: str, choice: Choice) -> Operand:
    fits = {"planes": plane_count(choice) > 0, "implied": is_implied(choice)}
    return OPERANDS[name] if fits[name] else Alternatives()


def _model(net: Supernet, parts: Parts, operands: Mapping[str, Operand]) -> nnx.Module:
    """The model of the usual network, its products holding other operands."""
    start = {site: Alternatives().start(choice) for site, choice in net.space.choices.items()}
    model = net.module(parts, start, train=True)
    for product, kernel_of, kind, choice, site in _searched(net, model):
        kernel = kernel_of[...] if kind == "weight" else None
        _, ranges, stats = product.held(kind)
        entries = operands[site].adopted(choice, kernel, ranges, stats)
        product.hold(kind, operands[site], operands[site].start(choice), *entries)
    return model


def _searched(net: Supernet, model: nnx.Module) -> Iterator[tuple[MixedProduct, Any, str, Choice, str]]:
    """Product, variable of the kernel, kind, choice and site of every operand that has a choice."""
    for path, slot in net.slots.items():
        layer = net.space.work.layer.get(path)  # None for an operand of a product without a kernel
        product, kernel_of = module_at(model, slot), leaf_at(model, layer.kernel) if layer else None
        for kind, sites in (("weight", net.space.weight_site), ("act", net.space.act_site)):
            if path in sites:
                yield product, kernel_of, kind, getattr(product, kind), sites[path]


def _parts(net: Supernet, model: nnx.Module) -> Parts:
    _, *states = nnx.split(model, nnx.Param, Gate, RangeParam, ...)
    return Parts(states[0], ranges_by_site(net.space, net.slots, states[2]), states[-1])
