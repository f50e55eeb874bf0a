"""The stages of a trial: a float network, or an assignment, its retraining and what came out."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mpnas.control import Proposer, Random, Uniform
from mpnas.cost import Budget, measure, measure_priced, refuse_impossible, satisfied
from mpnas.pareto import Record
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet, attach
from mpnas.sweep.folder import write_json
from mpnas.sweep.home import Home, Latest
from mpnas.sweep.named import load_weights, model_of
from mpnas.train import (
    Found,
    Hooks,
    Teacher,
    TrainState,
    accuracy,
    calibrate,
    find,
    method_of,
    one_hot_gates,
    retrain,
    run_phase,
    start,
    with_float_parts,
)
from mpnas.train.checkpoint import filled

SCORES = "scores"  # of every trial of a run, as budgets share them


@dataclasses.dataclass(frozen=True, eq=False)
class Decided:
    """What retraining starts from.

    Attributes:
      assignment: What is retrained.
      gap: The search's discretisation gap; empty for baselines.
      limits: Absolute limits, by cost name.
      origin: The parts that it starts from.
    """

    assignment: Assignment
    gap: Mapping[str, Any]
    limits: Mapping[str, float]
    origin: Parts

    @property
    def carried(self) -> dict[str, Any]:
        """Into the meta of checkpoints: with it a later attempt needs no search."""
        gap, limits = dict(self.gap), dict(self.limits)
        return {"assignment": self.assignment.to_json(), "gap": gap, "limits": limits}


def float_trial(home: Home) -> Record:
    """Train the float network of a seed, or load it."""
    bench, phase, experiment = home.bench, home.experiment.recipe.float, home.experiment
    steps = {} if phase is None or experiment.weights is not None else {"float": phase.steps}
    model = model_of(experiment, home.spec.seed)
    if experiment.weights is not None:
        load_weights(model, experiment, home.plan.data_dir)
    parts = attach(model, home.data.example(), []).parts
    found = home.latest()
    if found is not None and found[2]["stage"] == "final":
        parts = filled(parts, found[1], home.path)
    elif phase is not None and experiment.weights is None:
        state = home.restored("float", start(parts, None, phase, home.spec.seed))
        state = run_phase("float", bench.plain, state, home.data, phase, seed=home.spec.seed,
                          hooks=home.hooks("float", 0, phase.steps))
        parts = state.parts
    if found is None or found[2]["stage"] != "final":
        home.save_final(parts, sum(steps.values()), None)
    costs = measure_priced(bench.costs, bench.plain.space, bench.plain.space.uniform(None))
    return home.record("done", "reference", _metrics(home, bench.plain, parts, {}), costs, steps=steps)


def searched_trial(home: Home) -> Record:
    """Find an assignment, or propose one, and retrain it."""
    teacher, float_parts = float_start(home)
    found = home.latest()
    if found is not None and found[2]["stage"] == "final":
        return ended(home, found, float_parts)
    decided = decided_before(found, float_parts) or _decided(home, float_parts)
    state, hooks = retraining(home, decided)
    parts = retrain(
        home.bench.net, decided.assignment, home.data, parts=decided.origin, teacher=teacher,
        phase=home.experiment.recipe.retrain, seed=home.spec.seed, state=state, hooks=hooks,
    )
    return retrained(home, decided, parts)


def float_start(home: Home) -> tuple[Teacher, Parts]:
    """The float network of the trial's seed, and its weights in the searched network, calibrated."""
    teacher = home.teacher()
    return teacher, calibrate(home.bench.net, with_float_parts(home.bench.net, teacher), home.data)


def limits_of(home: Home) -> dict[str, float]:
    """The trial's budget as absolute limits.

    Raises:
      BudgetError: the space cannot meet it.
    """
    return refuse_impossible(Budget(home.spec.budget), home.bench.costs, home.bench.net.space)


def decided_before(found: Latest | None, float_parts: Parts) -> Decided | None:
    """What an earlier attempt had found; None if its search was not over.

    The origin is then a form to be filled by the checkpoint.
    """
    meta = found[2] if found else {}
    if meta.get("stage") not in {"found", "retrain"}:
        return None
    return Decided(Assignment.from_json(meta["assignment"]), meta["gap"], meta["limits"], float_parts)


