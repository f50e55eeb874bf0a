"""The three stages of a method: fit the float network, search an assignment, retrain it.

Each is a phase of `loop.run_phase` with a start and an end: a search begins by calibrating the ranges
and ends by repairing the preferred assignment to the budget; retraining runs the supernet under the
one-hot gates of the assignment, so that one compiled program serves every assignment.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from mpnas.control import Relaxation, mean_entropy, undecided_share
from mpnas.cost import COSTS, Budget, Cost, expected, measure, refuse_impossible, repair, spend
from mpnas.data import Dataset
from mpnas.errors import ConfigError, MpnasError
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet, adopted, attach, reformed, settled
from mpnas.train.evaluate import accuracy, noiseless, one_hot_gates
from mpnas.train.loop import Hooks, Teacher, run_phase
from mpnas.train.phase import Optimizer, Phase
from mpnas.train.population import Member, Mode, run_members
from mpnas.train.state import TrainState, start
from mpnas.train.statistics import reestimated

CALIBRATION_BATCH = 256

FLOAT_PHASE = Phase(steps=800, weights=Optimizer(name="adamw", lr=3e-3, weight_decay=1e-2, warmup=0.05))
SEARCH_PHASE = Phase(
    steps=600,
    weights=Optimizer(lr=1e-3),
    ranges=Optimizer(lr=1e-3),
    arch=Optimizer(lr=2e-2, decay="constant"),
)
RETRAIN_PHASE = Phase(
    steps=800, weights=Optimizer(lr=1e-3), ranges=Optimizer(lr=1e-3), distill=1.0, bins=1e-3
)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search hands on.

    Attributes:
      assignment: Within every limit, exactly.
      parts: Weights, ranges and statistics at the end of the search, in the given network.
      limits: The absolute limits, by cost name.
      gap: Discretisation gap: `expected_costs` of the soft gates and `discrete_costs` of their argmax,
        `soft_metric` and `hard_metric` (accuracy on the selection part before and after discretising
        and repair), `mean_choice_entropy` and `undecided_fraction`, both in [0, 1].
    """

    assignment: Assignment
    parts: Parts
    limits: Mapping[str, float]
    gap: Mapping[str, Any]


def fit(
    model: nnx.Module, data: Dataset, *, phase: Phase = FLOAT_PHASE, seed: int = 0, hooks: Hooks = Hooks()
) -> Teacher:
    """Train the plain float network; the model itself is trained, and the result can teach.

    Raises:
      NonFiniteLossError: the loss is not finite; the model is then unchanged.
    """
    net = attach(model, data.example(), [])
    state = run_phase("float", net, start(net.parts, None, phase, seed), data, phase, seed=seed, hooks=hooks)
    nnx.update(model, nnx.state(net.module(state.parts, {})))
    return Teacher(net, state.parts)


def teacher(model: nnx.Module, data: Dataset) -> Teacher:
    """A trained float network as a teacher; the model is cloned, its weights are not changed."""
    net = attach(model, data.example(), [])
    return Teacher(net, net.parts)


def with_float_parts(net: Supernet, teacher: Teacher) -> Parts:
    """Parts of an attached network with the weights and batch statistics of a float one."""
    model = net.module(net.parts, one_hot_gates(net, net.space.uniform(None)))
    plain = net.widened(teacher.net.module(teacher.parts, {}))
    nnx.update(model, nnx.state(plain))
    _, *states = nnx.split(model, nnx.Param, *net.variable_kinds, ...)
    return Parts(states[0], net.parts.ranges, states[-1])


def calibrate(net: Supernet, parts: Parts, data: Dataset, *, batch: int = CALIBRATION_BATCH) -> Parts:
    """Parts whose ranges fit the first training inputs, without augmentation."""
    x = data.example(min(batch, data.rows("train")))
    return _calibrated_of(net)(parts, x)


@functools.lru_cache(maxsize=64)
def _calibrated_of(net: Supernet) -> Callable[..., Parts]:
    """Traced once per network: every trial begins with it."""
    return jax.jit(net.calibrated)


def start_search(
    net: Supernet,
    parts: Parts,
    controller: Relaxation,
    phase: Phase,
    seed: int,
    limits: Mapping[str, float] | None = None,
) -> TrainState:
    """State before the first step of a search, in the form that the controller's gates need.

    A penalty with a memory needs the limits.
    """
    parts = adopted(net, reformed(net, controller.operand), parts)
    return start(parts, controller.init(net.space.choices), phase, seed, limits)


def search(
    net: Supernet,
    data: Dataset,
    *,
    controller: Relaxation,
    budget: Budget,
    parts: Parts | None = None,
    phase: Phase = SEARCH_PHASE,
    costs: Sequence[Cost] = COSTS,
    seed: int = 0,
    state: TrainState | None = None,
    hooks: Hooks = Hooks(),
) -> Found:
    """Search an assignment under a budget.

    Args:
      net: The attached network.
      data: Weights see its training part, as does the controller (each its share of it).
      controller: How gates come to be.
      budget: What must hold, exactly, of the result.
      parts: Trained float weights; by default those at attaching. Ranges are calibrated here.
      phase: Steps, optimizers and terms.
      costs: What can be limited, and is logged.
      seed: Of the order of the data and of the controller's noise.
      state: A restored state to go on from.
      hooks: Reports and checkpoints.

    Raises:
      BudgetError: the budget cannot be met by this space; nothing has been trained.
      ConfigError: the phase regularises bins, but the controller does not mix candidates.
      NonFiniteLossError: the loss is not finite.
    """
    _refuse_bins(controller, phase)
    limits = refuse_impossible(budget, costs, net.space)
    if state is None:
        calibrated = calibrate(net, parts if parts is not None else net.parts, data)
        state = start_search(net, calibrated, controller, phase, seed, limits)
    state = run_phase(
        "search", reformed(net, controller.operand), state, data, phase, seed=seed, controller=controller,
        costs=costs, limits=limits, hooks=hooks,
    )
    return conclude(net, data, state, controller, costs, limits)


