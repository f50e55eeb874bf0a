"""A front as CSV: one row per point and reference, for a spreadsheet or a data frame.

Names in a front may come from strangers, and a spreadsheet computes what begins with "=", "+", "-" or
"@", also after a separator that its language splits at. Such text gets an apostrophe before the sign,
which every spreadsheet shows as text (OWASP, "CSV Injection"). Numbers stay numbers.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpnas.pareto.bits import runs_of

Front = Mapping[str, Any]
Cell = str | int | float | None

_FORMULA = re.compile(r"(^|[,;:|\t\n\"'])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_FIELDS = ("id", "trial", "label", "kind", "controller", "seed", "stage", "feasible")


def csv_of(front: Front) -> str:
    """The points and references of a front as CSV text with a heading, canonical like the front.

    Columns: part ("point" or "reference"), on_front, what the trial is, `budget:<cost>` as asked for and
    `limit:<cost>` as an amount, `<metric>:mean` and `:std` with their units in the objectives of the
    front, `cost:<cost>`, and one `bits:<site>` per site in the order of the network. Text is quoted,
    numbers are not, and what a row lacks is empty.
    """
    rows = [("point", row) for row in front["points"]] + [("reference", row) for row in front["references"]]
    everything = [row for _, row in rows]
    fields = ("budget", "limits", "metrics", "costs")
    budgets, limits, metrics, costs = (_keys(everything, field) for field in fields)
    places = {site: known.get("index", 0) for site, known in front["run"]["sites"].items()}
    sites = sorted(places, key=lambda site: (places[site], site))
    heading = [
        "part", "on_front", *_FIELDS,
        *(f"budget:{name}" for name in budgets), *(f"limit:{name}" for name in limits),
        *(f"{name}:{part}" for name in metrics for part in ("mean", "std")),
        *(f"cost:{name}" for name in costs), *(f"bits:{site}" for site in sites),
    ]
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow([safe_cell(name) for name in heading])
    for part, row in rows:
        cells: list[Cell] = [part, "yes" if row["nondominated"] else "no"]
        cells += [{True: "yes", False: "no"}[row[f]] if f == "feasible" else row[f] for f in _FIELDS]
        cells += [row["budget"].get(name) for name in budgets] + [row["limits"].get(name) for name in limits]
        cells += [row["metrics"].get(name, {}).get(key) for name in metrics for key in ("mean", "std")]
        cells += [row["costs"].get(name) for name in costs]
        cells += [bits_text(row["assignment"].get(site)) for site in sites]
        writer.writerow([safe_cell(cell) for cell in cells])
    return out.getvalue()


def bits_text(decision: Mapping[str, Any] | None) -> Cell:
    """What one site became, in one cell: bits, runs as `<bits>x<count>`, or a width; None if undecided.

    >>> bits_text({"granularity": "channel", "rle": [[8, 2], [0, 1]]}), bits_text({"bits": 4})
    ('8x2 0x1', 4)
    """
    if decision is None:
        return None
    if "channels" in decision:
        return f"{decision['channels']} channels"
    if "bits" in decision:
        return decision["bits"]
    return " ".join(f"{bits}x{count}" for bits, count in runs_of(decision, 1))


def _keys(rows: Iterable[Mapping[str, Any]], field: str) -> Sequence[str]:
    return sorted({key for row in rows for key in row[field]})


def safe_cell(cell: Cell) -> Cell:
    """A cell that no spreadsheet computes: text that looks like a formula gets an apostrophe, None is empty.

    >>> safe_cell("=1+1"), safe_cell(-3), safe_cell(None)
    ("'=1+1", -3, '')
    """
    if not isinstance(cell, str):
        return "" if cell is None else cell
    return _FORMULA.sub(r"\1\2'", cell)