def proposed(home: Home, float_parts: Parts) -> Decided:
    """The assignment of a baseline."""
    net, spec, limits = home.bench.net, home.spec, limits_of(home)
    proposer: Proposer = Uniform(spec.bits or 8) if spec.kind == "uniform" else Random()
    rng = np.random.default_rng([0xACE, spec.seed, *_salt(spec.id)])
    price = functools.partial(measure, [c for c in home.bench.costs if c.name in limits], net.space)
    assignment = proposer.ask(proposer.init(net.space), net.space, rng, 1, price, limits)[0]
    return Decided(assignment, {}, limits, float_parts)


def found_by_search(home: Home, found: Found, limits: Mapping[str, float], float_parts: Parts) -> Decided:
    """What a search hands on to retraining."""
    begins = float_parts if home.experiment.recipe.start == "float" else found.parts
    return Decided(found.assignment, dict(found.gap), limits, begins)


def _decided(home: Home, float_parts: Parts) -> Decided:
    """The assignment of this trial: proposed, or searched."""
    if home.spec.kind != "search":
        return proposed(home, float_parts)
    limits, controller, steps = limits_of(home), home.controller, home.plan.search_steps(home.spec)
    tries = method_of(controller) != "relaxation"
    if tries:
        # Where nothing is trained there are no checkpoints on the way: the search starts again.
        home.cut(0)
    found = find(
        home.bench.net, home.data, controller=controller, budget=Budget(home.spec.budget), parts=float_parts,
        phase=home.experiment.recipe.search, costs=home.bench.costs, seed=home.spec.seed,
        restored=lambda fresh: home.restored("search", fresh),
        hooks=home.hooks("search", 0, steps, controller=controller), folder=home.folder / SCORES,
    )
    decided = found_by_search(home, found, limits, float_parts)
    if tries:
        home.fence()
        home.checkpoints.save(steps, {"found": np.ones(1)}, {"stage": "found", **decided.carried})
    return decided


def retraining(home: Home, decided: Decided) -> tuple[TrainState, Hooks]:
    """Where retraining starts, or goes on, and what it calls; the assignment is written."""
    phase = home.experiment.recipe.retrain
    write_json(home.path / "assignment.json", decided.assignment.to_json())
    state = home.restored("retrain", start(decided.origin, None, phase, home.spec.seed))
    return state, home.hooks("retrain", home.offset, phase.steps, carried=decided.carried)


def retrained(home: Home, decided: Decided, parts: Parts) -> Record:
    """Keep the retrained parts, and tell what came out."""
    home.save_final(parts, home.offset + home.experiment.recipe.retrain.steps, decided.carried)
    return _result(home, decided, parts)


def ended(home: Home, found: Latest, float_parts: Parts) -> Record:
    """What came out of a trial whose final checkpoint is there."""
    meta, parts = found[2], filled(float_parts, found[1], home.path)
    decided = Decided(Assignment.from_json(meta["assignment"]), meta["gap"], meta["limits"], parts)
    return _result(home, decided, parts)


def _result(home: Home, decided: Decided, parts: Parts) -> Record:
    net, recipe = home.bench.net, home.experiment.recipe
    costs = measure(home.bench.costs, net.space, decided.assignment)
    assert satisfied(costs, decided.limits), "an assignment left the repair over its limits"
    steps = {"retrain": recipe.retrain.steps}
    if home.spec.kind == "search":
        trained = method_of(home.controller) == "relaxation"
        steps["search" if trained else "evaluations"] = home.offset
    metrics = _metrics(home, net, parts, one_hot_gates(net, decided.assignment))
    return home.record(
        "done", "retrained", metrics, costs, assignment=decided.assignment.to_json(), gap=dict(decided.gap),
        limits=dict(decided.limits), steps=steps,
    )


def _metrics(home: Home, net: Supernet, parts: Parts, gates: Mapping[str, Any]) -> dict[str, float]:
    return {
        "accuracy": accuracy(net, parts, gates, home.data, "select"),
        "test_accuracy": accuracy(net, parts, gates, home.data, "test"),
    }


def _salt(text: str) -> list[int]:
    """Numbers of an id, so that trials of one seed draw different assignments."""
    return list(hashlib.sha256(text.encode()).digest()[:8])
