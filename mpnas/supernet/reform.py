"""Reforming: the same space searched by other operands, and the way back.

A search by bit planes or implied bits needs other parameters than a mixture of alternatives, but the
same sites, assignments and costs. `reformed` is the network for the search, `adopted` its first arrays
from those of the usual network, `settled` the arrays of the usual network at the end: whatever comes
after a search (repair, retraining, export) sees the usual network only.
"""

import functools
from typing import Any

import jax.numpy as jnp
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
KINDS = ("weight", "act")


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
    model = _model(net, net.parts, _start(net), operands)
    return assembled(model, net.space, net.slots, operands, net.origin)


def adopted(net: Supernet, searched: Supernet, parts: Parts) -> Parts:
    """Parts of the reformed network from parts of the usual one, whose ranges are calibrated."""
    if searched is net:
        return parts
    return _parts(net, _model(net, parts, _start(net), searched.operands))


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
    picked = net.space.one_hot(assignment)
    model = searched.module(parts, gates, train=True)
    for path, slot in net.slots.items():
        product, kernel_of = module_at(model, slot), _kernel_of(net, model, path)
        for kind, choice, site in _searched(net, product, path):
            gates_of_site, ranges, stats = product.held(kind)
            kernel, ranges, stats = searched.operands[site].settled(
                choice,
                jnp.asarray(picked[site], jnp.float32),
                gates_of_site,
                kernel_of[...] if kind == "weight" else None,
                ranges,
                stats,
            )
            product.hold(kind, Alternatives(), Alternatives().start(choice), ranges, stats)
            if kernel is not None:
                kernel_of.set_value(kernel)
    return _parts(net, model)


def _operand_for(name: str, choice: Choice) -> Operand:
    fits = {"planes": plane_count(choice) > 0, "implied": is_implied(choice)}
    return OPERANDS[name] if fits[name] else Alternatives()


def _start(net: Supernet) -> dict[str, Any]:
    return {site: Alternatives().start(choice) for site, choice in net.space.choices.items()}


def _model(net: Supernet, parts: Parts, gates: Gates, operands: Any) -> nnx.Module:
    """The model of the usual network, its products holding other operands."""
    model = net.module(parts, gates, train=True)
    for path, slot in net.slots.items():
        product, kernel_of = module_at(model, slot), _kernel_of(net, model, path)
        for kind, choice, site in _searched(net, product, path):
            kernel = kernel_of[...] if kind == "weight" else None
            _, ranges, stats = product.held(kind)
            entries = operands[site].adopted(choice, kernel, ranges, stats)
            product.hold(kind, operands[site], operands[site].start(choice), *entries)
    return model


def _kernel_of(net: Supernet, model: nnx.Module, path: str) -> Any:
    """The kernel's variable of the layer at a path; None for an operand of a product without one."""
    return leaf_at(model, net.space.work.layer[path].kernel) if path in net.space.work.layer else None


def _searched(net: Supernet, product: MixedProduct, path: str) -> list[tuple[str, Choice, str]]:
    """Kind, choice and site of the operands of one product that have a choice."""
    sites = (net.space.weight_site.get(path), net.space.act_site.get(path))
    return [
        (kind, getattr(product, kind), site) for kind, site in zip(KINDS, sites, strict=True) if site
    ]


def _parts(net: Supernet, model: nnx.Module) -> Parts:
    _, *states = nnx.split(model, nnx.Param, Gate, RangeParam, ...)
    return Parts(states[0], ranges_by_site(net.space, net.slots, states[2]), states[-1])
