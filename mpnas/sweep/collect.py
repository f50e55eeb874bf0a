"""From the folders of a run to its front: every result read back, nothing else trusted."""

import datetime
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mpnas.cost import COSTS, Cost, measure, measure_priced
from mpnas.data import Dataset
from mpnas.errors import FrontFileError
from mpnas.pareto import Record, build
from mpnas.space import Space
from mpnas.supernet import Parts, Supernet
from mpnas.sweep.bench import bench_of
from mpnas.sweep.plan import Plan, TrialSpec, load_plan
from mpnas.train import Found, Teacher, accuracy, one_hot_gates

ALWAYS = "weight_bytes"  # decides where no budget names a cost
AGAIN = "Run it again with: mpnas resume --retry-failed."


def records_of(folder: Path, plan: Plan) -> list[Record]:
    """The record of every trial of the plan; a failed one for a trial that has no result."""
    return [_record(folder, spec) for spec in plan.trials]


def _record(folder: Path, spec: TrialSpec) -> Record:
    home = folder / "trials" / spec.id
    try:
        found = Record.from_json(json.loads((home / "result.json").read_text(encoding="utf-8")))
        if found.trial == spec.id:
            return found
        reason = f"its result.json is that of trial '{found.trial}'. {AGAIN}"
    except OSError:
        error = home / "error.txt"
        # On a full disk the words are empty.
        words = error.read_text(encoding="utf-8", errors="replace").strip() if error.is_file() else ""
        reason = words or "it has no result yet."
    except (ValueError, RecursionError, FrontFileError) as damage:
        reason = f"its result.json is damaged: {damage} {AGAIN}"
    return Record(
        trial=spec.id, kind=spec.kind, controller=None, seed=spec.seed,  # type: ignore[arg-type]
        budget=dict(spec.budget), limits={}, status="failed", stage="searched", metrics={}, costs={},
        reason=reason,
    )


def front_of(folder: Path) -> dict[str, Any]:
    """The front document of a run folder, from whatever trials are done."""
    plan = load_plan(folder)
    bench, records = bench_of(plan), records_of(folder, plan)
    return build(
        records,
        run={
            "id": plan.experiment.name,
            "config_sha256": plan.digest,
            "config": json.loads(json.dumps(plan.table)),
            "seeds": list(plan.experiment.seeds),
            **_described(bench.net, bench.data, _name(plan.experiment.model)),
            "env": _environment() | {"threads_per_trial": plan.threads},
        },
        **_terms(bench.net.space, bench.costs, records),
    )


def record(
    net: Supernet,
    found: Found,
    parts: Parts,
    data: Dataset,
    *,
    trial: str,
    controller: str,
    budget: Mapping[str, float | str],
    seed: int = 0,
    costs: Sequence[Cost] = COSTS,
) -> Record:
    """The record of a search that was run in a script of one's own, after retraining.

    Args:
      net: The attached network.
      found: What the search handed on.
      parts: What retraining left.
      data: Accuracy is measured on its selection part, and on its test part for the report.
      trial: Name of the search, unique within a front.
      controller: Name of the controller.
      budget: As it was asked for.
      seed: Of the search.
      costs: What is counted.
    """
    gates = one_hot_gates(net, found.assignment)
    return Record(
        trial=trial, kind="search", controller=controller, seed=seed, budget=dict(budget),
        limits=dict(found.limits), status="done", stage="retrained",
        metrics={
            "accuracy": accuracy(net, parts, gates, data, "select"),
            "test_accuracy": accuracy(net, parts, gates, data, "test"),
        },
        costs=measure(costs, net.space, found.assignment),
        gap=dict(found.gap), assignment=found.assignment.to_json(),
    )


