"""Fronts of several sweeps of one network, merged into one.

A merge is a function of the set of trials: their order, a front given twice, or a merge of merges
change no byte. So each row remembers the run that it is from and its name there (`origin`), and what
it is called in the merged front is settled anew each time: trials of equal names get that of their run
before them, and so do labels of runs that differ in more than their seeds.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpnas.errors import FrontFileError
from mpnas.pareto.front import assemble
from mpnas.pareto.invariants import violations
from mpnas.pareto.schema import dotted

Front = Mapping[str, Any]
Run = tuple[str, str]  # id, config_sha256
Trial = tuple[Run, str]

PARTS = ("points", "references", "rejected")
_ALIKE = ("cost_models", "groups", "run.model", "run.dataset", "run.sites")
_WHICH = {"name", "controllers", "budgets", "seeds", "float_seeds", "references"}
"""Keys of a config that say which trials there are; the others say how each one is run."""


def merge(fronts: Sequence[Front], names: Sequence[str]) -> dict[str, Any]:
    """One front of all trials of several fronts of the same network.

    Args:
      fronts: Sound documents, of runs or of merges; at least one. Paths of artefacts are kept as they
        are; `mpnas.pareto.artifacts.relocated` fits them to another folder first.
      names: What to call each of them in an error.

    Returns:
      A document with ids, dominance and hypervolume of all points. If all trials are of one run it is
      the front of that run; else `run.merged` lists the runs, and `created_utc` is that of the newest.

    Raises:
      FrontFileError: A front breaks its promises; two differ in objectives, cost models, ties, sites,
        network or data; one trial of one run has two results; or names still clash.
    """
    for front, name in zip(fronts, names, strict=True):
        if broken := violations(dict(front)):
            raise FrontFileError(f"{name} breaks its promises: {broken[0]} Merge sound fronts only.")
        _refuse_difference(fronts[0], front, names[0], name)
    runs = _runs(fronts)
    rows = _rows(fronts, names)
    common: dict[str, Any] = {key: fronts[0]["run"][key] for key in ("model", "dataset", "sites")}
    if len(runs) == 1:
        [entry] = runs.values()
        created = entry["created_utc"]
        run = {**common, **{key: value for key, value in entry.items() if key != "created_utc"}}
    else:
        created = max(entry["created_utc"] for entry in runs.values())
        called = _called(runs)
        run = {**common, **_described(runs, called)}
        rows = _renamed(rows, runs, called)
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    for part, row in rows.values():
        parts[part].append(row)
    return assemble(
        points=parts["points"], references=parts["references"], rejected=parts["rejected"], run=run,
        objectives=_deciding(fronts), cost_models=fronts[0]["cost_models"],
        ties=fronts[0]["groups"], created_utc=created,
    )


def _deciding(fronts: Sequence[Front]) -> list[dict[str, Any]]:
    """The objectives, on the front where one of the fronts decides by them: each has budgets of its own."""
    listed = zip(*(front["objectives"] for front in fronts), strict=True)
    return [{**same[0], "on_front": any(o["on_front"] for o in same)} for same in listed]


def _refuse_difference(one: Front, other: Front, name: str, other_name: str) -> None:
    left, right = ([{**o, "on_front": None} for o in front["objectives"]] for front in (one, other))
    if found := _difference(left, right, ("objectives",)):
        raise FrontFileError(_differ(name, other_name, found))
    for path in _ALIKE:
        here, there = one, other
        for key in path.split("."):
            here, there = here[key], there[key]
        if found := _difference(here, there, tuple(path.split("."))):
            raise FrontFileError(_differ(name, other_name, found))


def _differ(name: str, other: str, found: str) -> str:
    return (
        f"{name} and {other} differ in {found}. Only sweeps of one network, on the same data, with the same "
        "sites and costs, make one front."
    )


def _difference(left: Any, right: Any, path: tuple[object, ...]) -> str | None:
    """The first place where two plain values differ, with both values; None if they are equal."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            if (key in left) != (key in right):
                return f"{dotted((*path, key))}, which only one of them has"
            if found := _difference(left[key], right[key], (*path, key)):
                return found
        return None
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        places = enumerate(zip(left, right, strict=True))
        return next((d for i, (a, b) in places if (d := _difference(a, b, (*path, i)))), None)
    if _canonical(left) == _canonical(right):
        return None
    return f"{dotted(path)}: {_canonical(left)[:80]} against {_canonical(right)[:80]}"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _runs(fronts: Iterable[Front]) -> dict[Run, dict[str, Any]]:
    """Every run in the fronts: id, config_sha256, seeds, created_utc, and config and env if known."""
    found: dict[Run, dict[str, Any]] = {}
    for front in fronts:
        alone = {"created_utc": front["created_utc"], **front["run"]}
        for run in front["run"].get("merged", [alone]):
            keys = ("id", "config_sha256", "seeds", "created_utc", "config", "env")
            entry = {key: run[key] for key in keys if key in run}
            known = found.setdefault(_key(entry), entry)
            # The same run written twice, perhaps with more trials: the newest says when and where.
            newest = max((known, entry), key=lambda one: (one["created_utc"], _canonical(one)))
            found[_key(entry)] = newest
    return dict(sorted(found.items()))


