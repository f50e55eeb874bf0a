"""Bits of an assignment: what each site became, read without expanding it.

A decision stays run-length coded throughout: the counts in a stranger's file are his claim, and a
run of 10**15 channels must cost as little to look at as a run of 2.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Decision = Mapping[str, Any]
Sites = Mapping[str, Mapping[str, Any]]


def runs_of(decision: Decision, decisions: int) -> list[tuple[int, int]]:
    """(bits, count) runs of one site in decision order; empty for a width.

    Args:
      decision: One entry of an assignment.
      decisions: How many decisions the site declares; used where one number speaks for all.

    >>> runs_of({"granularity": "layer", "bits": 4}, 1)
    [(4, 1)]
    """
    if "rle" in decision:
        return [(bits, count) for bits, count in decision["rle"]]
    return [(decision["bits"], decisions)] if "bits" in decision else []


def shares(
    assignment: Mapping[str, Decision], sites: Sites, kind: str, unit: str
) -> dict[int, float]:
    """Share of the network that each bit-width holds, over the sites of one kind.

    Within a site the decisions count alike, which is exact unless a last subgroup is smaller.

    Args:
      assignment: Site -> decision; sites that it does not name are left out.
      sites: Site -> kind, decisions, parameters, macs.
      kind: "weight" or "activation".
      unit: "parameters", "macs" or "decisions": what a site weighs.

    Returns:
      Bit-width -> fraction in [0, 1], ascending, summing to 1; empty if nothing weighs anything.
    """
    amount: dict[int, float] = {}
    for name, decision in assignment.items():
        site = sites.get(name)
        if site is None or site["kind"] != kind:
            continue
        runs = runs_of(decision, site["decisions"])
        total = sum(count for _, count in runs)
        for bits, count in runs:
            amount[bits] = amount.get(bits, 0.0) + site[unit] * count / total
    whole = sum(amount.values())
    return {bits: amount[bits] / whole for bits in sorted(amount)} if whole else {}


def main_bits(assignment: Mapping[str, Decision], sites: Sites, kind: str) -> int | None:
    """The bit-width of most parameters ("weight") or most MACs ("activation"); None if of none."""
    units = ("parameters" if kind == "weight" else "macs", "decisions")
    for unit in units:
        if share := shares(assignment, sites, kind, unit):
            return max(share, key=lambda bits: (share[bits], bits))
    return None


def zeros_of(decision: Decision, decisions: int) -> list[tuple[bool, int]]:
    """Which channels are left out, as (is zero, channels) runs that alternate.

    One number for the whole site gives one run, whatever its length. A subgroup counts as its
    `group_size` channels.
    """
    size = decision.get("group_size", 1) if decision["granularity"] == "subgroup" else 1
    return _merged((bits == 0, count * size) for bits, count in runs_of(decision, decisions))


def same_zeros(left: list[tuple[bool, int]], right: list[tuple[bool, int]], slack: int = 0) -> bool:
    """Whether two patterns of `zeros_of` leave out the same channels.

    Args:
      left, right: The patterns. One run stands for any number of channels.
      slack: By how many channels the lengths may differ at the end: a last subgroup is filled up.
    """
    if len(left) != len(right) or [zero for zero, _ in left] != [zero for zero, _ in right]:
        return False
    counts = [(a, b) for (_, a), (_, b) in zip(left, right, strict=True)]
    if len(counts) <= 1:
        return True
    *inner, last = counts
    return all(a == b for a, b in inner) and abs(last[0] - last[1]) <= slack


def _merged(runs: Iterable[tuple[bool, int]]) -> list[tuple[bool, int]]:
    merged: list[tuple[bool, int]] = []
    for zero, count in runs:
        if merged and merged[-1][0] == zero:
            merged[-1] = (zero, merged[-1][1] + count)
        else:
            merged.append((zero, count))
    return merged
