"""One optimizer step, compiled once per kind of phase and used for every budget, seed and rate.

Everything that differs between trials of a sweep (limits, learning rates, weights of the terms,
progress) is a traced argument; what is static is which terms exist at all.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mpnas.control import Arch, Relaxation
from mpnas.cost import Cost, LogHinge, Penalty, expected
from mpnas.supernet import Parts, Supernet
from mpnas.train.features import gated_feature_loss
from mpnas.train.objective import bin_regularizer, cross_entropy, soft_cross_entropy
from mpnas.train.phase import Optimizer
from mpnas.train.state import TrainState, collections_of, transform

FEATURE_STREAM = 0xFEA  # the noise of feature gates is not that of a controller


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """What is static about a step; hashable, one compiled program each.

    Attributes:
      net: The network that is trained.
      optimizers: `(collection, optimizer)` pairs updated by this step; only the name and the weight decay
        are looked at.
      controller: Produces the gates; None: they are an argument.
      teacher: Network of a `Teacher`, for soft labels and features; None: hard labels only.
      bins: Whether the bin regulariser is in the loss.
      features: Whether the gated features of the teacher are.
      costs: Costs that the penalty counts, by the names of the limits.
      unroll: Whether the weights look one step ahead, on a batch of their own.
      pull: The penalty.
      counts: Whether this update is the one that counts the step; one of each step's updates does.
    """

    net: Supernet
    optimizers: tuple[tuple[str, Optimizer], ...]
    controller: Relaxation | None = None
    teacher: Any = None
    bins: bool = False
    features: bool = False
    costs: tuple[Cost, ...] = ()
    unroll: bool = False
    pull: Penalty = LogHinge()
    counts: bool = True


Knobs = Mapping[str, Any]
Step = Callable[..., tuple[TrainState, dict[str, Any]]]


@functools.lru_cache(maxsize=256)
def compiled_step(spec: StepSpec) -> Step:
    """The step of one run, jitted; the state is donated."""
    return jax.jit(step_of(spec), donate_argnums=0)


def step_of(spec: StepSpec) -> Step:
    """`step(state, x, y, knobs, gates, limits, teacher_parts, ahead) -> (state, metrics)`, pure.

    `knobs` holds scalars: `progress`, `rate/<collection>`, `distill`, `features`, `temperature`, `bins`,
    `smoothing`, `penalty`, `unroll`. `ahead` is the batch `(x, y)` on which an unrolling step looks ahead.
    Metrics are scalars: `loss` and `hits` (right answers in the batch).
    """
    names = tuple(name for name, _ in spec.optimizers)

    def step(
        state: TrainState,
        x: Any,
        y: Any,
        knobs: Knobs,
        gates: Any,
        limits: Any,
        teacher_parts: Any,
        ahead: Any = None,
    ) -> tuple[TrainState, dict[str, Any]]:
        # Even numbers for weights, odd ones for logits: two updates of one step draw different noise.
        key = jax.random.fold_in(state.key, state.step * 2 + ("weights" not in names))

        def task(parts: Parts, mixed: Any, x: Any, y: Any) -> tuple[Any, tuple[Any, Any]]:
            return _task(spec, parts, mixed, x, y, knobs, teacher_parts, key)

        def loss_of(trained: dict[str, Any]) -> tuple[Any, Any]:
            every = collections_of(state.parts, state.arch) | trained
            parts = Parts(every["weights"], every["ranges"], state.parts.stats)
            arch = Arch(every["arch"], state.arch.memory)
            mixed = _gates(spec, arch, knobs["progress"], key, gates)
            if spec.unroll:
                params = descended(
                    lambda weights: task(dataclasses.replace(parts, params=weights), mixed, *ahead)[0],
                    parts.params,
                    knobs["unroll"],
                )
                parts = dataclasses.replace(parts, params=params)
            loss, (stats, logits) = task(parts, mixed, x, y)
            if spec.bins:
                loss = loss + knobs["bins"] * bin_regularizer(spec.net, parts, mixed)
            if "arch" in names and spec.controller is not None:
                loss = loss + _architecture_terms(spec, arch, parts, state.pull, knobs, limits)
            hits = jnp.sum(jnp.argmax(logits, axis=1) == y)
            return loss, (stats, hits)

        trained = {name: collections_of(state.parts, state.arch)[name] for name in names}
        (loss, (stats, hits)), grads = jax.value_and_grad(loss_of, has_aux=True)(trained)
        updated, opt = {}, dict(state.opt)
        for name, optimizer in spec.optimizers:
            tx = transform(optimizer)
            change, opt[name] = tx.update(grads[name], state.opt[name], trained[name])
            rate = knobs[f"rate/{name}"]
            updated[name] = jax.tree.map(lambda p, c: p - rate * c, trained[name], change)
        every = collections_of(state.parts, state.arch) | updated
        stats = stats if "weights" in names else state.parts.stats
        arch, pull = Arch(every["arch"], state.arch.memory), state.pull
        if "arch" in names and spec.controller is not None:
            arch, pull = _after(spec, arch, pull, knobs["progress"], limits)
        advanced = TrainState(
            Parts(every["weights"], every["ranges"], stats),
            arch,
            opt,
            state.step + spec.counts,
            state.key,
            pull,
            state.best,
        )
        return advanced, {"loss": loss, "hits": hits}

    return step


def descended(loss: Callable[[Any], Any], weights: Any, rate: Any) -> Any:
    """`weights - rate * grad loss(weights)`, differentiable in all that `loss` depends on."""
    return jax.tree.map(lambda w, slope: w - rate * slope, weights, jax.grad(loss)(weights))


def _task(
    spec: StepSpec, parts: Parts, mixed: Any, x: Any, y: Any, knobs: Knobs, teacher_parts: Any, key: Any
) -> tuple[Any, tuple[Any, Any]]:
    """Loss on a batch against hard and soft labels, and features; new statistics and outputs."""
    seen: Any = {}
    shown: Any = {}
    if spec.features:
        logits, stats, seen = spec.net.observed(parts, mixed, x, train=True)
    else:
        logits, stats = spec.net.apply(parts, mixed, x, train=True)
    loss = cross_entropy(logits, y, knobs["smoothing"])
    if spec.teacher is not None:
        if spec.features:
            soft, _, shown = spec.teacher.observed(teacher_parts, {}, x, train=False)
        else:
            soft = spec.teacher.apply(teacher_parts, {}, x, train=False)[0]
        distilled = soft_cross_entropy(logits, soft, knobs["temperature"])
        loss = (1 - knobs["distill"]) * loss + knobs["distill"] * distilled
    if spec.features:
        noise = jax.random.fold_in(key, FEATURE_STREAM)
        loss = loss + knobs["features"] * gated_feature_loss(seen, shown, noise)
    return loss, (stats, logits)


def _gates(spec: StepSpec, arch: Arch, progress: Any, key: Any, gates: Any) -> Any:
    if spec.controller is None:
        return gates
    return spec.controller.gates(arch, spec.net.space.choices, progress=progress, key=key)


def _architecture_terms(
    spec: StepSpec, arch: Arch, parts: Parts, memory: Any, knobs: Knobs, limits: Any
) -> Any:
    assert spec.controller is not None
    choices = spec.net.space.choices
    soft, hard = _costs(spec, arch)
    frozen = jax.lax.stop_gradient(parts)
    regularizer = spec.controller.regularizer(arch, choices, lambda: spec.net.distortions(frozen))
    pull = spec.pull.loss(memory, soft, hard, limits, knobs["progress"])
    return knobs["penalty"] * pull + regularizer


def _costs(spec: StepSpec, arch: Arch) -> tuple[dict[str, Any], dict[str, Any]]:
    """The costs of the mixture, and those of the candidates that it prefers, without a gradient."""
    assert spec.controller is not None
    space = spec.net.space
    soft = spec.controller.probabilities(arch, space.choices)
    hard = {s: jax.nn.one_hot(jnp.argmax(p, axis=1), p.shape[1], dtype=p.dtype) for s, p in soft.items()}
    return expected(spec.costs, space, soft), expected(spec.costs, space, hard)


def _after(spec: StepSpec, arch: Arch, memory: Any, progress: Any, limits: Any) -> tuple[Arch, Any]:
    """The controller's event, told whether any expected cost is over its limit, and the penalty's."""
    assert spec.controller is not None
    soft, hard = _costs(spec, arch)
    over = jnp.any(jnp.stack([jnp.asarray(soft[name] > limit) for name, limit in limits.items()] or [False]))
    memory = spec.pull.update(memory, soft, hard, limits, progress)
    return spec.controller.event(arch, spec.net.space.choices, over_budget=over, progress=progress), memory


def limited(costs: Sequence[Cost], limits: Mapping[str, float]) -> tuple[Cost, ...]:
    """The costs that have a limit."""
    return tuple(cost for cost in costs if cost.name in limits)