def search_members(
    net: Supernet,
    members: Sequence[Member],
    data: Dataset,
    *,
    controller: Relaxation,
    phase: Phase,
    mode: Mode,
    costs: Sequence[Cost] = COSTS,
    ended: Callable[[int, MpnasError], None] = lambda number, error: None,
) -> list[Found | MpnasError]:
    """Search for every member of a population, each under limits of its own.

    Args:
      net, data, controller, phase, costs: As in `search`, for all members.
      members: Their states are those of `start_search`, or later ones.
      mode, ended: As in `run_members`.

    Returns:
      What each member found, or the error that ended it.

    Raises:
      ConfigError: as `search` and `run_members`.
    """
    _refuse_bins(controller, phase)
    searched = reformed(net, controller.operand)
    ends = run_members("search", searched, members, data, phase, mode=mode, controller=controller,
                       costs=costs, ended=ended)
    found: list[Found | MpnasError] = []
    for number, (member, end) in enumerate(zip(members, ends, strict=True)):
        if isinstance(end, MpnasError):
            found.append(end)
            continue
        try:
            found.append(conclude(net, data, end, controller, costs, member.limits))
        except MpnasError as error:
            ended(number, error)
            found.append(error)
    return found


def _refuse_bins(controller: Relaxation, phase: Phase) -> None:
    if phase.bins > 0 and controller.operand != "alternatives":
        raise ConfigError(
            f"the search regularises the bins of candidates (bins = {phase.bins}), but {controller} searches "
            f"by {controller.operand} and mixes none. Set bins = 0 in the search; retraining can have it."
        )


def conclude(
    net: Supernet,
    data: Dataset,
    state: TrainState,
    controller: Relaxation,
    costs: Sequence[Cost],
    limits: Mapping[str, float],
) -> Found:
    """Discretise a finished search: repair to the limits, spend what is left, and measure the gap.

    Args:
      net: The network that was given to the search.
      data: Its selection part is measured.
      state: Of the search's end, in the form of the controller's operand.
      controller, costs, limits: As in the search.
    """
    searched = reformed(net, controller.operand)
    probabilities, gates = noiseless(net, controller)(state.arch)  # type: ignore[arg-type]
    preference = {site: np.asarray(p, np.float64) for site, p in probabilities.items()}
    assignment = repair(net.space, costs, limits, preference)
    assignment = spend(net.space, costs, limits, preference, assignment)
    gap = describe_gap(net, state, controller, costs)
    parts = settled(net, searched, state.parts, gates, assignment)
    gap["soft_metric"] = accuracy(searched, state.parts, gates, data, "select")
    gap["hard_metric"] = accuracy(net, parts, one_hot_gates(net, assignment), data, "select")
    return Found(assignment, parts, limits, gap)


def describe_gap(
    net: Supernet, state: TrainState, controller: Relaxation, costs: Sequence[Cost]
) -> dict[str, Any]:
    """Expected and discrete costs of the current gates, and how decided they are."""
    gap = _gap_of(net, controller, tuple(costs))  # type: ignore[arg-type]
    soft, entropy, undecided, probabilities = gap(state.arch)
    return {
        "expected_costs": {name: float(value) for name, value in soft.items()},
        "discrete_costs": measure(costs, net.space, net.space.nearest(probabilities)),
        "mean_choice_entropy": float(entropy),
        "undecided_fraction": float(undecided),
    }


@functools.lru_cache(maxsize=64)
def _gap_of(net: Supernet, controller: Relaxation, costs: tuple[Cost, ...]) -> Callable[[Any], Any]:
    """Everything soft about a state in one compiled call; op by op it would cost a tenth of a second."""

    def gap(arch: Any) -> Any:
        probabilities = controller.probabilities(arch, net.space.choices)
        soft = expected(costs, net.space, probabilities)
        return soft, mean_entropy(probabilities), undecided_share(probabilities), probabilities

    return jax.jit(gap)


def retrain(
    net: Supernet,
    assignment: Assignment,
    data: Dataset,
    *,
    parts: Parts,
    teacher: Teacher | None = None,
    phase: Phase = RETRAIN_PHASE,
    seed: int = 0,
    state: TrainState | None = None,
    hooks: Hooks = Hooks(),
) -> Parts:
    """Train the network of one assignment; its gates are fixed. Batch norms are measured again last.

    Args:
      net: The attached network.
      assignment: One candidate per decision.
      data: Its training part is used.
      parts: Where to start: calibrated float weights, or those of the search.
      teacher: Whom it learns from, where `phase.distill` or `phase.features` > 0.
      phase: Steps, optimizers and terms.
      seed: Of the order of the data.
      state: A restored state to go on from.
      hooks: Reports and checkpoints.

    Raises:
      ConfigError: the phase learns from a teacher and there is none, or it is none of this kind.
      NonFiniteLossError: the loss is not finite.
    """
    net.space.check(assignment)
    if state is None:
        state = start(parts, None, phase, seed)
    gates = one_hot_gates(net, assignment)
    state = run_phase(
        "retrain", net, state, data, phase, seed=seed, gates=gates, teacher=teacher, hooks=hooks
    )
    return reestimated(
        net, state.parts, gates, data, batches=phase.bn_batches, batch=phase.batch, seed=seed
    )
