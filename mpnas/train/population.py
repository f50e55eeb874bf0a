"""A population: members that differ in budget, seed or assignment go through a phase in one program.

Their states are stacked along a leading axis, and one jitted step, mapped over it, advances them all;
what a step draws, and where it stands in the data, are each member's own. On a CPU, where that is no
faster, members run one after another through the step that a single run compiles. Sums are ordered
differently in the two programs, so numbers agree to rounding, not in every bit. Rounding errors grow where
Adam meets a gradient that is 0 but for them (a bias before a batch normalisation), and where one moves
an activation across a step of its quantizer; with SGD the losses of 20 steps agree to 1e-6.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mpnas.control import Relaxation
from mpnas.cost import COSTS, Cost
from mpnas.data import Dataset
from mpnas.errors import ConfigError, MpnasError
from mpnas.supernet import Supernet
from mpnas.train.keep import handed_on, kept_together
from mpnas.train.loop import run_phase
from mpnas.train.phase import Phase
from mpnas.train.state import TrainState
from mpnas.train.step import Step, StepSpec, limited, step_of
from mpnas.train.updates import Teacher, Update, knobs_of, refuse_lonely, updates_of
from mpnas.train.watch import Hooks, Watch

Population = Literal["auto", "together", "apart"]
Mode = Literal["together", "apart"]
ACCELERATORS = ("gpu", "cuda", "rocm", "tpu")


def mode_of(population: Population, backend: str) -> Mode:
    """How members run: as asked, or, where that is `auto`, together on an accelerator and apart on a CPU.

    Args:
      population: What was asked for.
      backend: As `jax.default_backend()` names it.
    """
    if population != "auto":
        return population
    return "together" if backend in ACCELERATORS else "apart"


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One run of a population; what it shares with the others is an argument of `run_members`.

    Attributes:
      state: Where it starts; its buffers may be given away.
      seed: Of its order of the data.
      gates: Its fixed gates, without a controller: an assignment of its own.
      limits: Its absolute limits, by cost name; all members limit the same costs.
      teacher: Needed where the phase distils; members of one seed have the same, all of one network.
      hooks: Its own reports and checkpoints.
    """

    state: TrainState
    seed: int
    gates: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    teacher: Teacher | None = None
    hooks: Hooks = Hooks()


def run_members(
    stage: str,
    net: Supernet,
    members: Sequence[Member],
    data: Dataset,
    phase: Phase,
    *,
    mode: Mode,
    controller: Relaxation | None = None,
    costs: Sequence[Cost] = COSTS,
    ended: Callable[[int, MpnasError], None] = lambda number, error: None,
) -> list[TrainState | MpnasError]:
    """Train every member to the end of the phase.

    Each member's hooks are called as `run_phase` would call them. An MpnasError, be it a loss that is
    not finite or raised by a hook, ends its member alone; the lane of such a member is computed on
    without being looked at, so that the program, and with it the bits of the others, stay the same.
    Any other exception ends all.

    Args:
      stage, net, data, phase, controller, costs: As in `run_phase`, for all members.
      members: At least one; run together, all stand at the same step.
      mode: `together` in one program, or one after another (`apart`).
      ended: Told the number of a member that ends early, and why, as soon as that is known.

    Returns:
      For each member the state that the phase keeps, or the error that ended it.

    Raises:
      ConfigError: the members cannot be stacked, or lack what the phase needs.
    """
    for member in members:
        refuse_lonely(stage, phase, net, controller, member.teacher, data)
    if mode == "together":
        _refuse_strangers(stage, members)
        return _Together(stage, net, members, data, phase, controller, costs, ended).run()
    ends: list[TrainState | MpnasError] = []
    for number, member in enumerate(members):
        try:
            ends.append(run_phase(
                stage, net, member.state, data, phase, seed=member.seed, gates=member.gates,
                controller=controller, costs=costs, limits=member.limits, teacher=member.teacher,
                hooks=member.hooks,
            ))
        except MpnasError as error:
            ended(number, error)
            ends.append(error)
    return ends


