"""The figure of a front: accuracy against cost, with error bars, baselines and what was rejected."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from mpnas.pareto.objectives import first_cost, report_metric
from mpnas.pareto.summary import SeedMean, over_seeds
from mpnas.report.commands import portable
from mpnas.report.svg import (
    CROSS, SHAPES, SQUARE, TICK, Axes, Scale, around, exact, figure, frame, glyph, line, mark, percent,
    short_amount, tag,
)
from mpnas.report.tables import amount_text, in_words

Front = Mapping[str, Any]
HEIGHT = 380
PHONE, LETTER = 290, 6.4  # pixels: width of the figure on a narrow phone, of a letter of a label
COLOURS, LONG = 6, 160


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure with the words around it.

    Attributes:
      svg: The figure.
      legend: (glyph, words) of what is in it.
      above, below: Titles of the vertical and the horizontal axis.
      notes: Sentences on what is not to be seen, or easily misread.
      heads, rows: The same as a table; the first cell of a row is a name, the others are numbers.
    """

    svg: Markup
    legend: Sequence[tuple[Markup, str]] = ()
    above: str = ""
    below: str = ""
    notes: Sequence[str] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclasses.dataclass(frozen=True)
class Spot:
    """Something measured, where it is drawn: x is the first cost, y the metric that is reported."""

    x: float
    y: float
    row: Mapping[str, Any]


def front_picture(front: Front) -> Picture | None:
    """The figure; None where nothing was measured.

    Every point, reference and rejected trial that has both numbers is a mark whose `data-id`, `data-x`
    and `data-y` are its id (a rejected trial has only its name) and numbers. A rejected trial without
    them is a tick on the base line, at its limit.
    """
    points, references, rejected = (_spots(front, part) for part in ("points", "references", "rejected"))
    spots = [*points, *references, *rejected]
    if not spots:
        return None
    styles = styles_of(front)
    bars = [bar for part in ("points", "references") for bar in _bars(front, front[part])]
    limits = _limits(front)
    axes = _axes(spots, bars, [x for x, _ in limits])
    on = sorted((s for s in points if s.row["nondominated"]), key=lambda s: s.x)
    parts = [_frame(front, axes), *_float_line(front, axes, references)]
    if on:
        # Between two points one can only buy the cheaper: the line is flat, then jumps.
        parts.append(line(axes, [(s.x, s.y) for s in on], step=True, class_="front", data_kind="front"))
    parts += [_whisker(axes, bar, styles) for bar in bars]
    parts += [_rug(axes, x, row) for x, row in limits]
    parts += [_mark(front, axes, spot, CROSS, "rejected", "rejected") for spot in rejected]
    order = {"random": 0, "uniform": 1, "float": 2}
    for spot in sorted(references, key=lambda s: order[s.row["kind"]]):
        shape = CROSS if spot.row["kind"] == "random" else SQUARE
        parts.append(_mark(front, axes, spot, shape, spot.row["kind"], spot.row["kind"]))
    for spot in sorted(points, key=lambda s: s.row["nondominated"]):
        shape, class_ = styles[spot.row["controller"] or "search"]
        state = "on" if spot.row["nondominated"] else "off"
        parts.append(_mark(front, axes, spot, shape, f"{class_} {state}", "search"))
    parts += _uniform_labels(front, axes)
    metric, cost = report_metric(front), first_cost(front)
    name = f"{in_words(metric['name'])} against {in_words(cost['name'])}"
    told = f"{len(points)} searched points, {len(on)} of them on the front, and {len(references)} references."
    return Picture(
        figure(axes, name, told, *parts), _legend(front, styles, references, rejected, limits),
        f"{in_words(metric['name'])}{_unit(metric)}", f"{in_words(cost['name'])} [{cost['unit']}]",
        _notes(front, rejected, limits),
    )


def styles_of(front: Front) -> dict[str, tuple[str, str]]:
    """Controller -> its shape and its class, which gives the colour."""
    names = sorted({point["controller"] or "search" for point in front["points"]})
    return {n: (SHAPES[i % len(SHAPES)], f"s{i % COLOURS}") for i, n in enumerate(names)}


