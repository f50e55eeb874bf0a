"""The plan of a sweep: which trials there are, from which plain experiment, as one file.

A trial's id follows from the plan alone, so a sweep that is resumed, or planned again from the same
experiment, means the same trials in the same folders. `plan.json` is written once, first of all; searches
under budgets that are proposed while the sweep runs are added to `proposed.json`, each before it starts.
"""

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpnas.errors import ConfigError, RunFolderError, nearest
from mpnas.sweep.config import Experiment, controller_of, read_experiment
from mpnas.sweep.folder import (
    PLAN_SCHEMA,
    PROPOSED,
    PROPOSED_SCHEMA,
    damaged_proposals,
    plan_document,
    proposed_document,
    write_json,
)
from mpnas.train import length_of


@dataclasses.dataclass(frozen=True)
class TrialSpec:
    """One trial of a plan.

    Attributes:
      id: Names its folder.
      kind: `float`, `search`, `uniform` or `random`.
      seed: Of weights, order of data and noise.
      controller: Index into the experiment's controllers, for searches.
      budget: Limits as asked for; empty where nothing is limited.
      bits: Bit-width, for uniform networks.
    """

    id: str
    kind: str
    seed: int
    controller: int | None = None
    budget: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    bits: int | None = None

    @property
    def needs(self) -> str | None:
        """Id of the trial that has to be done before this one."""
        return None if self.kind == "float" else f"float-s{self.seed}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """An experiment with its trials.

    Attributes:
      table: The experiment in its plain, resolved form.
      experiment: The same as objects.
      trials: Every trial, float networks first, proposed searches last.
      threads: XLA threads per trial; results depend on it in the last bits, so it is part of the plan.
      data_dir: Where data files are looked for, if it was named.
      proposed: How many of the trials, at their end, are under proposed budgets.
    """

    table: Mapping[str, Any]
    experiment: Experiment
    trials: tuple[TrialSpec, ...]
    threads: int
    data_dir: str | None
    proposed: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 of everything that determines the trials."""
        content = {"experiment": self.table, "threads": self.threads}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def trial(self, trial_id: str) -> TrialSpec:
        """The trial with this id.

        Raises:
          RunFolderError: the plan has none.
        """
        by_id = {trial.id: trial for trial in self.trials}
        if trial_id not in by_id:
            raise RunFolderError(f"the plan has no trial '{trial_id}'; nearest: {nearest(trial_id, by_id)}.")
        return by_id[trial_id]

    @property
    def proposals(self) -> tuple[TrialSpec, ...]:
        """The searches under proposed budgets, in the order of their proposals."""
        return self.trials[len(self.trials) - self.proposed :]

    @property
    def unproposed(self) -> int:
        """How many budgets are still to be proposed."""
        return 0 if self.experiment.explore is None else self.experiment.explore.trials - self.proposed

    def proposal(self, budget: Mapping[str, float | str]) -> TrialSpec:
        """The search under a budget that is proposed to an experiment with `explore`."""
        explore = self.experiment.explore
        assert explore is not None
        number = self.experiment.explorer(explore)
        name = _controller_labels(self.experiment)[number]
        return _search(name, number, dict(budget), self.experiment.seeds[0])

    def stand_ins(self) -> list[TrialSpec]:
        """For an estimate: searches in the place of those that are still to be proposed."""
        explore = self.experiment.explore
        if explore is None:
            return []
        typical = self.proposal(explore.middle())
        return [dataclasses.replace(typical, id=f"proposal {k + 1}") for k in range(self.unproposed)]

    def search_steps(self, spec: TrialSpec) -> int:
        """Steps of a search, as many as it reports at most; 0 for other kinds of trials."""
        if spec.controller is None:
            return 0
        controller = controller_of(self.experiment.controllers[spec.controller])[1]
        return length_of(controller, self.experiment.recipe.search)

    def stages(self, spec: TrialSpec) -> dict[str, int]:
        """Stage -> steps of a trial (evaluations, where a search tries assignments), in running order."""
        recipe = self.experiment.recipe
        if spec.kind == "float":
            trained = recipe.float if self.experiment.weights is None else None
            return {} if trained is None else {"float": trained.steps}
        searched = {"search": self.search_steps(spec)} if spec.kind == "search" else {}
        return searched | {"retrain": recipe.retrain.steps}

    def rows(self, trials: Sequence[TrialSpec]) -> list[dict[str, Any]]:
        """Trials as `plan.json` and `proposed.json` list them."""
        return [
            {"id": spec.id, "kind": spec.kind, "budget": dict(spec.budget), "stages": self.stages(spec)}
            for spec in trials
        ]


