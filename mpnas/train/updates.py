"""The updates that a step of a phase consists of: what each compiles to, when it runs, on which rows."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpnas.control import Relaxation
from mpnas.cost import Cost, LogHinge
from mpnas.data import Dataset
from mpnas.errors import ConfigError
from mpnas.supernet import Parts, Supernet
from mpnas.train.features import refuse_strangers
from mpnas.train.phase import Optimizer, Phase
from mpnas.train.step import StepSpec

ARCH_SEED = 0x5EED  # logits see other batches than weights, also where their shares overlap

Batch = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """What a network can learn from: outputs as soft labels, and features where the layers are the same.

    Attributes:
      net: The attached float network; or a network of one assignment, or a function.
      parts: Its arrays, a pytree.
    """

    net: Any
    parts: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Quantized:
    """An attached network with fixed gates, to teach with; called as a float one is."""

    net: Supernet
    gates: Mapping[str, Any]

    def apply(self, parts: Parts, _: Any, x: Any, *, train: bool) -> tuple[Any, Any]:
        """Outputs and statistics, as `Supernet.apply`."""
        return self.net.apply(parts, self.gates, x, train=train)

    def observed(self, parts: Parts, _: Any, x: Any, *, train: bool) -> tuple[Any, Any, Any]:
        """Outputs, statistics and features, as `Supernet.observed`."""
        return self.net.observed(parts, self.gates, x, train=train)


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """A function of one's own, written with jax: `x (batch, ...) -> logits (batch, classes)`."""

    function: Callable[[Any], Any]

    def apply(self, _: Any, __: Any, x: Any, *, train: bool) -> tuple[Any, Any]:
        """Its answers; it has neither statistics nor modes."""
        return self.function(x), None


@dataclasses.dataclass(frozen=True)
class Update:
    """One of the updates of a step.

    Attributes:
      spec: What is compiled.
      every: It runs at every so many steps.
      share: Of the training part.
      seed: Added to that of the run: which of its streams of batches.
    """

    spec: StepSpec
    every: int
    share: tuple[float, float]
    seed: int

    def batches(self, data: Dataset, phase: Phase, seed: int, step: int) -> tuple[Batch, Batch | None]:
        """The batch of a step, and the one that the weights see next, where the update looks ahead."""
        batch = data.batch("train", seed + self.seed, step, phase.batch, self.share)
        if not self.spec.unroll:
            return batch, None
        assert phase.weights is not None
        return batch, data.batch("train", seed, step + 1, phase.batch, phase.weights.share)


def refuse_lonely(
    stage: str,
    phase: Phase,
    net: Supernet,
    controller: Relaxation | None,
    teacher: Teacher | None,
    data: Dataset,
) -> None:
    """Raise a ConfigError for a phase that lacks the partner of one of its terms."""
    if phase.taught and teacher is None:
        words = f"distill = {phase.distill}" if phase.distill > 0 else f"features = {phase.features}"
        raise ConfigError(
            f"stage '{stage}' distils ({words}) but has no teacher. "
            f"Give it the float network as teacher, or set {words.split()[0]} = 0."
        )
    if phase.features > 0:
        refuse_strangers(stage, net, teacher, data.example())
    if phase.arch is not None and controller is None:
        raise ConfigError(
            f"stage '{stage}' has an 'arch' optimizer but no controller, so there are no logits to train. "
            "Give it a controller, or delete arch."
        )


def updates_of(
    net: Supernet,
    phase: Phase,
    controller: Relaxation | None,
    costs: tuple[Cost, ...],
    teacher: Teacher | None,
) -> list[Update]:
    """The updates of one step: weights and ranges on their share of the data, logits on theirs.

    Where weights and logits see the same share at the same steps, one backward pass serves both, unless
    the logits look ahead.
    """
    optimizers = phase.optimizers
    arch = optimizers.pop("arch", None)
    net_of = None if teacher is None else teacher.net
    together = arch is not None and not phase.unroll and all(
        (arch.share, arch.every) == (o.share, o.every) for o in optimizers.values()
    )
    groups = [dict(optimizers)]
    if arch is not None:
        if together:
            groups[0]["arch"] = arch
        else:
            groups.append({"arch": arch})
    updates: list[Update] = []
    for number, group in enumerate(groups):
        if group:
            # Weights and ranges agree on both by the rules of a phase.
            every, share = next((o.every, o.share) for o in group.values())
            spec = StepSpec(
                net=net,
                optimizers=tuple((name, _rateless(optimizer)) for name, optimizer in group.items()),
                controller=controller,
                teacher=net_of,
                bins=phase.bins > 0 and number == 0,
                features=phase.features > 0,
                costs=costs if "arch" in group else (),
                unroll=phase.unroll > 0 and "arch" in group,
                pull=phase.budget if "arch" in group else LogHinge(),
                # One update counts the step: the first that takes part in every step.
                counts=every == 1 and all(earlier.every > 1 for earlier in updates),
            )
            updates.append(Update(spec, every, share, number * ARCH_SEED))
    return updates


def _rateless(optimizer: Optimizer) -> Optimizer:
    """What is static about an optimizer: another rate, schedule or share is the same program."""
    return Optimizer(name=optimizer.name, weight_decay=optimizer.weight_decay)


def knobs_of(phase: Phase, step: int) -> dict[str, np.float32]:
    """The traced scalars of a step, counted from 0."""
    progress = step / max(phase.steps, 1)
    knobs = {
        "progress": progress,
        "distill": phase.distill,
        "features": phase.features,
        "temperature": phase.temperature,
        "bins": phase.bins * 0.5 * (1 - np.cos(np.pi * progress)),
        "smoothing": phase.smoothing,
        "penalty": phase.penalty * phase.ramp(progress),
        "unroll": phase.unroll,
    }
    knobs |= {f"rate/{name}": optimizer.rate(progress) for name, optimizer in phase.optimizers.items()}
    return {name: np.float32(value) for name, value in knobs.items()}