def percent_of(front: Front, value: float) -> str:
    """A number of the reported metric as a person reads it.

    >>> percent_of({"objectives": [{"name": "accuracy", "kind": "metric", "on_front": True,
    ...                             "unit": "fraction"}]}, 0.98333)
    '98.33\\xa0%'
    """
    return f"{100 * value:.2f}\u00a0%" if report_metric(front)["unit"] == "fraction" else f"{value:.6g}"


def _spots(front: Front, part: str) -> list[Spot]:
    cost, metric = first_cost(front)["name"], report_metric(front)["name"]
    spots = []
    for row in front[part]:
        found = row["metrics"].get(metric)
        if found is not None and cost in row["costs"]:
            spots.append(Spot(row["costs"][cost], found["mean"] if isinstance(found, dict) else found, row))
    return spots


def _limits(front: Front) -> list[tuple[float, Mapping[str, Any]]]:
    """Rejected trials that cannot be placed, at what their first cost was limited to."""
    cost, metric = first_cost(front)["name"], report_metric(front)["name"]
    return [
        (row["limits"][cost], row) for row in front["rejected"]
        if cost in row["limits"] and not (metric in row["metrics"] and cost in row["costs"])
    ]


@dataclasses.dataclass(frozen=True)
class Bar:
    """The spread of a label with several seeds: its mean cost, and its metric."""

    mean: SeedMean
    x: float
    low: float
    high: float


def _bars(front: Front, rows: Iterable[Mapping[str, Any]]) -> list[Bar]:
    cost, metric = first_cost(front)["name"], report_metric(front)["name"]
    return [
        Bar(mean, mean.costs[cost]["mean"], found["mean"] - found["std"], found["mean"] + found["std"])
        for mean in over_seeds(rows)
        if cost in mean.costs and (found := mean.metrics.get(metric)) and found["std"] is not None
    ]


def _axes(spots: Sequence[Spot], bars: Sequence[Bar], limits: list[float]) -> Axes:
    xs = [*(spot.x for spot in spots), *(bar.x for bar in bars), *limits]
    ys = [*(spot.y for spot in spots), *(y for bar in bars for y in (bar.low, bar.high))]
    log = min(xs) > 0 and max(xs) / min(xs) > 4
    return Axes(around(xs, log=log), around(ys, room=0.08), HEIGHT)


def _frame(front: Front, axes: Axes) -> Markup:
    scale = 100 if report_metric(front)["unit"] == "fraction" else 1
    y = Scale(axes.y.low * scale, axes.y.high * scale)
    return frame(
        axes, [(tick, short_amount(tick)) for tick in axes.x.ticks(7)],
        [(tick / scale, f"{tick:.5g}") for tick in y.ticks(7)],
    )


def _float_line(front: Front, axes: Axes, references: Sequence[Spot]) -> list[Markup]:
    heights = [spot.y for spot in references if spot.row["kind"] == "float"]
    if not heights:
        return []
    mean = math.fsum(heights) / len(heights)
    top = axes.top(mean)
    return [
        tag("line", class_="float-line", x1="0", x2="100%", y1=top, y2=top, data_kind="float-mean",
            data_y=exact(mean)),
    ]


def _whisker(axes: Axes, bar: Bar, styles: Mapping[str, tuple[str, str]]) -> Markup:
    left, bottom, top = axes.left(bar.x), axes.top(bar.low), axes.top(bar.high)
    caps = f"M-4 {bottom}H4M0 {bottom}V{top}M-4 {top}H4"
    kind = bar.mean.kind
    class_ = styles[bar.mean.controller or "search"][1] if kind == "search" else kind
    return tag("svg", tag("path", d=caps), class_=f"whisker {class_}", x=left, data_kind="error-bar",
               data_label=bar.mean.label, data_x=exact(bar.x), data_low=exact(bar.low),
               data_high=exact(bar.high))


