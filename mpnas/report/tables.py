"""Tables of a front for a terminal, a log or a file: points, baselines, bits.

Each function returns a `rich` table; `text_of` lays one out as plain text for what is no terminal.
Cells are `Text`, never markup: names in a front may come from strangers.
"""

import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mpnas.pareto.bits import Sites, main_bits, shares
from mpnas.pareto.objectives import first_cost, on_front
from mpnas.pareto.summary import budget_text, over_seeds

Front = Mapping[str, Any]
NOTHING = "-"


def front_table(front: Front, *, dominated: bool = True) -> Table:
    """One row per point: who found it, its objectives, its cost against uniform 8 bits.

    Args:
      front: A document that `mpnas.pareto.load` or `build` returned.
      dominated: Whether to list points off the front, too; those on it carry a star.
    """
    base = uniform_cost(front, 8)
    title = f"{_stacked(first_cost(front)['name'])}\n[% of\n8-bit]"
    table = table_of(
        f"Front of {front['run']['id']}",
        ["id", "controller", "budget"],
        ["seed", *(_heading(o) for o in front["objectives"]), *([title] if base else [])],
    )
    for point in front["points"]:
        if point["nondominated"] or dominated:
            cells = [
                point["id"] + (" *" if point["nondominated"] else ""),
                point["controller"] or point["kind"],
                budget_text(point["budget"]) or NOTHING,
                str(point["seed"]),
                *(_cell(point["metrics"], point["costs"], o) for o in front["objectives"]),
            ]
            if base:
                cells.append(f"{100 * point['costs'][first_cost(front)['name']] / base:.1f}")
            table.add_row(*map(Text, cells), style="bold" if point["nondominated"] else "dim")
    table.caption = "* on the front: no other point is better in one objective and worse in none"
    if base:
        table.caption += f"; 8-bit: uniform, {amount_text(base)} {first_cost(front)['unit']}"
    return table


def reference_table(front: Front) -> Table:
    """One row per baseline, averaged over its seeds."""
    table = table_of(
        "References", ["baseline"], ["seeds", *(_heading(o) for o in front["objectives"])]
    )
    for mean in over_seeds(front["references"]):
        costs = {name: found["mean"] for name, found in mean.costs.items()}
        cells = (_cell(mean.metrics, costs, o) for o in front["objectives"])
        table.add_row(*map(Text, [mean.label, str(len(mean.seeds)), *cells]))
    return table


def rejected_table(front: Front) -> Table:
    """One row per trial that gave no point, with the reason."""
    table = table_of("Rejected", ["trial", "controller", "budget"], ["seed"], ["reason"])
    for row in front["rejected"]:
        budget = budget_text(row["budget"]) or NOTHING
        cells = [row["trial"], row["controller"] or row["kind"], budget, str(row["seed"])]
        table.add_row(*map(Text, [*cells, row["reason"]]))
    return table


def exports_table(front: Front) -> Table | None:
    """One row per file that was exported, with its agreement with the network; None if there is none."""
    table = table_of("Exports", ["id", "format", "file"], ["bytes"], ["against the network"])
    for cells in export_rows(front):
        table.add_row(*map(Text, cells))
    return table if table.row_count else None


def export_rows(front: Front) -> list[tuple[str, str, str, str, str]]:
    """(point, format, path, bytes, agreement) of every file that was exported."""
    return [
        (
            point["id"], export_text(one), one["path"],
            f"{one['file_bytes']:,}" if "file_bytes" in one else NOTHING,
            parity_text(one["parity"]) if one.get("parity") else NOTHING,
        )
        for point in (*front["points"], *front["references"])
        for one in point["artifacts"].get("exports", [])
    ]


def export_text(export: Mapping[str, Any]) -> str:
    """The format of an export with its options.

    >>> export_text({"format": "onnx", "options": {"storage": "int8", "vnni": True}})
    'onnx (int8, vnni)'
    """
    options = export.get("options", {}).items()
    words = ", ".join(name if value is True else str(value) for name, value in options if value is not False)
    return f"{export['format']} ({words})" if words else str(export["format"])


def parity_text(parity: Mapping[str, Any]) -> str:
    """How far an export is from its network, in words.

    >>> parity_text({"n": 1000, "mismatch_rate": 0.001, "max_abs_diff": 0.25, "metric_diff": -0.001})
    '1,000 test inputs: 0.10 % other answers, largest difference of an output 0.25, accuracy -0.10 points'
    """
    words = []
    if "mismatch_rate" in parity:
        words.append(f"{100 * parity['mismatch_rate']:.2f} % other answers")
    if "max_abs_diff" in parity:
        words.append(f"largest difference of an output {parity['max_abs_diff']:.3g}")
    if "metric_diff" in parity:
        words.append(f"accuracy {100 * parity['metric_diff']:+.2f} points")
    return f"{parity.get('n', 0):,} test inputs: {', '.join(words)}"


