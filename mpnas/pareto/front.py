"""A front: the searched points that no other one beats, with the baselines to judge them by.

`build` turns records into the document that `schema.json` describes. The same records in another
order give the same document, byte for byte once dumped.
"""

import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpnas.errors import FrontFileError, nearest
from mpnas.pareto.document import check_front
from mpnas.pareto.dominance import nondominated
from mpnas.pareto.hypervolume import hypervolume
from mpnas.pareto.objectives import (
    directions_of, on_front, table_of, value_of, wrong_objectives,
)
from mpnas.pareto.record import KINDS, Record
from mpnas.pareto.schema import SCHEMA_VERSION, plain
from mpnas.pareto.summary import label_of, stat

_COPIED = (
    "trial", "kind", "controller", "method", "seed", "budget", "limits", "stage", "gap", "assignment",
    "seconds", "steps", "artifacts",
)
_COPIED_REJECTED = (
    "trial", "kind", "controller", "seed", "budget", "limits", "status", "stage", "metrics",
)


def build(
    records: Iterable[Record],
    *,
    run: Mapping[str, Any],
    objectives: Sequence[Mapping[str, Any]],
    cost_models: Sequence[Mapping[str, Any]],
    ties: Sequence[Mapping[str, Any]],
    created_utc: str,
) -> dict[str, Any]:
    """The front document of a run.

    Args:
      records: All trials. Searches that are done, measured on a real assignment and within every
        limit become points; baselines that are done become references; the rest is rejected
        with the reason.
      run: id, config_sha256, seeds, model, dataset, sites (site -> kind, decisions, parameters,
        macs), and optionally config and env.
      objectives: name, direction, unit, kind, on_front, and cost_model for costs.
      cost_models: id, counts, and optionally params.
      ties: id, members, why; become the document's groups.
      created_utc: When, as "2026-01-31T12:00:00Z".

    Returns:
      A document that satisfies `schema.json` and every invariant that needs no files.

    Raises:
      FrontFileError: Two records share an id, a record lacks an objective or the cost of a limit,
        objectives contradict each other, or the result would be refused by `load`.
    """
    rows = sorted((record.to_json() for record in records), key=lambda row: row["trial"])
    axes = [dict(objective) for objective in objectives]
    _refuse_twins(rows)
    if wrong := wrong_objectives(axes, cost_models):
        raise FrontFileError(f"these objectives make no front: {wrong[0]}.")
    sites = run.get("sites", {})
    # A failed trial may lack any cost, so its limits are not even compared.
    refusals = {row["trial"]: _refusal(row) for row in rows}
    kept = [row for row in rows if refusals[row["trial"]] is None]
    return assemble(
        points=[_point(row, sites) for row in kept if row["kind"] == "search"],
        references=[_point(row, sites) for row in kept if row["kind"] != "search"],
        rejected=[_rejected(row, str(why)) for row in rows if (why := refusals[row["trial"]])],
        run=run, objectives=axes, cost_models=cost_models, ties=ties, created_utc=created_utc,
    )


def assemble(
    *,
    points: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, Any]],
    run: Mapping[str, Any],
    objectives: Sequence[Mapping[str, Any]],
    cost_models: Sequence[Mapping[str, Any]],
    ties: Sequence[Mapping[str, Any]],
    created_utc: str,
) -> dict[str, Any]:
    """The front document of finished rows, which are put in order here.

    Args:
      points, references, rejected: Rows as in `schema.json`, in any order. Ids and `nondominated` are
        given here; those that they have do not count.
      run, objectives, cost_models, ties, created_utc: As in `build`.

    Raises:
      FrontFileError: `load` would refuse the result.
    """
    ordered = _ordered(points, objectives, "p")
    for point, on in zip(ordered, front_mask(ordered, objectives), strict=True):
        point["nondominated"] = on
    baselines = _ordered(references, objectives, "r")
    refused = sorted(rejected, key=lambda row: row["trial"])
    document = plain({
        "schema": SCHEMA_VERSION,
        "created_utc": created_utc,
        "generator": {"name": "mpnas", "version": _version()},
        "run": run,
        "objectives": objectives,
        "cost_models": cost_models,
        "groups": ties,
        "references": baselines,
        "points": ordered,
        "rejected": refused,
    })
    if volume := volume_block(objectives, ordered, baselines):
        document["hypervolume"] = plain(volume)
    check_front(document, "the front")
    return document


def _version() -> str:
    try:
        return importlib.metadata.version("mpnas")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _refuse_twins(rows: Sequence[Mapping[str, Any]]) -> None:
    counts = Counter(row["trial"] for row in rows)
    if twins := sorted(trial for trial, count in counts.items() if count > 1):
        raise FrontFileError(
            f"{len(twins)} trial ids come twice, '{twins[0]}' first; give each trial its own."
        )