def _key(run: Mapping[str, Any]) -> Run:
    return run["id"], run["config_sha256"]


def _rows(fronts: Sequence[Front], names: Sequence[str]) -> dict[Trial, tuple[str, dict[str, Any]]]:
    """Every trial under its own name, with the part of the document that it stands in."""
    found: dict[Trial, tuple[str, dict[str, Any]]] = {}
    for front, name in zip(fronts, names, strict=True):
        keys = {run["name"]: _key(run) for run in front["run"].get("merged", [])}
        for part in PARTS:
            for row in front[part]:
                origin = row.get("origin")
                key = keys[origin["run"]] if origin else _key(front["run"])
                row = {k: v for k, v in row.items() if k not in ("id", "nondominated", "origin")}
                row |= {k: origin[k] for k in ("trial", "label") if origin and k in origin}
                known = found.setdefault((key, row["trial"]), (part, row))
                found[key, row["trial"]] = part, _same(known, (part, row), key[0], name)
    return found


def _same(
    one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], run: str, name: str
) -> dict[str, Any]:
    """One row of two that must tell the same result; of their artefacts those that are there."""
    (part, left), (other_part, right) = one, other
    bare = [_canonical({k: v for k, v in row.items() if k != "artifacts"}) for row in (left, right)]
    if part != other_part or bare[0] != bare[1]:
        raise FrontFileError(
            f"trial '{left['trial']}' of run '{run}' has another result in {name} than in a front before "
            "it. Merge the newest front of each run alone; a run done twice needs a name of its own."
        )
    there = [row for row in (left, right) if row.get("artifacts")]
    # The same run before and after an export: the row that tells more.
    return min(there or [left], key=lambda row: (
        -len(row.get("artifacts", {}).get("exports", [])), _canonical(row.get("artifacts")),
    ))


def _called(runs: Mapping[Run, Any]) -> dict[Run, str]:
    """A name for each run: its id, with the start of its config's hash where runs share an id."""
    alike = Counter(run_id for run_id, _ in runs)
    called = {
        (run_id, digest): run_id if alike[run_id] == 1 else f"{run_id}@{digest[:8]}"
        for run_id, digest in runs
    }
    if len(set(called.values())) < len(called):
        raise FrontFileError("two of the runs have the same name and nearly the same hash. Rename one.")
    return called


def _described(runs: Mapping[Run, Mapping[str, Any]], called: Mapping[Run, str]) -> dict[str, Any]:
    together = "+".join(called.values())
    return {
        "id": together if len(together) <= 200 else f"{len(runs)} runs",
        "config_sha256": hashlib.sha256(_canonical(list(runs)).encode()).hexdigest(),
        "seeds": sorted({seed for entry in runs.values() for seed in entry["seeds"]}),
        "merged": [{"name": called[key], **entry} for key, entry in runs.items()],
    }


def _renamed(
    rows: Mapping[Trial, tuple[str, dict[str, Any]]],
    runs: Mapping[Run, Mapping[str, Any]],
    called: Mapping[Run, str],
) -> dict[Trial, tuple[str, dict[str, Any]]]:
    """The rows with their origin, and with names and labels that tell the runs apart."""
    alike = Counter(trial for _, trial in rows)
    family = _families(runs, called)
    labels: dict[tuple[str, str], set[str]] = defaultdict(set)
    for (run, _), (_, row) in rows.items():
        if "label" in row:
            labels[row["kind"], row["label"]].add(family[run])
    found = {}
    for (run, trial), (part, row) in rows.items():
        new = {**row, "origin": {"run": called[run], "trial": trial}}
        if alike[trial] > 1:
            new["trial"] = f"{called[run]}/{trial}"
        if "label" in row:
            new["origin"]["label"] = row["label"]
            if len(labels[row["kind"], row["label"]]) > 1:
                new["label"] = f"{family[run]}: {row['label']}"
        found[run, trial] = part, new
    counts = Counter(row["trial"] for _, row in found.values())
    if twins := sorted(trial for trial, count in counts.items() if count > 1):
        raise FrontFileError(f"two trials would both be called '{twins[0]}'. Rename one of the runs.")
    return found


def _families(runs: Mapping[Run, Mapping[str, Any]], called: Mapping[Run, str]) -> dict[Run, str]:
    """What to call the runs that do each trial alike: their configs differ at most in which trials."""
    members: dict[str, list[Run]] = defaultdict(list)
    for run, entry in runs.items():
        how = {key: value for key, value in entry.get("config", {}).items() if key not in _WHICH}
        members[_canonical(how if "config" in entry else run)].append(run)
    return {run: "+".join(called[one] for one in alike) for alike in members.values() for run in alike}
