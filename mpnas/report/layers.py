"""Layers of an assignment in the order of the network: what a picture of its bits has a row for."""

import re
from collections.abc import Mapping
from typing import Any

from mpnas.pareto.bits import Decision, Sites, runs_of


def layers_of(
    sites: Sites, assignment: Mapping[str, Decision]
) -> dict[str, dict[str, tuple[Decision, int]]]:
    """Layer -> "weight" or "activation" -> its decision and how many the site declares.

    Args:
      sites: Site -> kind, decisions, and optionally index: `front["run"]["sites"]`.
      assignment: Site -> decision; sites that it does not name are left out.
    """
    rows: dict[str, dict[str, tuple[Decision, int]]] = {}
    for name in sorted(sites, key=lambda name: in_order(name, sites[name])):
        kind = sites[name]["kind"]
        if name in assignment and kind in ("weight", "activation"):
            layer = name.rpartition("/")[0] or name
            # Two sites of one kind in a layer, say the two inputs of a product, get a row each.
            place = name if kind in rows.get(layer, {}) else layer
            rows.setdefault(place, {})[kind] = (assignment[name], sites[name]["decisions"])
    return rows


def in_order(name: str, site: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort key of a site: its place in the network, then its name with numbers as numbers."""
    # Keys of a canonical file are sorted, so block10 would come before block2.
    pieces = re.split(r"([0-9]+)", name)
    return site.get("index", 0), [(len(p), p) if p.isdecimal() else (0, p) for p in pieces]


def counts_of(decision: Decision, decisions: int) -> dict[int, int]:
    """Bit-width -> how many decisions have it, most bits first; empty for a width.

    >>> counts_of({"granularity": "channel", "rle": [[2, 3], [8, 1], [2, 1]]}, 5)
    {8: 1, 2: 4}
    """
    counts: dict[int, int] = {}
    for bits, count in runs_of(decision, decisions):
        counts[bits] = counts.get(bits, 0) + count
    return {bits: counts[bits] for bits in sorted(counts, reverse=True)}
