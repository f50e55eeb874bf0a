"""Waves: which trials without a result run together, and in which order.

Float networks come first, as everything else starts from them. Where searches are stopped early, those that
are compared with each other are a wave of their own, one Tune run with one scheduler; processors that fall
idle at its end are the price of comparing like with like. Proposed budgets come last: what the listed ones
gave is known by then.
"""

import dataclasses
import itertools
from pathlib import Path

from mpnas.sweep.config import controller_of
from mpnas.sweep.early import STOPPED
from mpnas.sweep.folder import has_result, home_of, read_json
from mpnas.sweep.plan import Plan, TrialSpec
from mpnas.train import method_of


@dataclasses.dataclass(frozen=True)
class Wave:
    """Trials of one Tune run.

    Attributes:
      trials: Those without a result; the pending proposals, where budgets are proposed.
      peers: All trials that are compared with these, themselves among them; empty where none is stopped.
      proposing: Whether further budgets are proposed while it runs.
    """

    trials: tuple[TrialSpec, ...]
    peers: tuple[TrialSpec, ...] = ()
    proposing: bool = False


def waves_of(folder: Path, plan: Plan) -> list[Wave]:
    """The waves that are left to run, in their order."""
    pending = [spec for spec in plan.trials if not has_result(folder, spec.id)]
    left = {spec.id for spec in pending}
    proposals = tuple(spec for spec in plan.proposals if spec.id in left)
    groups = [group for group in compared(folder, plan) if any(spec.id in left for spec in group)]
    apart = {spec.id for spec in itertools.chain(proposals, *groups)}
    floats = tuple(spec for spec in pending if spec.kind == "float")
    rest = tuple(spec for spec in pending if spec.kind != "float" and spec.id not in apart)
    waves = [Wave(floats), Wave(rest)]
    waves += [Wave(tuple(spec for spec in group if spec.id in left), peers=group) for group in groups]
    waves.append(Wave(proposals, proposing=plan.unproposed > 0))
    return [wave for wave in waves if wave.trials or wave.proposing]


def compared(folder: Path, plan: Plan) -> list[tuple[TrialSpec, ...]]:
    """Searches that early stopping compares: of one listed budget, by one kind of method.

    A search that was stopped and is tried again is left to run to its end, and one alone has no rival.
    """
    if plan.experiment.early_stopping is None:
        return []
    kinds = [method_of(controller_of(spec)[1]) for spec in plan.experiment.controllers]
    groups: dict[tuple[object, ...], list[TrialSpec]] = {}
    for spec in plan.trials[: len(plan.trials) - plan.proposed]:
        if spec.controller is not None and not _spared(home_of(folder, spec.id)):
            group = (kinds[spec.controller], *sorted(spec.budget.items()))
            groups.setdefault(group, []).append(spec)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _spared(home: Path) -> bool:
    """Whether an earlier attempt was stopped early, and has been set aside to try again."""
    earlier = (read_json(path) or {} for path in home.glob("damaged-result-*"))
    return any(str(result.get("reason")).startswith(STOPPED) for result in earlier)
