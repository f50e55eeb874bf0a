"""Objectives: which numbers of a point are compared, in which direction, under which name.

The metric that decides is measured on the selection part. Metrics of the test part are named
`test_...`; they are shown, and never decide.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mpnas.errors import FrontFileError, nearest

TEST_PREFIX = "test_"
PLACE = {"metric": "metrics", "cost": "costs"}
"""Kind of an objective -> the field of a point that holds its numbers."""


def on_front(objectives: Sequence[Mapping[str, Any]], kind: str | None = None) -> list[Any]:
    """The objectives that decide dominance, in file order; only those of `kind` if given."""
    return [o for o in objectives if o["on_front"] and kind in (None, o["kind"])]


def wrong_objectives(
    objectives: Sequence[Mapping[str, Any]], cost_models: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What the schema cannot see: clauses on objectives that contradict each other."""
    wrong = []
    names = [o["name"] for o in objectives]
    models = [model["id"] for model in cost_models]
    for name in sorted({name for name in names if names.count(name) > 1}):
        wrong.append(f"objective '{name}' is listed {names.count(name)} times")
    for kind in ("metric", "cost"):
        if not on_front(objectives, kind):
            wrong.append(f"no {kind} has on_front true; a front needs a metric and a cost")
    for objective in objectives:
        name, model = objective["name"], objective.get("cost_model")
        if objective["on_front"] and name.startswith(TEST_PREFIX):
            wrong.append(f"objective '{name}' is on the front; the test part selects nothing")
        if objective["kind"] == "cost" and model not in models:
            known = nearest(str(model), models) or "none"
            wrong.append(f"objective '{name}' has cost model '{model}', described: {known}")
    return wrong


def wrong_names(front: Mapping[str, Any]) -> Iterator[str]:
    """What the schema cannot see of a front: clauses on names that refer to nothing.

    Args:
      front: A document that satisfies `schema.json`.
    """
    yield from wrong_objectives(front["objectives"], front["cost_models"])
    dataset = front["run"]["dataset"]
    if dataset["select_part"] == dataset["report_part"]:
        yield f"points are selected and reported on the same part '{dataset['select_part']}'"
    for group in front["groups"]:
        for member in sorted(set(group["members"]) - set(front["run"]["sites"])):
            yield f"group '{group['id']}' has the member '{member}', which is no site of the run"
    for point in front["points"] + front["references"]:
        for objective in on_front(front["objectives"]):
            if objective["name"] not in point[PLACE[objective["kind"]]]:
                name, kind = objective["name"], objective["kind"]
                yield f"trial '{point['trial']}' has no {kind} '{name}'"
    yield from _wrong_origins(front)


def _wrong_origins(front: Mapping[str, Any]) -> Iterator[str]:
    names = [run["name"] for run in front["run"].get("merged", [])]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"run.merged lists '{name}' {names.count(name)} times"
    for row in front["points"] + front["references"] + front["rejected"]:
        origin = row.get("origin")
        if names and origin is None:
            yield f"trial '{row['trial']}' of a merged front lacks its origin"
        elif origin is not None and origin["run"] not in names:
            yield f"trial '{row['trial']}' comes from '{origin['run']}', which run.merged does not list"


def value_of(point: Mapping[str, Any], objective: Mapping[str, Any]) -> float:
    """A point's number for an objective, in the objective's unit; means for metrics.

    Raises:
      FrontFileError: The point does not have it.
    """
    name = objective["name"]
    numbers = point[PLACE[objective["kind"]]]
    if name not in numbers:
        raise FrontFileError(
            f"trial '{point['trial']}' has no {objective['kind']} '{name}'; "
            f"it has: {nearest(name, numbers) or 'none'}. Name the objective as the records do."
        )
    found = numbers[name]
    return found["mean"] if isinstance(found, dict) else found


def table_of(
    points: Sequence[Mapping[str, Any]], objectives: Sequence[Mapping[str, Any]]
) -> Float[np.ndarray, "points objectives"]:
    """One row per point, one column per objective."""
    rows = [[value_of(point, objective) for objective in objectives] for point in points]
    return np.array(rows, dtype=np.float64).reshape(len(points), len(objectives))


def directions_of(objectives: Sequence[Mapping[str, Any]]) -> list[str]:
    """The direction of each objective."""
    return [objective["direction"] for objective in objectives]


def select_metric(front: Mapping[str, Any]) -> dict[str, Any]:
    """The objective of the metric that decides."""
    return on_front(front["objectives"], "metric")[0]


def first_cost(front: Mapping[str, Any]) -> dict[str, Any]:
    """The objective of the first cost that decides: the horizontal axis of a plot."""
    return on_front(front["objectives"], "cost")[0]


def report_metric(front: Mapping[str, Any]) -> dict[str, Any]:
    """The objective of the same metric on the test part, or the deciding one where none exists."""
    select = select_metric(front)
    name = TEST_PREFIX + select["name"]
    return next((o for o in front["objectives"] if o["name"] == name), select)
