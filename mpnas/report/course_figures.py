"""Figures of the course of a run: costs while searching, and the hypervolume as trials ended."""

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mpnas.pareto.hypervolume import hypervolume
from mpnas.pareto.objectives import directions_of, first_cost, on_front, table_of
from mpnas.report.evidence import Evidence, Row
from mpnas.report.front_figure import Picture
from mpnas.report.svg import (
    SHAPES, Axes, Scale, around, figure, frame, line, mark, short_amount,
)
from mpnas.report.tables import amount_text, in_words

Front = Mapping[str, Any]
PANELS, MOMENTS = 24, 200
LOW, HIGH = 150, 240  # pixels


def search_pictures(front: Front, history: Mapping[str, Sequence[Row]]) -> list[tuple[str, Picture]]:
    """(label, figure) of at most 24 groups of trials that differ only in seed.

    Each trial is two lines, `data-kind` "expected" and "exact": the cost of the mixture, and of its
    likeliest candidates. A dotted line is the limit. Trials without a course are left out: those without
    rows, and those that came to their choice in one look.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for point in front["points"]:
        groups.setdefault(point["label"], []).append(point)
    found = []
    # Searches under one budget stand side by side.
    for label, points in sorted(groups.items(), key=lambda g: (sorted(g[1][0]["limits"].items()), g[0])):
        cost = next((name for name in sorted(points[0]["limits"])), first_cost(front)["name"])
        curves = {p["trial"]: _curve(history.get(p["trial"], ()), cost) for p in points}
        curves = {trial: curve for trial, curve in curves.items() if len(curve) > 1}
        if curves:
            limits = [p["limits"][cost] for p in points if cost in p["limits"]]
            found.append((label, _panel(label, cost, curves, limits[:1])))
    return found[:PANELS]


def _curve(rows: Sequence[Row], cost: str) -> list[tuple[float, float, float]]:
    """(step, expected, exact) of the rows of a search; one row a step, the newest."""
    steps: dict[float, tuple[float, float, float]] = {}
    for row in rows:
        amounts = (_amount(row, kind, cost) for kind in ("expected_costs", "discrete_costs"))
        numbers = (row.get("stage_step"), *amounts)
        if row.get("stage") == "search" and all(_finite(number) for number in numbers):
            steps[numbers[0]] = numbers  # type: ignore[index, assignment]
    return [steps[step] for step in sorted(steps)]


def _amount(row: Row, kind: str, cost: str) -> Any:
    costs = row.get(kind)
    return costs.get(cost) if isinstance(costs, dict) else None


def _finite(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)


def _panel(
    label: str, cost: str, curves: Mapping[str, Sequence[tuple[float, float, float]]], limits: Sequence[float]
) -> Picture:
    steps = [row[0] for curve in curves.values() for row in curve]
    amounts = [value for curve in curves.values() for row in curve for value in row[1:]] + [*limits]
    axes = Axes(Scale(min(steps), max(steps)), Scale(0, max(max(amounts), 1e-9) * 1.06), LOW)
    parts = [frame(axes, [(t, short_amount(t)) for t in axes.x.ticks(4)],
                   [(t, short_amount(t)) for t in axes.y.ticks(4)])]
    parts += [line(axes, [(axes.x.low, limit), (axes.x.high, limit)], class_="limit", data_kind="limit")
              for limit in limits]
    for trial, curve in curves.items():
        for place, kind in ((1, "expected"), (2, "exact")):
            points = [(row[0], row[place]) for row in curve]
            parts.append(line(axes, points, class_=kind, data_id=trial, data_kind=kind))
    words = f"{cost} over the steps of the search: expected and exact, of {len(curves)} seeds."
    svg = figure(axes, f"{label}: {cost}", words, *parts)
    rows = [
        (trial, f"{step:,g}", *map(amount_text, amounts))
        for trial, curve in curves.items() for step, *amounts in curve[-1:]
    ]
    heads = ("trial", "last step", "expected", "exact")
    return Picture(svg, above=in_words(cost), below="step", heads=heads, rows=rows)


def volume_picture(front: Front, evidence: Evidence) -> Picture | None:
    """The hypervolume of the searches that were over, as a step line; None where there is none.

    Horizontal are minutes since the first trial began if every record says when it ended, else the
    number of searches, by name. Vertical is the share of the last value; `data-y` is the value itself.
    """
    block, points = front.get("hypervolume"), front["points"]
    if block is None or not points or not block["value"] > 0:
        return None
    order, timed = _ordered(front, evidence.ended)
    axes_of_front = on_front(front["objectives"])
    directions = directions_of(axes_of_front)
    corner = [block["reference_point"][objective["name"]] for objective in axes_of_front]
    table = table_of([point for _, point in order], axes_of_front)
    every = max(1, math.ceil(len(order) / MOMENTS))
    moments = [k for k in range(1, len(order) + 1) if k % every == 0 or k in (1, len(order))]
    course = [(order[k - 1][0], hypervolume(table[:k], directions, corner), order[k - 1][1]) for k in moments]
    x = Scale(0, course[-1][0]) if timed else around([when for when, _, _ in course])
    axes = Axes(x, Scale(0, block["value"] * 1.06), HIGH)
    parts = [frame(axes, [(t, short_amount(t)) for t in axes.x.ticks(6) if timed or t.is_integer()],
                   [(share * block["value"], f"{100 * share:g}") for share in (0, 0.25, 0.5, 0.75, 1)])]
    begin = [(0.0, 0.0)] if timed else []
    steps = [*begin, *((when, value) for when, value, _ in course)]
    parts.append(line(axes, steps, step=True, class_="front", data_kind="volume"))
    for when, value, point in course:
        said = f"{point['id']}: {point['label']}, seed {point['seed']}\n{100 * value / block['value']:.1f} %"
        parts.append(mark(axes, when, value, SHAPES[0], said, class_="mark volume", data_id=point["id"],
                          data_kind="volume"))
    name = "hypervolume over time" if timed else "hypervolume over the searches"
    return Picture(
        figure(axes, name, f"{len(order)} searches; the last value is {block['value']:.6g}.", *parts),
        above="hypervolume [% of the last]",
        below="minutes since the first trial began" if timed else "searches, by name",
        heads=("point", "minutes" if timed else "search", "hypervolume", "% of the last"),
        rows=[
            (point["id"], f"{when:.2f}" if timed else f"{when:g}", f"{value:,.6g}",
             f"{100 * value / block['value']:.2f}")
            for when, value, point in course
        ],
    )


def _ordered(front: Front, ended: Mapping[str, str]) -> tuple[list[tuple[float, Mapping[str, Any]]], bool]:
    """(minutes or number, point) in the order of ending, and whether times are known."""
    points = front["points"]
    if any(point["trial"] not in ended for point in points):
        return [(float(k), p) for k, p in enumerate(sorted(points, key=lambda p: p["trial"]), 1)], False
    times = {trial: datetime.datetime.fromisoformat(when).timestamp() for trial, when in ended.items()}
    rows = [row for row in (*points, *front["references"]) if row["trial"] in times]
    first = min(times[row["trial"]] - row["seconds"].get("total", 0.0) for row in rows)
    found = sorted(points, key=lambda p: (times[p["trial"]], p["trial"]))
    # A record tells whole seconds: even a run of one has to have a width.
    return [(max((times[p["trial"]] - first) / 60, 1 / 60), p) for p in found], True
