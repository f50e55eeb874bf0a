"""The page of a front: `report.html`, one file that needs nothing else, for a phone as for a desk.

Everything in it comes from the front and from what the trials left in the run folder. Names may come
from strangers: the template escapes every value, figures escape theirs, and the policy of the page lets
no script run but its own (by hash) and no request leave.
"""

import base64
import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mpnas.errors import RunFolderError
from mpnas.pareto import load
from mpnas.pareto.objectives import first_cost, report_metric
from mpnas.pareto.summary import budget_text, over_seeds
from mpnas.report.bits_figure import (
    bits_style, bits_words, layer_rows, other_choices, share_rows, used_bits,
)
from mpnas.report.commands import best_of, commands, portable, toml_text
from mpnas.report.course_figures import PANELS, search_pictures, volume_picture
from mpnas.report.evidence import Evidence, evidence_of
from mpnas.report.front_figure import front_picture, percent_of
from mpnas.report.sensitivity_figure import sensitivity_rows
from mpnas.report.tables import amount_text, export_rows, in_words, uniform_cost
from mpnas.report.verdict_words import judged

Front = Mapping[str, Any]
SPACE = "\u00a0"  # a number and its unit stay on one line
SHOWN = 24  # points whose layers are drawn: a front of a thousand would make a page of a hundred MB


def write_page(folder: str | os.PathLike[str], front: Front | None = None) -> Path:
    """Write `report.html` beside the front of a run; readers see the old page or the whole new one.

    Args:
      folder: A folder with `front.json`; `trials/` and `scores/` are used where they are.
      front: Its front, where it has been read already.

    Returns:
      The file.

    Raises:
      FrontFileError: there is no front, or it is not one.
      RunFolderError: the page cannot be written.
    """
    home = Path(folder)
    document = load(home / "front.json") if front is None else front
    target = home / "report.html"
    part = home / f".report.html.{os.getpid()}.part"
    text = page_html(document, evidence_of(home, document))
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RunFolderError(f"{target} cannot be written: {error.strerror}.") from error
    return target


