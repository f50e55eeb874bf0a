"""How long a sweep will take and how much it will store, from steps that were measured before it starts.

The few steps that are measured are those of the trials themselves, so what is compiled for them lies in
the compilation cache when the workers need it.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from mpnas.control import Relaxation
from mpnas.cost import Budget
from mpnas.supernet import reformed
from mpnas.sweep.bench import Bench
from mpnas.sweep.config import controller_of
from mpnas.sweep.plan import Plan, TrialSpec
from mpnas.train import (
    Hooks,
    Phase,
    Teacher,
    TrainState,
    accuracy,
    calibrate,
    one_hot_gates,
    run_phase,
    start,
)
from mpnas.train.search import start_search

STEPS = 4  # measured per kind of step; the first one compiles
PATIENCE = 60.0  # seconds of measuring, after which the kinds that are left take the mean of the others
FIXED = 1.5  # seconds of a trial between its placing and its first step, and for its files
SESSION = 6.0  # seconds to start and to end Ray
Key = tuple[str, int | None]  # stage and number of the controller


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a sweep will take.

    Attributes:
      step_seconds: Seconds of one step of each `(stage, controller)`; of one evaluation, where
        assignments are tried.
      wall_seconds: Of the whole sweep.
      work_seconds: Of all trials, one after another.
      stored_bytes: Checkpoints of all trials, on disk.
    """

    step_seconds: Mapping[Key, float]
    wall_seconds: float
    work_seconds: float
    stored_bytes: int


def estimate(plan: Plan, bench: Bench, pending: Sequence[TrialSpec], at_once: int) -> Estimate:
    """Measure a few steps of each kind that the pending trials take, and add up.

    Args:
      plan: The plan.
      bench: Its data and networks.
      pending: Trials without a result.
      at_once: Trials that run at the same time.
    """
    began, found, stored = time.monotonic(), dict[Key, float](), 0
    for key, spec in _kinds(plan, pending).items():
        if time.monotonic() - began > PATIENCE:
            break
        found[key], state = _measured(plan, bench, key, spec)
        stored = max(stored, _bytes_of(state))
    evaluation = _evaluation(bench)
    typical = statistics.fmean(found.values()) if found else 0.0
    step_seconds = {
        key: found.get(key, evaluation if _tries(plan, key) else typical)
        for key in _all_keys(plan, pending)
    }
    seconds = {
        spec.id: FIXED + 2 * evaluation + sum(
            steps * step_seconds[stage, _controller(stage, spec)]
            for stage, steps in plan.stages(spec).items()
        )
        for spec in pending
    }
    waves = [[seconds[s.id] for s in pending if (s.kind == "float") is first] for first in (True, False)]
    wall = sum(max(max(wave), math.fsum(wave) / at_once) for wave in waves if wave)
    return Estimate(
        step_seconds, wall + SESSION, math.fsum(seconds.values()),
        # Two checkpoints of the last stage are kept, and the weights alone as the third.
        stored * 2 * len(pending),
    )


def _controller(stage: str, spec: TrialSpec) -> int | None:
    return spec.controller if stage == "search" else None


def _all_keys(plan: Plan, pending: Sequence[TrialSpec]) -> list[Key]:
    keys = ((stage, _controller(stage, spec)) for spec in pending for stage in plan.stages(spec))
    return list(dict.fromkeys(keys))


def _kinds(plan: Plan, pending: Sequence[TrialSpec]) -> dict[Key, TrialSpec]:
    """Each kind of step that is trained, with a trial that takes it."""
    kinds: dict[Key, TrialSpec] = {}
    for spec in pending:
        for stage in plan.stages(spec):
            key = (stage, _controller(stage, spec))
            if not _tries(plan, key):
                kinds.setdefault(key, spec)
    return kinds


def _tries(plan: Plan, key: Key) -> bool:
    """Whether a stage tries assignments instead of training."""
    stage, number = key
    if stage != "search" or number is None:
        return False
    return not isinstance(controller_of(plan.experiment.controllers[number])[1], Relaxation)


def _measured(plan: Plan, bench: Bench, key: Key, spec: TrialSpec) -> tuple[float, TrainState]:
    """Seconds of a step, and the state after it."""
    stage, number = key
    recipe = plan.experiment.recipe
    phase = {"float": recipe.float, "search": recipe.search, "retrain": recipe.retrain}[stage]
    assert isinstance(phase, Phase)
    phase = dataclasses.replace(phase, steps=min(STEPS, phase.steps))
    times = [time.perf_counter()]
    hooks = Hooks(lambda progress: times.append(time.perf_counter()), every=1)
    net, more = bench.net, dict[str, Any]()
    if stage == "float":
        net, state = bench.plain, start(bench.plain.parts, None, phase, 0)
    else:
        parts = calibrate(net, net.parts, bench.data)
        if number is None:
            state = start(parts, None, phase, 0)
            more = {"gates": one_hot_gates(net, net.space.uniform(8)),
                    "teacher": Teacher(bench.plain, bench.plain.parts)}
        else:
            controller = controller_of(plan.experiment.controllers[number])[1]
            limits = Budget(spec.budget).absolute(net.space, bench.costs)
            assert isinstance(controller, Relaxation)
            state = start_search(net, parts, controller, phase, 0, limits)
            net = reformed(net, controller.operand)
            more = {"controller": controller, "costs": bench.costs, "limits": limits}
    state = run_phase(stage, net, state, bench.data, phase, seed=0, hooks=hooks, **more)
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    # The first step compiles; where it is the only one, it is all there is to know.
    return statistics.median(gaps[1:] or gaps or [0.0]), state


def _evaluation(bench: Bench) -> float:
    """Seconds to measure a network on the selection part."""
    gates = one_hot_gates(bench.net, bench.net.space.uniform(8))
    for _ in range(2):  # the first time compiles
        began = time.perf_counter()
        accuracy(bench.net, bench.net.parts, gates, bench.data, "select")
    return time.perf_counter() - began


def _bytes_of(state: TrainState) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state) if hasattr(leaf, "nbytes"))