def _mark(front: Front, axes: Axes, spot: Spot, shape: str, class_: str, kind: str) -> Markup:
    row = spot.row
    name = row.get("id", row["trial"])
    label = row.get("label") or row["controller"] or row["kind"]
    words = f"{name}: {label}, seed {row['seed']}\n{percent_of(front, spot.y)} at {amount_text(spot.x)}"
    more = {
        "search": "\non the front" if row.get("nondominated") else "\nnot on the front",
        "rejected": f"\nrejected: {_reason(row)}",
    }
    return mark(axes, spot.x, spot.y, shape, words + more.get(kind, ""), class_=f"mark {class_}",
                data_id=name, data_kind=kind)


def _rug(axes: Axes, x: float, row: Mapping[str, Any]) -> Markup:
    words = f"{row['trial']}: rejected before it was measured, limit {amount_text(x)}\n{_reason(row)}"
    return mark(axes, x, axes.y.low, TICK, words, top=axes.height, class_="mark rejected",
                data_id=row["trial"], data_kind="rejected-limit")


def _reason(row: Mapping[str, Any]) -> str:
    words = portable(row.get("reason", ""))
    return words if len(words) <= LONG else f"{words[:LONG]} …"


def _uniform_labels(front: Front, axes: Axes) -> list[Markup]:
    """Names under the uniform networks; those without room on a phone are for wider places."""
    cost, metric = first_cost(front)["name"], report_metric(front)["name"]
    means = [m for m in over_seeds(front["references"]) if m.kind == "uniform" and metric in m.metrics]
    placed: list[tuple[float, float]] = []
    parts = []
    for mean in sorted(means, key=lambda mean: -mean.costs[cost]["mean"]):
        x, y = mean.costs[cost]["mean"], _lowest(mean, metric)
        left, top = axes.x.share(x), axes.top(y) + 20
        words = mean.label.removeprefix("uniform ")
        room = LETTER * len(words) / PHONE
        narrow = all(abs(left - a) > room or abs(top - b) > 14 for a, b in placed)
        parts.append(tag("text", words, class_="label" if narrow else "label wide", x=percent(left), y=top,
                         text_anchor="middle"))
        if narrow:
            placed.append((left, top))
    return parts


def _lowest(mean: SeedMean, metric: str) -> float:
    found = mean.metrics[metric]
    return min([*found["values"], found["mean"] - (found["std"] or 0.0)])


def _legend(
    front: Front, styles: Mapping[str, tuple[str, str]], references: Sequence[Spot], rejected: Sequence[Spot],
    limits: Sequence[Any],
) -> list[tuple[Markup, str]]:
    entries = [(glyph(shape, f"{class_} on"), name) for name, (shape, class_) in styles.items()]
    if any(not point["nondominated"] for point in front["points"]):
        entries.append((glyph(SHAPES[0], "faint off"), "not on the front"))
    kinds = {spot.row["kind"] for spot in references}
    for kind, shape in (("random", CROSS), ("uniform", SQUARE), ("float", SQUARE)):
        if kind in kinds:
            words = {"random": "random bits", "uniform": "uniform bits", "float": "float network"}[kind]
            entries.append((glyph(shape, kind), words))
    if rejected or limits:
        entries.append((glyph(CROSS if rejected else "M0 6V-6", "rejected"), "rejected"))
    return entries


def _notes(front: Front, rejected: Sequence[Spot], limits: Sequence[Any]) -> list[str]:
    notes = []
    dataset = front["run"]["dataset"]
    if report_metric(front)["name"].startswith("test_"):
        notes.append(
            f"Points are chosen on part “{dataset['select_part']}” and drawn with their result on part "
            f"“{dataset['report_part']}”, so the line of the front may dip."
        )
    if any(mean.metrics and len(mean.seeds) > 1 for mean in over_seeds(front["points"])):
        notes.append("Error bars are one standard deviation over the seeds, at the mean cost.")
    if lost := len(front["rejected"]) - len(rejected) - len(limits):
        some = "one rejected trial was" if lost == 1 else f"{lost} rejected trials were"
        notes.append(f"{some.capitalize()} not measured and had no limit, so no place in the figure.")
    return notes


def _unit(metric: Mapping[str, Any]) -> str:
    return f" [{'%' if metric['unit'] == 'fraction' else metric['unit']}]"