def plan_of(
    table: Mapping[str, Any], experiment: Experiment, *, threads: int = 1, data_dir: str | None = None
) -> Plan:
    """The trials of an experiment: float networks, uniform ones, then per budget searched and random.

    Raises:
      ConfigError: two trials would be the same.
    """
    float_seeds = dict.fromkeys((*experiment.seeds, *experiment.float_seeds))
    trials = [TrialSpec(f"float-s{seed}", "float", seed) for seed in float_seeds]
    for seed in experiment.seeds:
        trials += [
            TrialSpec(f"uniform{bits}-s{seed}", "uniform", seed, bits=bits)
            for bits in experiment.references.uniform
        ]
    labels = _controller_labels(experiment)
    for budget in experiment.budgets:
        for seed in experiment.seeds:
            trials += [_search(name, number, budget, seed) for number, name in enumerate(labels)]
            if experiment.references.random:
                trials.append(TrialSpec(f"random-{_label(budget)}-s{seed}", "random", seed, budget=budget))
    _refuse_twins(trials)
    return Plan(dict(table), experiment, tuple(trials), threads, data_dir)


def _search(name: str, number: int, budget: Mapping[str, float | str], seed: int) -> TrialSpec:
    return TrialSpec(f"{name}-{_label(budget)}-s{seed}", "search", seed, number, budget)


def _label(budget: Mapping[str, float | str]) -> str:
    return "-".join(f"{name}={_short(limit)}" for name, limit in sorted(budget.items())) or "unlimited"


def _refuse_twins(trials: Sequence[TrialSpec]) -> None:
    """Two trials of one id would share a folder."""
    counts = Counter(trial.id for trial in trials)
    if twins := sorted(name for name, count in counts.items() if count > 1):
        raise ConfigError(
            f"the experiment asks for trial '{twins[0]}' twice. Delete the budget, bit-width or seed that "
            "comes twice."
        )


def _controller_labels(experiment: Experiment) -> list[str]:
    """Names of the controllers, numbered where one name comes with several settings."""
    names = [controller_of(spec)[0] for spec in experiment.controllers]
    return [
        name if names.count(name) == 1 else f"{name}{names[: k + 1].count(name)}"
        for k, name in enumerate(names)
    ]


def _short(limit: float | str) -> str:
    """A limit as a part of a folder's name; different numbers stay different."""
    text = limit
    if not isinstance(limit, str):
        text = f"{limit:g}" if float(f"{limit:g}") == limit else repr(float(limit))
    kept = "".join(c for c in str(text) if c.isascii() and (c.isalnum() or c in ".+-"))
    return re.sub(r"\.{2,}", ".", kept)


