"""Everything that changes while training, as one pytree: a resume is a restore of this tree."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mpnas.control import Arch
from mpnas.supernet import Parts
from mpnas.train.phase import Optimizer, Phase


@dataclasses.dataclass(frozen=True)
class Best:
    """The best state so far of a phase that keeps it.

    Attributes:
      parts, arch: That state's.
      loss: Mean loss of its window, in nats; infinite while there is none.
      total, count: Sum of the losses of the present window, and how many they are.
    """

    parts: Parts
    arch: Arch
    loss: Any
    total: Any
    count: Any


jax.tree_util.register_dataclass(
    Best, data_fields=["parts", "arch", "loss", "total", "count"], meta_fields=[]
)


@dataclasses.dataclass(frozen=True)
class TrainState:
    """A point in a phase.

    Attributes:
      parts: Weights, ranges and statistics of the network.
      arch: Logits and memory of the controller; empty without one.
      opt: Collection -> state of its optimizer.
      step: Steps done in this phase, int32. The position in the data follows from it.
      key: Raw key of the phase's randomness, `(2,)` uint32; the key of a step is derived from both.
      pull: Memory of the penalty: multipliers and the like; empty for one that remembers nothing.
      best: The best state so far, as a `Best`, in a phase that hands it on; else None.
    """

    parts: Parts
    arch: Arch
    opt: Any
    step: Any
    key: Any
    pull: Any = dataclasses.field(default_factory=dict)
    best: Any = None


jax.tree_util.register_dataclass(
    TrainState, data_fields=["parts", "arch", "opt", "step", "key", "pull", "best"], meta_fields=[]
)


def start(
    parts: Parts, arch: Arch | None, phase: Phase, seed: int, limits: Mapping[str, float] | None = None
) -> TrainState:
    """The state before the first step of a phase, in buffers of its own (steps donate theirs)."""
    arch = arch if arch is not None else Arch(logits={}, memory={})
    trained = collections_of(parts, arch)
    opt = {name: transform(spec).init(trained[name]) for name, spec in phase.optimizers.items()}
    pull = phase.budget.init(limits or {}) if phase.arch is not None else {}
    best = None
    if phase.keep == "best_feasible":
        best = Best(parts, arch, jnp.float32(jnp.inf), jnp.float32(0), jnp.int32(0))
    state = TrainState(parts, arch, opt, jnp.int32(0), jax.random.PRNGKey(seed), pull, best)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    # Committed copies: restored arrays are committed too, and the two kinds compile apart. Op by op a copy
    # would be a program per shape.
    return jax.device_put(state, device, may_alias=False)


def collections_of(parts: Parts, arch: Arch) -> dict[str, Any]:
    """The three trainable collections by name."""
    return {"weights": parts.params, "ranges": parts.ranges, "arch": arch.logits}


def transform(spec: Optimizer) -> optax.GradientTransformation:
    """The optimizer at a learning rate of 1: the rate is a traced argument of the step."""
    if spec.name == "sgd":
        return optax.chain(optax.add_decayed_weights(spec.weight_decay), optax.trace(0.9, nesterov=True))
    if spec.name == "adamw":
        return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(spec.weight_decay))
    return optax.scale_by_adam()