def page_html(front: Front, evidence: Evidence = Evidence()) -> str:
    """The page as text; equal arguments give equal pages.

    Args:
      front: A document that `mpnas.pareto.load` or `build` returned.
      evidence: What its trials left behind; figures without evidence are left out.
    """
    template, run = _environment().get_template("page.html"), front["run"]
    script, style = _source("page.js"), _source("page.css")
    on = [point for point in front["points"] if point["nondominated"]]
    best = best_of(front)
    shown = _spread(on, best)
    searches = search_pictures(front, evidence.history)
    bits = used_bits(run["sites"], (point["assignment"] for point in shown))
    return template.render(
        front=front, run=run, title=portable(f"{run['model']['name']} on {run['dataset']['name']}"),
        summary=_summary(front, on), tiles=_tiles(front, on, best),
        judged=judged(front),
        picture=front_picture(front), rows=_point_rows(front), references=_reference_rows(front),
        exports=export_rows(front),
        headings=_headings(front), has_base=uniform_cost(front, 8) is not None, on=on, best=best,
        details=[_detail(front, point) for point in shown if point["assignment"]],
        hidden=len(on) - len(shown), bits=[(b, bits_words(b)) for b in bits],
        sensitivity=sensitivity_rows(front, evidence),
        measured=len(evidence.scores), searches=searches,
        ends=[row for _, picture in searches for row in picture.rows],
        more_searches=len(over_seeds(front["points"])) > len(searches) == PANELS,
        volume=volume_picture(front, evidence),
        rejected=[{**row, "reason": portable(row["reason"])} for row in front["rejected"]],
        commands=commands(front), experiment=toml_text(run["config"]) if run.get("config") else "",
        environment=_environment_rows(front), counted=_counted(front), budget_text=budget_text,
        style=style + bits_style(bits), script=script, script_hash=_hash(script),
    )


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("mpnas.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )


def _source(name: str) -> Markup:
    """A file of our own, to stand in the page as it is."""
    environment = _environment()
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _spread(points: list[dict[str, Any]], best: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """At most `SHOWN` points, evenly along the front, the best among them."""
    if len(points) <= SHOWN:
        return points
    kept = {round(k * (len(points) - 1) / (SHOWN - 1)) for k in range(SHOWN)}
    return [point for k, point in enumerate(points) if k in kept or point is best]


# Words ----------------------------------------------------------------------------------------


def _summary(front: Front, on: list[dict[str, Any]]) -> str:
    metric = report_metric(front)
    name, words = metric["name"], in_words(metric["name"])
    rejected = [row for row in front["rejected"] if row["kind"] == "search"]
    tried = _count(len(front["points"]) + len(rejected), "search", "es")
    if not on:
        return f"{tried} left no network on the front; see the rejected trials for the reasons."
    ends = [p for p in (on[0], on[-1]) if name in p["metrics"]]
    reached = [
        f"{percent_of(front, p['metrics'][name]['mean'])} {words} at {_amount(front, p)}" for p in ends
    ]
    tail = ""
    if reached:
        tail = f", from {reached[0]} to {reached[1]}" if len(on) > 1 and len(ends) > 1 else f": {reached[0]}"
    return f"{tried} left {_count(len(on), 'network')} on the front{tail}."


def _plural(objective: Mapping[str, Any]) -> str:
    unit = objective["unit"]
    return unit if unit.endswith("s") else f"{unit}s"


def _count(number: int, word: str, ending: str = "s") -> str:
    return f"{number:,} {word}{'' if number == 1 else ending}"


def _amount(front: Front, point: Mapping[str, Any]) -> str:
    """The first cost of a point with its unit."""
    cost = first_cost(front)
    return f"{amount_text(point['costs'][cost['name']])}{SPACE}{_plural(cost)}"


def _tiles(
    front: Front, on: list[dict[str, Any]], best: Mapping[str, Any] | None
) -> list[tuple[str, str, str]]:
    """(heading, number, words) of what one looks for first."""
    cost, metric = first_cost(front)["name"], report_metric(front)["name"]
    tiles = []
    if best is not None:
        if metric in best["metrics"]:
            reached = percent_of(front, best["metrics"][metric]["mean"])
            tiles.append((f"Best network: {best['id']}", reached, in_words(metric)))
        amount, base = best["costs"][cost], uniform_cost(front, 8)
        share = f"{100 * amount / base:.1f}{SPACE}% of uniform 8-bit" if base else _plural(first_cost(front))
        tiles.append((f"Its {in_words(cost)}", amount_text(amount), share))
    for mean in over_seeds(front["references"]):
        if mean.kind == "float" and metric in mean.metrics:
            amounts = mean.costs.get(cost)
            size = f"{amount_text(amounts['mean'])} {in_words(cost)}" if amounts else in_words(metric)
            tiles.append(("Float network", percent_of(front, mean.metrics[metric]["mean"]), size))
    rejected = len(front["rejected"])
    points = f"{len(on)} of {len(front['points'])}"
    tiles.append(("On the front", points, f"points; {rejected} rejected" if rejected else "points"))
    return tiles


# Tables ---------------------------------------------------------------------------------------


def _headings(front: Front) -> list[tuple[str, str]]:
    return [
        (in_words(o["name"]), "%" if o["unit"] == "fraction" else o["unit"]) for o in front["objectives"]
    ]


def _cells(front: Front, metrics: Mapping[str, Any], costs: Mapping[str, Any]) -> list[str]:
    cells = []
    for objective in front["objectives"]:
        found = (costs if objective["kind"] == "cost" else metrics).get(objective["name"])
        if found is None:
            cells.append("–")
        elif objective["kind"] == "cost":
            cells.append(amount_text(found["mean"] if isinstance(found, dict) else found))
        else:
            scale, digits = (100, 2) if objective["unit"] == "fraction" else (1, 4)
            spread = "" if found["std"] is None else f" ± {scale * found['std']:.{digits}f}"
            cells.append(f"{scale * found['mean']:.{digits}f}{spread}")
    return cells


def _point_rows(front: Front) -> list[dict[str, Any]]:
    base, cost = uniform_cost(front, 8), first_cost(front)["name"]
    return [
        {"point": point, "cells": _cells(front, point["metrics"], point["costs"]),
         "share": f"{100 * point['costs'][cost] / base:.1f}" if base else ""}
        for point in front["points"]
    ]


def _reference_rows(front: Front) -> list[tuple[str, int, list[str]]]:
    return [
        (mean.label, len(mean.seeds), _cells(front, mean.metrics, mean.costs))
        for mean in over_seeds(front["references"])
    ]


@dataclasses.dataclass(frozen=True)
class _Detail:
    """What a point of the front became, layer by layer."""

    point: Mapping[str, Any]
    line: str
    layers: list[Any]
    others: list[tuple[str, str]]
    shares: list[tuple[str, Markup]]


def _detail(front: Front, point: Mapping[str, Any]) -> _Detail:
    cost, metric = first_cost(front)["name"], report_metric(front)["name"]
    line = f"{amount_text(point['costs'][cost])} {_plural(first_cost(front))}"
    if metric in point["metrics"]:
        line = f"{percent_of(front, point['metrics'][metric]['mean'])} at {line}"
    rows = layer_rows(front, point), other_choices(front, point), share_rows(front, point)
    return _Detail(point, line, *rows)


def _environment_rows(front: Front) -> list[tuple[str, str]]:
    run, model, data = front["run"], front["run"]["model"], front["run"]["dataset"]
    rows = [
        ("model", f"{model['name']}: {model['parameters']:,} parameters, {model['macs']:,} MACs"),
        ("data", f"{data['name']}; chosen on “{data['select_part']}”, reported on “{data['report_part']}”"),
        ("seeds", ", ".join(map(str, run["seeds"]))),
    ]
    return rows + [(in_words(key), portable(str(value))) for key, value in run.get("env", {}).items()]


def _counted(front: Front) -> list[tuple[str, str, str]]:
    """(cost, what it counts besides the values, what it leaves out)."""
    rows = []
    for model in front["cost_models"]:
        names = {yes: [in_words(k) for k, v in model["counts"].items() if v is yes] for yes in (True, False)}
        rows.append((model["id"], ", ".join(names[True]) or "nothing", ", ".join(names[False]) or "nothing"))
    return rows
