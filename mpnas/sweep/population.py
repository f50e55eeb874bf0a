"""Trials of a plan that run as one population: the same folders and records, one program for all.

Members go through the stages side by side. Each writes its own folder exactly as `run_trial` does, at the
same steps, so a population that is started again goes on from the newest step that all of its unfinished
members have; `run_trial` can finish one of its members alone. A member that has ended early, or was done
before, keeps its lane in the stacked program, filled by another's numbers that nobody looks at: the
program, and with it the bits of the others, depend on the plan and not on who is left.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax

from mpnas.errors import BudgetError, MpnasError, NonFiniteLossError, RunFolderError
from mpnas.pareto import Record
from mpnas.supernet import Parts
from mpnas.sweep.config import controller_of
from mpnas.sweep.folder import home_of
from mpnas.sweep.home import Alive, Home, Row, read_record
from mpnas.sweep.plan import Plan, TrialSpec, load_plan
from mpnas.sweep.stages import (
    Decided,
    decided_before,
    ended,
    float_start,
    found_by_search,
    limits_of,
    proposed,
    retrained,
    retraining,
)
from mpnas.sweep.trial import run_trial
from mpnas.train import (
    Hooks,
    Member,
    Teacher,
    method_of,
    mode_of,
    one_hot_gates,
    reestimated,
    run_members,
    search_members,
    start_search,
)

Report = Callable[[str, Row], None]


def groups_of(plan: Plan, pending: Iterable[str], *, backend: str = "cpu") -> list[tuple[str, ...]]:
    """Which trials run as one, in the order of the plan.

    Searches of one controller with limits on the same costs are one population, all uniform and random
    networks another, both cut into pieces of `population_size`; a float network, and a search that
    trains no logits, are alone. A population with anything pending is given whole, finished members
    included: `run_population` leaves those alone, but needs to know of them.

    Args:
      plan: The plan of the run.
      pending: Ids of the trials without a result.
      backend: Of the workers, as `jax.default_backend()` names it: on a CPU `auto` leaves all alone.

    Returns:
      Tuples of ids, each one call of `run_population`. Those of float networks come first; others need
      the float networks of their seeds to be done.
    """
    waiting, experiment = set(pending), plan.experiment
    if mode_of(experiment.population, backend) == "apart":
        return [(trial.id,) for trial in plan.trials if trial.id in waiting]
    families: dict[Any, list[str]] = {}
    for trial in plan.trials:
        families.setdefault(_family(plan, trial), []).append(trial.id)
    size = experiment.population_size
    pieces = [tuple(ids[k : k + size]) for ids in families.values() for k in range(0, len(ids), size)]
    return [piece for piece in pieces if waiting & set(piece)]


def _family(plan: Plan, spec: TrialSpec) -> Any:
    """Equal for trials whose stages are the same programs on the same shapes."""
    if spec.kind in {"uniform", "random"}:
        return "baselines"
    if spec.controller is not None:
        controller = controller_of(plan.experiment.controllers[spec.controller])[1]
        if method_of(controller) == "relaxation":
            return spec.controller, tuple(sorted(spec.budget))
    return spec.id


def run_population(
    folder: Path, trial_ids: Sequence[str], *, report: Report | None = None, alive: Alive | None = None
) -> dict[str, Record | MpnasError]:
    """Run trials to their ends, from wherever an earlier attempt left them.

    On a CPU, or where the plan says `apart`, they run one after another through `run_trial`, in one
    process and so through the same compiled programs. Fencing is per member: one that a newer
    attempt has taken over ends alone.

    Args:
      folder: The run folder; it holds `plan.json`.
      trial_ids: One of the tuples of `groups_of`.
      report: Called with the id of a trial and each of its rows of metrics.
      alive: Called with where a trial is, at each row and each checkpoint.

    Returns:
      The record of each trial, also in its `result.json`; or, for one that has none now, the error that
      `run_trial` would have raised: it was fenced, or the float network that it needs is not there.

    Raises:
      RunFolderError: no plan there, no such trial, or trials that are no population.
    """
    plan = load_plan(folder)
    specs = [plan.trial(trial_id) for trial_id in trial_ids]
    together = mode_of(plan.experiment.population, jax.default_backend()) == "together"
    if not together or len(specs) == 1:
        return {spec.id: _alone(folder, spec.id, report, alive) for spec in specs}
    if len({_family(plan, spec) for spec in specs}) > 1:
        raise RunFolderError(
            f"trials {', '.join(trial_ids)} are no population. Ask mpnas.sweep.population.groups_of for one."
        )
    with _Crew(plan, folder, specs, report, alive) as crew:
        return crew.run()


def _alone(
    folder: Path, trial_id: str, report: Report | None, alive: Alive | None
) -> Record | MpnasError:
    try:
        return run_trial(folder, trial_id, report=_of(report, trial_id), alive=alive)
    except MpnasError as error:
        return error


def _read(result: Path) -> Record | MpnasError:
    try:
        return read_record(result)
    except MpnasError as error:
        return error


def _of(report: Report | None, trial_id: str) -> Callable[[Row], None] | None:
    return None if report is None else functools.partial(report, trial_id)


@dataclasses.dataclass(frozen=True, eq=False)
class _Start:
    """What a member begins with: its float network, that in the searched network, and absolute limits."""

    teacher: Teacher
    parts: Parts
    limits: Mapping[str, float]


class _Crew:
    """One attempt at a population; a context manager, which holds the members' checkpoints open."""

    def __init__(
        self, plan: Plan, folder: Path, specs: Sequence[TrialSpec], report: Report | None,
        alive: Alive | None,
    ) -> None:
        self.plan, self.folder, self.specs, self.report, self.alive = plan, folder, specs, report, alive
        self.homes: dict[str, Home] = {}
        self.ends: dict[str, Record | MpnasError] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            for spec in self.specs:
                done = home_of(self.folder, spec.id) / "result.json"
                if done.exists():
                    self.ends[spec.id] = _read(done)
                else:
                    home = Home(self.plan, spec, self.folder, _of(self.report, spec.id), self.alive)
                    self.homes[spec.id] = opened.enter_context(home)
            self._open = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def run(self) -> dict[str, Record | MpnasError]:
        """All stages; the end of every member, in the order of the trials."""
        floats: dict[int, tuple[Teacher, Parts]] = {}
        starts = self._each(lambda home: self._start(home, floats))
        self._align(starts)
        self._end(self._in_stage("final", starts), lambda home: _ended(home, starts[home.spec.id]))
        decided = self._each(lambda home: decided_before(home.latest(), starts[home.spec.id].parts), starts)
        open_ones = [trial for trial, one in decided.items() if one is None]
        if self.specs[0].kind == "search":
            decided |= self._search(starts, open_ones)
        else:
            decided |= self._each(lambda home: proposed(home, starts[home.spec.id].parts), open_ones)
        self._retrain(starts, decided)
        return {spec.id: self.ends[spec.id] for spec in self.specs}

    # Stages -----------------------------------------------------------------------------------

    def _start(self, home: Home, floats: dict[int, tuple[Teacher, Parts]]) -> _Start:
        """The start of a member; those of one seed share the float network."""
        seed = home.spec.seed
        if seed not in floats:
            floats[seed] = float_start(home)
        return _Start(*floats[seed], limits_of(home))

    def _search(self, starts: Mapping[str, _Start], trials: Sequence[str]) -> dict[str, Decided]:
        members = self._each(lambda home: _searching(home, starts[home.spec.id]), trials)
        if not members:
            return {}
        bench, recipe = self.homes[trials[0]].bench, self.plan.experiment.recipe
        assert recipe.search is not None
        lanes = self._lanes(members)
        ends = search_members(
            bench.net, lanes, bench.data, controller=self.homes[trials[0]].controller, phase=recipe.search,
            mode="together", costs=bench.costs, ended=self._ended(members),
        )
        found: dict[str, Any] = {spec.id: end for spec, end in zip(self.specs, ends, strict=True)}
        return {
            trial: found_by_search(
                self.homes[trial], found[trial], starts[trial].limits, starts[trial].parts
            )
            for trial in members if trial not in self.ends
        }

    def _retrain(self, starts: Mapping[str, _Start], decided: Mapping[str, Decided]) -> None:
        members = self._each(
            lambda home: _retraining(home, starts[home.spec.id], decided[home.spec.id]), decided
        )
        if not members:
            return
        bench, phase = next(iter(self.homes.values())).bench, self.plan.experiment.recipe.retrain
        ends = run_members(
            "retrain", bench.net, self._lanes(members), bench.data, phase,
            mode="together", costs=bench.costs, ended=self._ended(members),
        )
        states: dict[str, Any] = {spec.id: end for spec, end in zip(self.specs, ends, strict=True)}

        def result(home: Home) -> Record:
            parts = reestimated(
                bench.net, states[home.spec.id].parts, members[home.spec.id].gates, bench.data,
                batches=phase.bn_batches, batch=phase.batch, seed=home.spec.seed,
            )
            return retrained(home, decided[home.spec.id], parts)

        self._end(members, result)

    # Members ----------------------------------------------------------------------------------

    def _each(self, function: Callable[[Home], Any], trials: Iterable[str] | None = None) -> dict[str, Any]:
        """What a function gives for each member that has not ended; its errors end the member."""
        results = {}
        for trial in self.homes if trials is None else list(trials):
            if trial not in self.ends:
                try:
                    results[trial] = function(self.homes[trial])
                except MpnasError as error:
                    self._over(trial, error)
        return results

    def _end(self, trials: Iterable[str], result: Callable[[Home], Record]) -> None:
        """Members whose records are made and written: they are done."""
        self.ends |= self._each(lambda home: home.finish(result(home)), trials)

    def _over(self, trial: str, error: MpnasError) -> None:
        """A member has ended early: as a failed record, or as an error that is not for the record."""
        try:
            home = self.homes[trial]
            recorded = isinstance(error, (NonFiniteLossError, BudgetError))
            self.ends[trial] = home.finish(home.failed(error)) if recorded else error
        except MpnasError as fenced:
            self.ends[trial] = fenced

    def _ended(self, members: Mapping[str, Member]) -> Callable[[int, MpnasError], None]:
        """For `run_members`; of a lane that is only filled nobody is told."""

        def over(number: int, error: MpnasError) -> None:
            if (trial := self.specs[number].id) in members:
                self._over(trial, error)

        return over

    def _lanes(self, members: Mapping[str, Member]) -> list[Member]:
        """A member for each trial; lanes of those that are over are filled, each with its own seed."""
        filler = dataclasses.replace(next(iter(members.values())), hooks=Hooks())
        return [
            members.get(spec.id, dataclasses.replace(filler, seed=spec.seed)) for spec in self.specs
        ]

    def _in_stage(self, stage: str, trials: Iterable[str]) -> list[str]:
        """The members whose newest checkpoint is of this stage."""
        latest = self._each(lambda home: home.latest(), trials)
        return [trial for trial, found in latest.items() if found and found[2]["stage"] == stage]

    def _align(self, starts: Mapping[str, _Start]) -> None:
        """Put the members that still train on the newest step that all of them have.

        Steps beyond it are deleted; where there is no such step, all begin anew.
        """
        over = self._in_stage("final", starts)
        training = [trial for trial in starts if trial not in over]
        while len(set(steps := self._each(_newest_step, training).values())) > 1:
            self._each(functools.partial(_back_to, step=min(steps)), training)


def _newest_step(home: Home) -> int:
    """Of its sound checkpoints; 0 before the first."""
    found = home.latest()
    return found[0] if found else 0


def _ended(home: Home, start: _Start) -> Record:
    """What came out of a member whose final checkpoint is there."""
    found = home.latest()
    assert found is not None
    return ended(home, found, start.parts)


def _back_to(home: Home, step: int) -> None:
    home.fence()
    home.checkpoints.forget(after=step)


def _searching(home: Home, start: _Start) -> Member:
    """A member of the search, where it begins or goes on."""
    phase, net = home.experiment.recipe.search, home.bench.net
    assert phase is not None
    fresh = start_search(net, start.parts, home.controller, phase, home.spec.seed, start.limits)
    hooks = home.hooks("search", 0, phase.steps, controller=home.controller)
    return Member(home.restored("search", fresh), home.spec.seed, limits=start.limits, hooks=hooks)


def _retraining(home: Home, start: _Start, decided: Decided) -> Member:
    """A member of retraining, where it begins or goes on."""
    home.fence()
    state, hooks = retraining(home, decided)
    gates = one_hot_gates(home.bench.net, decided.assignment)
    return Member(state, home.spec.seed, gates, teacher=start.teacher, hooks=hooks)