def _refusal(row: Mapping[str, Any]) -> str | None:
    """Why a record is no point and no reference; None if it is one."""
    if row["status"] == "failed":
        return row["reason"]
    if row["kind"] != "search":
        return None
    if row["stage"] == "searched":
        return "it stopped at stage 'searched': its metrics are of the mixture, not of a choice."
    over = [_excess(row, name, limit) for name, limit in sorted(row["limits"].items())]
    return " ".join(sentence for sentence in over if sentence) or None


def _excess(row: Mapping[str, Any], name: str, limit: float) -> str | None:
    if name not in row["costs"]:
        raise FrontFileError(
            f"trial '{row['trial']}' limits '{name}' but has no such cost; "
            f"it has: {nearest(name, row['costs']) or 'none'}."
        )
    cost = row["costs"][name]
    return f"{name} {cost:.12g} exceeds its limit {limit:.12g}." if cost > limit else None


def _point(row: Mapping[str, Any], sites: Mapping[str, Any]) -> dict[str, Any]:
    over = [name for name, limit in row["limits"].items() if _excess(row, name, limit)]
    return {
        **{name: row[name] for name in _COPIED},
        "label": label_of(row, sites),
        "feasible": not over,
        "nondominated": False,  # told once all points are known
        "metrics": {name: stat([value]) for name, value in row["metrics"].items()},
        "costs": _counted(row["costs"]),
    }


def _rejected(row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    kept = {name: row[name] for name in _COPIED_REJECTED}
    return {**kept, "reason": reason, "costs": _counted(row["costs"])}


def _counted(costs: Mapping[str, float]) -> dict[str, float]:
    # Costs are counts: 4096.0 and 4096 must not make two different files. Above 2**53 a float no
    # longer holds every integer, so it is left as it came.
    return {
        name: int(cost) if float(cost).is_integer() and abs(cost) <= 2**53 else cost
        for name, cost in costs.items()
    }


def place_of(point: Mapping[str, Any], objectives: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Sort key: kind, then first cost ascending, then the metric from best to worst, then trial."""
    cost, metric = on_front(objectives, "cost")[0], on_front(objectives, "metric")[0]
    sign = -1.0 if metric["direction"] == "max" else 1.0
    return (
        KINDS.index(point["kind"]),
        value_of(point, cost),
        sign * value_of(point, metric),
        point["trial"],
    )


def _ordered(
    points: Sequence[Mapping[str, Any]], objectives: Sequence[Mapping[str, Any]], letter: str
) -> list[dict[str, Any]]:
    ordered = sorted(points, key=lambda point: place_of(point, objectives))
    return [
        {**point, "id": f"{letter}{index:03d}", "nondominated": False}
        for index, point in enumerate(ordered)
    ]


def front_mask(
    points: Sequence[Mapping[str, Any]], objectives: Sequence[Mapping[str, Any]]
) -> list[bool]:
    """For each point whether no other one dominates it in the objectives that are on the front."""
    axes = on_front(objectives)
    return nondominated(table_of(points, axes), directions_of(axes)).tolist()


def corner_of(
    axes: Sequence[Mapping[str, Any]],
    dearest: Sequence[Mapping[str, Any]],
    measured: Sequence[Mapping[str, Any]],
) -> dict[str, float]:
    """Reference point of a hypervolume: the largest costs of `dearest`; metrics 0, or the worst of
    `measured` where less is better."""
    corner: dict[str, float] = {}
    for axis in axes:
        if axis["kind"] == "cost":
            corner[axis["name"]] = max(value_of(one, axis) for one in dearest)
        elif axis["direction"] == "max":
            corner[axis["name"]] = 0.0
        else:
            corner[axis["name"]] = max(value_of(one, axis) for one in measured)
    return corner


def volume_block(
    objectives: Sequence[Mapping[str, Any]],
    points: Sequence[Mapping[str, Any]],
    references: Sequence[Mapping[str, Any]],
) -> dict[str, Any] | None:
    """Hypervolume of the points with its reference point; None if no float network was measured.

    A float network scores and costs what one would have without mpnas, so the reference point has
    its costs; metrics start at 0 or, where less is better, at the worst one measured.
    """
    floats = [reference for reference in references if reference["kind"] == "float"]
    if not floats:
        return None
    axes = on_front(objectives)
    corner = corner_of(axes, floats, [*points, *references])
    value = hypervolume(table_of(points, axes), directions_of(axes), list(corner.values()))
    return {
        "objectives": list(corner),
        "reference_point": corner,
        "rule": "costs of the float network; metrics 0, or the worst measured if less is better",
        "value": value,
    }
