"""Ten invariants that every front must satisfy, each checked by recomputation.

I1 it follows the schema, and names refer to what exists. I2 `nondominated`, feasibility and
hypervolume are what the numbers say. I3 costs follow from the assignment. I4 a site has as many
decisions as it declares. I5 tied sites agree. I6 mean and std are those of the values. I7 no NaN,
canonical order, stable bytes. I8 artefacts have their hashes and stay inside. I9 an export has the
size that was promised. I10 and the bit operations.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpnas.errors import FrontFileError, MpnasError
from mpnas.pareto.artifacts import wrong_files, wrong_sizes
from mpnas.pareto.bits import runs_of, same_zeros, zeros_of
from mpnas.pareto.document import dumps
from mpnas.pareto.front import front_mask, place_of, volume_block
from mpnas.pareto.objectives import wrong_names
from mpnas.pareto.schema import complaints
from mpnas.pareto.summary import stat

Front = dict[str, Any]
Recompute = Callable[[dict[str, Any]], Mapping[str, float]]


def violations(
    front: Front, *, recompute: Recompute | None = None, root: Path | None = None
) -> list[str]:
    """All invariants that a front breaks, one sentence each, beginning with the invariant's name.

    Args:
      front: A document; need not be valid.
      recompute: Assignment -> exact costs, for I3; None leaves I3 out.
      root: The run folder, for the hashes of I8; None checks only that paths stay inside.

    Returns:
      Sentences such as "I2: p003 is marked nondominated, and another point beats it."; empty for
      a sound front. Where I1 or the NaN part of I7 fails, the rest is not looked at.
    """
    try:
        data = dumps(front)
    except FrontFileError as error:
        return [f"I7: {error}"]
    if wrong := complaints(front) or list(wrong_names(front)):
        return [f"I1: {reason}." for reason in wrong]
    checks: list[Iterator[str]] = [
        _dominance(front),
        _costs(front, recompute) if recompute else iter(()),
        _counts(front),
        _ties(front),
        _stats(front),
        _canonical(front, data),
    ]
    for point in _all(front):
        checks.append(_files(point, root))
        checks += [_sizes(point, "I9", "weight_bytes"), _sizes(point, "I10", "bops")]
    return [sentence for check in checks for sentence in check]


def _files(point: Front, root: Path | None) -> Iterator[str]:
    for wrong in wrong_files(point["artifacts"], root):
        yield f"I8: {point['id']}: {wrong}"


def _sizes(point: Front, invariant: str, cost: str) -> Iterator[str]:
    for wrong in wrong_sizes(point["artifacts"], point["costs"], cost):
        yield f"{invariant}: {point['id']}: {wrong}"


def _all(front: Front) -> list[dict[str, Any]]:
    return front["points"] + front["references"]


def _dominance(front: Front) -> Iterator[str]:
    mask = front_mask(front["points"], front["objectives"])
    for point, on in zip(front["points"], mask, strict=True):
        if point["nondominated"] and not on:
            yield f"I2: {point['id']} is marked nondominated, and another point beats it."
        if on and not point["nondominated"]:
            yield f"I2: {point['id']} is marked dominated, and no point beats it."
        if not point["feasible"]:
            yield f"I2: {point['id']} is a point and not feasible; it belongs to rejected."
    for point in _all(front):
        costs, limits = point["costs"], point["limits"]
        over = [name for name, limit in limits.items() if costs.get(name, math.inf) > limit]
        if point["feasible"] != (not over):
            yield f"I2: {point['id']} has feasible {point['feasible']}, over its limits: {over}."
    for reference in front["references"]:
        if reference["nondominated"]:
            yield f"I2: reference {reference['id']} is marked nondominated; only points can be."
    volume = volume_block(front["objectives"], front["points"], front["references"])
    written = front.get("hypervolume")
    if (volume is None) != (written is None):
        yield "I2: hypervolume stands if and only if a float network is among the references."
    elif volume and written and not _same_volume(volume, written):
        yield f"I2: hypervolume is {written['value']:.12g}, recomputed {volume['value']:.12g}."


def _same_volume(one: Front, other: Front) -> bool:
    alike = all(one[key] == other[key] for key in ("objectives", "reference_point"))
    return alike and math.isclose(one["value"], other["value"], rel_tol=1e-9)


def _costs(front: Front, recompute: Recompute) -> Iterator[str]:
    for point in _all(front):
        if not point["assignment"]:
            continue  # the float network chose nothing
        try:
            exact = recompute(point["assignment"])
        except MpnasError as error:
            yield f"I3: the costs of {point['id']} cannot be recomputed: {error}"
            continue
        for name in sorted(set(exact) | set(point["costs"])):
            written, again = point["costs"].get(name), exact.get(name)
            if written != again:
                yield f"I3: {point['id']} has {name} {written}, its assignment costs {again}."


def _counts(front: Front) -> Iterator[str]:
    sites = front["run"]["sites"]
    for point in _all(front):
        assignment = point["assignment"]
        if not assignment and point["kind"] == "float":
            continue
        if missing := sorted(set(sites) - set(assignment)):
            yield f"I4: {point['id']} assigns nothing to '{missing[0]}' ({len(missing)} missing)."
        for name, decision in assignment.items():
            if name not in sites:
                yield f"I4: {point['id']} assigns bits to '{name}', which is no site of the run."
                continue
            site = sites[name]
            total = sum(count for _, count in runs_of(decision, site["decisions"]))
            if ("channels" in decision) != (site["kind"] == "width"):
                yield f"I4: {point['id']} decides '{name}' as something other than {site['kind']}."
            elif site["kind"] != "width" and total != site["decisions"]:
                yield (
                    f"I4: {point['id']} has {total} decisions at '{name}', "
                    f"which declares {site['decisions']}."
                )


def _ties(front: Front) -> Iterator[str]:
    sites = front["run"]["sites"]
    agree = {"weight": _same_pattern, "activation": _same_bits, "width": _same_width}
    what = {"weight": "zero patterns", "activation": "bits", "width": "widths"}
    for point in _all(front):
        for group in front["groups"]:
            members = [name for name in group["members"] if name in point["assignment"]]
            for kind, same in agree.items():
                of_kind = [name for name in members if sites[name]["kind"] == kind]
                for name in of_kind[1:]:
                    if not same(point["assignment"], sites, of_kind[0], name):
                        yield (
                            f"I5: {point['id']} gives '{of_kind[0]}' and '{name}' different "
                            f"{what[kind]}, tied as '{group['id']}': {group['why']}."
                        )


def _same_pattern(assignment: Front, sites: Front, left: str, right: str) -> bool:
    # Only masks are tied: 4 bits beside 8 is fine, 0 beside 8 is a missing channel in a sum.
    one, other = (zeros_of(assignment[name], sites[name]["decisions"]) for name in (left, right))
    sizes = [assignment[name].get("group_size", 1) for name in (left, right)]
    return same_zeros(one, other, slack=max(sizes) - 1)


def _same_bits(assignment: Front, sites: Front, left: str, right: str) -> bool:
    one, other = (runs_of(assignment[name], sites[name]["decisions"]) for name in (left, right))
    if len(one) == len(other) == 1:
        return one[0][0] == other[0][0]
    return one == other


def _same_width(assignment: Front, sites: Front, left: str, right: str) -> bool:
    return assignment[left].get("channels") == assignment[right].get("channels")


def _stats(front: Front) -> Iterator[str]:
    for point in _all(front):
        for name, written in point["metrics"].items():
            again = stat(written["values"])
            for key in ("n", "mean", "std"):
                if not _same_number(written[key], again[key]):
                    yield (
                        f"I6: {point['id']} has {key} {written[key]} for {name}, "
                        f"its values give {again[key]}."
                    )


def _same_number(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _canonical(front: Front, data: bytes) -> Iterator[str]:
    if dumps(json.loads(data)) != data:
        yield "I7: the front written, read and written again gives other bytes."
    for part, letter in (("points", "p"), ("references", "r")):
        rows = front[part]
        if [row["id"] for row in rows] != [f"{letter}{index:03d}" for index in range(len(rows))]:
            yield f"I7: the ids of {part} are not {letter}000, {letter}001, ... in order."
        places = [place_of(row, front["objectives"]) for row in rows]
        if places != sorted(places):
            yield f"I7: {part} are not in order: kind, first cost, metric from best, trial."
    trials = [row["trial"] for row in _all(front) + front["rejected"]]
    if len(set(trials)) < len(trials):
        yield "I7: a trial id comes twice."
    rejected = [row["trial"] for row in front["rejected"]]
    if rejected != sorted(rejected):
        yield "I7: rejected trials are not in the order of their ids."
