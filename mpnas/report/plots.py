"""Pictures of a front: accuracy against cost, and the bits of one point layer by layer.

Drawn with Matplotlib's objects on an Agg canvas: no window, no global state, safe in threads.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from mpnas.pareto.bits import Decision, main_bits
from mpnas.pareto.objectives import first_cost, report_metric, value_of
from mpnas.pareto.summary import over_seeds
from mpnas.report.layers import counts_of, layers_of
from mpnas.report.tables import in_words

Front = Mapping[str, Any]

INK, FAINT, GRID = "#222831", "#8a919c", "#e6e8ec"
# Okabe and Ito's palette (2008): told apart with any colour vision.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
# Dark is many bits; from viridis, so that it also reads in grey.
BIT_COLOURS = {0: "#eceef1", 1: "#fde725", 2: "#b5de2b", 3: "#6ece58", 4: "#35b779",
               5: "#1f9e89", 6: "#26828e", 7: "#31688e", 8: "#3e4989", 16: "#482878"}
MORE_BITS = "#2a1045"


def front_png(front: Front, path: str | os.PathLike[str]) -> None:
    """Draw the points, the front as a step line and the baselines.

    Horizontal is the first cost, logarithmic; vertical the metric on the test part, or on the
    selection part where no test was made. Points off the front are hollow.

    Args:
      front: A document that `mpnas.pareto.load` or `build` returned.
      path: PNG file to write.
    """
    figure = Figure(figsize=(7.6, 4.8), dpi=160, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    _frame(axes)
    entries = _searches(axes, front) + _baselines(axes, front)
    _scales(axes, front)
    title = f"{front['run']['model']['name']} on {front['run']['dataset']['name']}"
    axes.set_title(_safe(title), loc="left", fontsize=11, color=INK, pad=10)
    if entries:
        axes.legend(handles=entries, frameon=False, fontsize=8.5, labelcolor=INK,
                    loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial has ended", transform=axes.transAxes, ha="center",
                  color=FAINT)
    canvas.print_png(os.fspath(path))


def _scales(axes: Axes, front: Front) -> None:
    metric, cost = report_metric(front), first_cost(front)
    axes.set_xscale("log")
    axes.margins(x=0.06, y=0.09)
    low, high = axes.get_xlim()
    few = (1, 1.5, 2, 3, 5, 7) if high < 12 * low else (1, 2, 5)
    axes.xaxis.set_major_locator(LogLocator(subs=few))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", bottom=False)
    axes.set_xlabel(_words(cost["name"]))
    unit = "%" if metric["unit"] == "fraction" else metric["unit"]
    axes.set_ylabel(f"{_words(metric['name'])} [{_safe(unit)}]")


def _searches(axes: Axes, front: Front) -> list[Line2D]:
    points = [p for p in front["points"] if _height(front, p) is not None]
    on = sorted((p for p in points if p["nondominated"]), key=lambda p: _spot(front, p)[0])
    entries = []
    if on:
        # Between two points one can only buy the cheaper: the line is flat, then jumps.
        entries += axes.step(*_columns(front, on), where="post", color=INK, lw=1.1, zorder=2,
                             label="front")
    names = sorted({p["controller"] or "search" for p in points})
    for index, name in enumerate(names):
        colour = SERIES[index % len(SERIES)]
        style: dict[str, Any] = {"ls": "", "marker": "o", "mec": colour, "ms": 6.5}
        own = [p for p in points if (p["controller"] or "search") == name]
        off = [p for p in own if not p["nondominated"]]
        axes.plot(*_columns(front, off), mfc="white", alpha=0.75, zorder=3, **style)
        axes.plot(*_columns(front, [p for p in own if p["nondominated"]]), mfc=colour, zorder=4,
                  **style)
        entries.append(Line2D([], [], mfc=colour, label=_safe(f"search: {name}"), **style))
    if any(not p["nondominated"] for p in points):
        hollow = {"ls": "", "marker": "o", "mec": FAINT, "mfc": "white", "ms": 6.5}
        entries.append(Line2D([], [], label="search, off the front", **hollow))  # type: ignore
    return entries


def _baselines(axes: Axes, front: Front) -> list[Line2D]:
    entries = []
    rows = [r for r in front["references"] if _height(front, r) is not None]
    random = [r for r in rows if r["kind"] == "random"]
    if random:
        entries += axes.plot(*_columns(front, random), ls="", marker="x", color=FAINT, ms=5,
                             mew=1.2, zorder=2.5, label="random")
    uniform = [mean for mean in over_seeds(rows) if mean.kind == "uniform"]
    for mean in uniform:
        member = next(r for r in rows if r["id"] == mean.points[0])
        bits = main_bits(member["assignment"], front["run"]["sites"], "weight")
        x, scale = mean.costs[first_cost(front)["name"]]["mean"], _scale(front)
        found = mean.metrics[report_metric(front)["name"]]
        y, spread = scale * found["mean"], scale * (found["std"] or 0.0)
        axes.errorbar(x, y, yerr=spread or None, color=INK, marker="s", ms=6, mfc="#ffd166",
                      lw=1, capsize=2.5, zorder=5)
        axes.annotate("?" if bits is None else f"{bits} bit", (x, y), (0, -8), fontsize=8,
                      textcoords="offset points", ha="center", va="top", color=INK, zorder=6,
                      path_effects=[withStroke(linewidth=3, foreground="white")])
    if uniform:
        entries.append(Line2D([], [], ls="", marker="s", ms=6, mec=INK, mfc="#ffd166",
                              label="uniform bits"))
    floats = [_spot(front, r)[1] for r in rows if r["kind"] == "float"]
    if floats:
        height = sum(floats) / len(floats)
        label = f"float, {height:.4g}{' %' if _scale(front) == 100 else ''}"
        entries.append(axes.axhline(height, color=FAINT, ls=(0, (5, 3)), lw=1, zorder=1,
                                    label=label))
    return entries


def _scale(front: Front) -> float:
    return 100.0 if report_metric(front)["unit"] == "fraction" else 1.0


def _height(front: Front, point: Mapping[str, Any]) -> float | None:
    found = point["metrics"].get(report_metric(front)["name"])
    # A logarithm has no place for a cost of 0, say of a network left out as a whole.
    drawn = found is not None and value_of(point, first_cost(front)) > 0
    return _scale(front) * found["mean"] if drawn else None


def _spot(front: Front, point: Mapping[str, Any]) -> tuple[float, float]:
    return value_of(point, first_cost(front)), _scale(front) * value_of(point, report_metric(front))


def _columns(front: Front, points: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    spots = [_spot(front, point) for point in points]
    return [x for x, _ in spots], [y for _, y in spots]


def bits_png(front: Front, point: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw which share of each layer's channels has how many bits, weights beside activations.

    Args:
      front: The front that the point is of; its run describes the sites.
      point: A point or reference with an assignment.
      path: PNG file to write.
    """
    rows = layers_of(front["run"]["sites"], point["assignment"])
    size = (7.6, 1.7 + 0.27 * max(len(rows), 2))
    figure = Figure(figsize=size, dpi=160, layout=ConstrainedLayoutEngine(wspace=0.08))
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1.2])
    used: set[int] = set()
    for axes, kind in zip(panels, ("weight", "activation"), strict=True):
        _frame(axes)
        axes.grid(False)
        axes.set_title(f"{kind}s", loc="left", fontsize=10, color=INK)
        for height, row in enumerate(rows.values()):
            if kind in row:
                used |= _stacked(axes, height, *row[kind])
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1] if kind == "weight" else [0, 1])
        axes.tick_params(axis="y", length=0)
    panels[0].set_xlabel("share of channels")
    panels[0].set_yticks(range(len(rows)), [_safe(layer) for layer in rows])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    handles = [Patch(fc=_colour(b), ec=FAINT, lw=0.5, label=_bits_word(b)) for b in sorted(used)]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8),
                      frameon=False, fontsize=8.5, labelcolor=INK)
    title = f"{front['run']['model']['name']}, {point['id']}: {point['label']}"
    figure.suptitle(_safe(title), x=0.01, ha="left", fontsize=11, color=INK)
    canvas.print_png(os.fspath(path))


def _stacked(axes: Axes, height: int, decision: Decision, decisions: int) -> set[int]:
    counts = counts_of(decision, decisions)
    total, left = sum(counts.values()), 0.0
    for bits in counts:
        width, colour = counts[bits] / total, _colour(bits)
        axes.barh(height, width, left=left, height=0.78, color=colour, ec="white", lw=0.6)
        if width > 0.06:
            axes.text(left + width / 2, height, str(bits), ha="center", va="center", fontsize=7.5,
                      color="white" if sum(to_rgb(colour)) < 1.5 else INK)
        left += width
    return set(counts)


def _colour(bits: int) -> str:
    return BIT_COLOURS.get(bits, BIT_COLOURS[8] if bits < 12 else MORE_BITS)


def _bits_word(bits: int) -> str:
    return {0: "left out", 1: "1 bit"}.get(bits, f"{bits} bits")


def _frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(True, color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8.5, color=FAINT)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def _words(name: str) -> str:
    return _safe(in_words(name))


def _safe(text: str) -> str:
    # A pair of dollars would be parsed as mathematics, and a name of a stranger's may not parse.
    return text.replace("$", r"\$")