def bits_table(point: Mapping[str, Any], sites: Sites) -> Table:
    """Which share of a network each bit-width holds, weights and activations apart.

    Args:
      point: A point or reference; its assignment is read.
      sites: Site -> kind, decisions, parameters, macs: `front["run"]["sites"]`.
    """
    assignment = point["assignment"]
    columns = [
        ("weights, parameters", shares(assignment, sites, "weight", "parameters")),
        ("weights, MACs", shares(assignment, sites, "weight", "macs")),
        ("activations, MACs", shares(assignment, sites, "activation", "macs")),
    ]
    table = table_of(f"Bits of {point['id']}", [], ["bits", *(name for name, _ in columns)])
    for bits in sorted({bits for _, share in columns for bits in share}, reverse=True):
        name = f"{bits}" if bits else "0 (left out)"
        cells = [f"{100 * s[bits]:.1f} %" if bits in s else NOTHING for _, s in columns]
        table.add_row(*map(Text, [name, *cells]))
    return table


def volume_text(front: Front) -> str:
    """The hypervolume of a front in a sentence; empty where it has none.

    Its share is told where there is a best value of every objective: nothing for a cost, 100 % for a
    fraction to be large. It is then the share that `mpnas status` shows while the sweep runs.
    """
    block = front.get("hypervolume")
    if block is None or not front["points"]:
        return ""
    axes, corner = on_front(front["objectives"]), block["reference_point"]
    begin = " and ".join(f"{in_words(o['name'])} {amount_text(corner[o['name']])}" for o in reversed(axes))
    said = f"Hypervolume {block['value']:,.6g}, counted from {begin}"
    sides = [
        corner[o["name"]] if o["kind"] == "cost" and o["direction"] == "min"
        else 1 - corner[o["name"]] if o["unit"] == "fraction" and o["direction"] == "max"
        else 0.0
        for o in axes
    ]
    box = math.prod(sides)
    if min(sides) <= 0 or not math.isfinite(box):
        return f"{said}."
    return f"{said}; {100 * block['value'] / box:.2f} % of that of a perfect network that costs nothing."


def uniform_cost(front: Front, bits: int) -> float | None:
    """First cost of the uniform network with weights of `bits`; None if none was measured."""
    cost, sites = first_cost(front)["name"], front["run"]["sites"]
    costs = [
        reference["costs"][cost]
        for reference in front["references"]
        if reference["kind"] == "uniform"
        and main_bits(reference["assignment"], sites, "weight") == bits
    ]
    return min(costs, default=None) or None


def amount_text(cost: float) -> str:
    """A cost with its thousands marked; whole numbers in full.

    >>> amount_text(17365073920), amount_text(1297860.4), amount_text(0.25)
    ('17,365,073,920', '1,297,860', '0.25')
    """
    if float(cost).is_integer():
        return f"{int(cost):,}"
    return f"{cost:,.0f}" if abs(cost) >= 1e5 else f"{cost:,.6g}"  # six digits would become 1.3e+06


def text_of(tables: Iterable[Table]) -> str:
    """Tables as plain text: ASCII rules, no colours, no wrapping, no trailing spaces."""
    parts = []
    for table in tables:
        out = io.StringIO()
        console = Console(file=out, width=10_000, color_system=None, force_terminal=False)
        shown, spaces = table.box, table.padding
        table.box, table.padding = box.ASCII_DOUBLE_HEAD, (0, 1)
        width = Measurement.get(console, console.options, table).maximum
        console.print(table, width=width)
        table.box, table.padding = shown, spaces
        parts.append("\n".join(line.rstrip() for line in out.getvalue().splitlines()))
    return "\n\n".join(parts) + "\n"


def table_of(
    title: str, left: Sequence[str], right: Sequence[str] = (), last: Sequence[str] = ()
) -> Table:
    """An empty table: columns `left` aligned left, `right` aligned right, `last` left again."""
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.title_justify = table.caption_justify = "left"
    columns: tuple[tuple[Sequence[str], JustifyMethod], ...] = (
        (left, "left"), (right, "right"), (last, "left"),
    )
    for names, justify in columns:
        for name in names:
            # Fold, never crop: on a narrow terminal half a number would look like a whole one.
            table.add_column(Text(name), justify=justify, overflow="fold")
    return table


def _heading(objective: Mapping[str, Any]) -> str:
    unit = "%" if objective["unit"] == "fraction" else objective["unit"]
    return f"{_stacked(objective['name'])}\n[{unit}]"


def _stacked(name: str) -> str:
    # Numbers are narrower than their names: on a terminal of 120 columns budgets need the room.
    return textwrap.fill(in_words(name), 9)


def in_words(name: str) -> str:
    """The name of an objective as a person reads it.

    >>> in_words("weight_bytes")
    'weight bytes'
    """
    return name.replace("_", " ")


def _cell(
    metrics: Mapping[str, Any], costs: Mapping[str, float], objective: Mapping[str, Any]
) -> str:
    name = objective["name"]
    if objective["kind"] == "cost":
        return amount_text(costs[name]) if name in costs else NOTHING
    if name not in metrics:
        return NOTHING
    scale, digits = (100, 2) if objective["unit"] == "fraction" else (1, 4)
    found = metrics[name]
    spread = "" if found["std"] is None else f" ± {scale * found['std']:.{digits}f}"
    return f"{scale * found['mean']:.{digits}f}{spread}"