def reference(
    net: Supernet,
    float_net: Teacher,
    data: Dataset,
    *,
    trial: str = "float",
    seed: int = 0,
    costs: Sequence[Cost] = COSTS,
) -> Record:
    """The record of the float network that a script started from, counted as it is: 32 bits everywhere.

    Args:
      net: The attached network; the float one stands beside its searches.
      float_net: What `fit` or `teacher` gave.
      data: Accuracy is measured on its selection part, and on its test part for the report.
      trial: Its name, unique within a front.
      seed: That it was trained with.
      costs: What is counted; left out where a cost has no number for floats.
    """
    plain = float_net.net
    return Record(
        trial=trial, kind="float", controller=None, seed=seed, budget={}, limits={}, status="done",
        stage="reference",
        metrics={
            "accuracy": accuracy(plain, float_net.parts, {}, data, "select"),
            "test_accuracy": accuracy(plain, float_net.parts, {}, data, "test"),
        },
        costs=measure_priced(costs, plain.space, plain.space.uniform(None)),
    )


def front(
    net: Supernet,
    data: Dataset,
    records: Iterable[Record],
    *,
    name: str = "search",
    costs: Sequence[Cost] = COSTS,
) -> dict[str, Any]:
    """The front document of searches that were run in a script of one's own."""
    kept = list(records)
    return build(
        kept,
        run={
            "id": name,
            "config_sha256": "",
            "seeds": sorted({one.seed for one in kept}) or [0],
            **_described(net, data, name),
            "env": _environment(),
        },
        **_terms(net.space, costs, kept),
    )


def _described(net: Supernet, data: Dataset, model: str) -> dict[str, Any]:
    return {
        "model": {"name": model, "parameters": net.space.work.parameters, "macs": net.space.work.macs},
        "dataset": {"name": data.name, "select_part": "select", "report_part": "test", "sha256": data.digest},
        "sites": sites_of(net.space),
    }


def _environment() -> dict[str, Any]:
    return {
        "jax": jax.__version__, "python": platform.python_version(), "device": jax.default_backend()
    }


def _terms(space: Space, costs: Sequence[Cost], records: Sequence[Record]) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "objectives": objectives(costs, records),
        "cost_models": [{"id": f"{cost.name}/1", "counts": dict(cost.counts)} for cost in costs],
        "ties": ties_of(space),
        "created_utc": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def objectives(costs: Sequence[Cost] = COSTS, records: Sequence[Record] = ()) -> list[dict[str, Any]]:
    """What a front compares: accuracy on the selection part against every cost that a budget limits.

    Stored bytes where none does, or where the limited one has no number for a network of the front, as
    some have none for floats. The other costs are shown.
    """
    asked = {name for record in records for name in record.budget}
    done = [record for record in records if record.status == "done"]
    deciding = {name for name in asked if all(name in record.costs for record in done)} or {ALWAYS}
    metrics = [
        {"name": "accuracy", "direction": "max", "unit": "fraction", "kind": "metric", "on_front": True},
        {
            "name": "test_accuracy", "direction": "max", "unit": "fraction", "kind": "metric",
            "on_front": False,
        },
    ]
    return metrics + [
        {
            "name": cost.name, "direction": "min", "unit": cost.unit, "kind": "cost",
            "cost_model": f"{cost.name}/1", "on_front": cost.name in deciding,
        }
        for cost in costs
    ]


def sites_of(space: Space) -> dict[str, Any]:
    """Every site by name, as plain data, with its place in the program."""
    return {
        site: {**choice.describe(), "index": number}
        for number, (site, choice) in enumerate(space.choices.items())
    }


def ties_of(space: Space) -> list[dict[str, Any]]:
    """Ties between sites of the space, with their reasons."""
    groups = []
    for tie in space.ties:
        sites = space.weight_site if tie.kind == "channels" else space.act_site
        members = list(dict.fromkeys(sites[path] for path in tie.members if path in sites))
        if members:
            groups.append({"id": tie.name, "members": members, "why": f"{', '.join(tie.members)}: {tie.why}"})
    return groups


def _name(spec: Any) -> str:
    return spec if isinstance(spec, str) else str(spec.get("name"))