class _Together:
    """The members of a phase as one stack; arguments are those of `run_members`."""

    def __init__(
        self,
        stage: str,
        net: Supernet,
        members: Sequence[Member],
        data: Dataset,
        phase: Phase,
        controller: Relaxation | None,
        costs: Sequence[Cost],
        ended: Callable[[int, MpnasError], None],
    ) -> None:
        self.net, self.members, self.phase = net, members, phase
        self.controller, self.costs, self.ended = controller, costs, ended
        self.data = data if phase.augment else dataclasses.replace(data, augment=None)
        self.seeds = [member.seed for member in members]
        # Decided by the seeds alone: the program must not change when a member ends.
        self.shared = len(set(self.seeds)) == 1
        self.watches = [Watch(stage, phase, member.hooks) for member in members]
        self.errors: dict[int, MpnasError] = {}
        self.waiting: list[tuple[int, Any, bool]] = []

        first = members[0]
        teachers = [m.teacher for m in members if m.teacher is not None] if phase.taught else []
        self.updates = updates_of(
            net, phase, controller, limited(costs, first.limits), teachers[0] if teachers else None
        )
        self.teacher_parts = None
        if teachers:
            self.teacher_parts = teachers[0].parts if self.shared else stacked([t.parts for t in teachers])
        self.gates = {
            site: jnp.stack([jnp.asarray(member.gates[site], jnp.float32) for member in members])
            for site in first.gates
        }
        self.limits = {
            name: jnp.asarray([member.limits[name] for member in members], jnp.float32)
            for name in first.limits
        }

    def run(self) -> list[TrainState | MpnasError]:
        """Every step that is left, for all members."""
        begin, steps = int(self.members[0].state.step), self.phase.steps
        if begin >= steps:
            return [handed_on(member.state) for member in self.members]
        stack = stacked([member.state for member in self.members])
        for step in range(begin, steps):
            stack = self._step(stack, step)
            if any(watch.due(step + 1) for watch in self.watches):
                self._tell(stack, step + 1)
                if len(self.errors) == len(self.members):
                    break
        return [
            self.errors[k] if k in self.errors else handed_on(lane(stack, k))
            for k in range(len(self.members))
        ]

    def _step(self, stack: TrainState, step: int) -> TrainState:
        """The stack after one step."""
        knobs, losses = knobs_of(self.phase, step), None
        for number, update in enumerate(self.updates):
            if step % update.every:
                continue
            (x, y), ahead = self._batches(update, step)
            stack, metrics = compiled_members(update.spec, self.shared)(
                stack, x, y, knobs, self.gates, self.limits, self.teacher_parts, ahead
            )
            self.waiting.append((step + 1, metrics, number == 0))
            losses = metrics["loss"] if number == 0 else losses
        if self.phase.keep == "best_feasible":
            assert self.controller is not None
            stack = kept_together(
                stack, losses, step=step + 1, steps=self.phase.steps, net=self.net,
                controller=self.controller, costs=self.costs, limits=[m.limits for m in self.members],
            )
        return stack

    def _batches(self, update: Update, step: int) -> Any:
        """What an update sees: drawn once a seed, one for all where they have the same."""
        drawn = {
            seed: update.batches(self.data, self.phase, seed, step) for seed in dict.fromkeys(self.seeds)
        }
        if self.shared:
            return drawn[self.seeds[0]]
        return jax.tree.map(lambda *arrays: np.stack(arrays), *(drawn[seed] for seed in self.seeds))

    def _tell(self, stack: TrainState, done: int) -> None:
        """Hand every member's losses to its watch, and let it tell what is due."""
        told, self.waiting = jax.device_get(self.waiting), []
        for k, watch in enumerate(self.watches):
            if k in self.errors:
                continue
            try:
                for step, metrics, shown in told:
                    watch.note(step, {name: rows[k] for name, rows in metrics.items()}, shown=shown)
                if watch.due(done):
                    watch.tell(done, lane(stack, k))
            except MpnasError as error:
                self.errors[k] = error
                self.ended(k, error)


@functools.lru_cache(maxsize=64)
def compiled_members(spec: StepSpec, shared: bool) -> Step:
    """The step of all members, jitted: its arguments are those of `step_of`, with a leading axis.

    The knobs have none; nor have batches and teacher where they are `shared`. The stacked state is donated.
    """
    seen = None if shared else 0
    mapped = jax.vmap(step_of(spec), in_axes=(0, seen, seen, None, 0, 0, seen, seen))
    return jax.jit(mapped, donate_argnums=0)


@jax.jit
def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one, with a leading axis over them."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@jax.jit
def lane(tree: Any, number: int) -> Any:
    """One of the trees of a stack, in buffers of its own."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, number, keepdims=False), tree)


def _refuse_strangers(stage: str, members: Sequence[Member]) -> None:
    """Raise a ConfigError for members that do not fit into one program."""
    first, *others = members
    for number, other in enumerate(others, 1):
        for what, mine, theirs in (
            ("shapes", _form(first.state), _form(other.state)),
            ("gates", _form(dict(first.gates)), _form(dict(other.gates))),
            ("limited costs", sorted(first.limits), sorted(other.limits)),
            ("step", int(first.state.step), int(other.state.step)),
            ("teacher", first.teacher is None, other.teacher is None),
        ):
            if mine != theirs:
                told = f" ({mine} and {theirs})" if what in {"limited costs", "step"} else ""
                raise ConfigError(
                    f"members 0 and {number} of stage '{stage}' differ in {what}{told}, so they are no "
                    "population. Run them apart."
                )


def _form(tree: Any) -> Any:
    """Structure, shapes and types of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(np.shape(leaf), str(leaf.dtype)) for leaf in leaves]