def save_plan(plan: Plan, folder: Path, made_from: Mapping[str, str] | None = None) -> None:
    """Write `plan.json`, or accept the one that is there if it is the same plan.

    Args:
      plan: The plan.
      folder: Made if it is not there.
      made_from: Digests of model and data, for a later resume.

    Raises:
      RunFolderError: the folder holds another plan (the difference is named), something else, or
        cannot be written.
    """
    path = folder / "plan.json"
    if path.exists():
        old = load_plan(folder)
        if old.digest != plan.digest:
            raise RunFolderError(
                f"{folder} holds the run of another plan; it differs in {_difference(old, plan)}. "
                "Choose another folder with --out, or go on with that run: mpnas resume."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise RunFolderError(
            f"{folder} is not empty and holds no plan.json, so it is no run of mpnas. Choose another --out."
        )
    document = {
        "schema": PLAN_SCHEMA,
        "experiment": plan.table,
        "threads": plan.threads,
        "data_dir": plan.data_dir,
        "made_from": None if made_from is None else dict(made_from),
        "trials": plan.rows(plan.trials[: len(plan.trials) - plan.proposed]),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, document)
    except OSError as error:
        raise RunFolderError(
            f"{folder} cannot be written: {error.strerror or error}. Choose another --out."
        ) from error


def load_plan(folder: Path) -> Plan:
    """The plan of a run folder, with what has been proposed so far.

    Raises:
      RunFolderError: no plan there, or one that this version cannot read, or damaged proposals.
    """
    path, document = folder / "plan.json", plan_document(folder)
    try:
        table = document["experiment"]
        experiment = read_experiment(table, str(path))
        threads, data_dir = int(document["threads"]), document["data_dir"]
        if threads < 1 or not isinstance(data_dir, str | None):
            raise ValueError(f"threads = {threads}, data_dir = {data_dir!r}")
        plan = plan_of(table, experiment, threads=threads, data_dir=data_dir)
        names = [row["id"] for row in document["trials"]]
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path} is damaged: {error!r}. Start the run anew.") from error
    if names != [trial.id for trial in plan.trials]:
        raise RunFolderError(
            f"{path} lists other trials than its experiment has here. Use the version of mpnas that wrote it."
        )
    return _with_proposals(plan, folder)


def propose(folder: Path, plan: Plan, budget: Mapping[str, float]) -> Plan:
    """Add the search under a budget to `proposed.json`; the plan with it.

    Args:
      folder: The run folder.
      plan: Its plan, with all earlier proposals.
      budget: A budget that no trial of the plan has.

    Raises:
      ConfigError: the plan has this search already.
      OSError: the file cannot be written; the old one is untouched.
    """
    trials = (*plan.trials, plan.proposal(budget))
    _refuse_twins(trials)
    added = dataclasses.replace(plan, trials=trials, proposed=plan.proposed + 1)
    document = {"schema": PROPOSED_SCHEMA, "plan": plan.digest, "trials": plan.rows(added.proposals)}
    write_json(folder / PROPOSED, document)
    return added


def _with_proposals(plan: Plan, folder: Path) -> Plan:
    """A plan with the searches of `proposed.json`, each made anew from its budget."""
    document = proposed_document(folder)
    if not document["trials"]:
        return plan
    explore = plan.experiment.explore
    try:
        if explore is None or document["plan"] != plan.digest:
            raise ValueError("it belongs to another plan")
        budgets = [explore.within(row["budget"]) for row in document["trials"]]
        if len(budgets) > explore.trials or None in budgets:
            raise ValueError(f"its budgets are not {explore.trials} of the ranges {explore.budgets}")
        proposals = [plan.proposal(budget) for budget in budgets if budget is not None]
        trials = (*plan.trials, *proposals)
        _refuse_twins(trials)
        if plan.rows(proposals) != document["trials"]:
            raise ValueError("its trials are not those of its budgets")
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged_proposals(folder, repr(error)) from error
    except (ValueError, ConfigError) as error:
        raise damaged_proposals(folder, str(error)) from error
    return dataclasses.replace(plan, trials=trials, proposed=len(proposals))


def _difference(old: Plan, new: Plan) -> str:
    """The keys in which two plans differ, with both values, for a person to read."""
    one = _flat({"experiment": old.table, "threads": old.threads})
    two = _flat({"experiment": new.table, "threads": new.threads})
    keys = [k for k in sorted(one.keys() | two.keys()) if one.get(k) != two.get(k)]
    parts = [f"{k.removeprefix('experiment.')} ({one.get(k)!r} there, {two.get(k)!r} now)" for k in keys[:3]]
    return ", ".join(parts) + (f" and {len(keys) - 3} more keys" if len(keys) > 3 else "")


def _flat(table: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(table, Mapping) and table:
        return {k: v for key, value in table.items() for k, v in _flat(value, f"{prefix}{key}.").items()}
    if isinstance(table, (list, tuple)) and table:
        return {k: v for n, value in enumerate(table) for k, v in _flat(value, f"{prefix}{n}.").items()}
    return {prefix.rstrip("."): table}
