"""Penalties: how hard a search is pulled towards its limits, from expected and discrete costs.

While searching a network has two costs: the expected one of its mixture, which has a gradient, and the
discrete one of the candidates that it prefers. A penalty turns both into a loss; one with a memory (a
multiplier, an integral) is told both after every update of the logits. All are sums over the limited
costs of terms in `r = expected / limit`, jittable, with limits as traced arguments. The weight and its
ramp belong to the phase (`Phase.penalty`, `Phase.ramp`) and multiply the whole.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from mpnas.errors import ConfigError, nearest

Costs = Mapping[str, Any]
"""Cost name -> scalar, JAX."""

LEAST = 1e-9  # of a limit: a cost of nothing has a finite logarithm


@runtime_checkable
class Penalty(Protocol):
    """One way to pull costs under their limits."""

    def init(self, limits: Costs) -> Any:
        """The memory before the first update, a pytree of arrays; `{}` for none."""
        ...

    def loss(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        """A scalar, differentiated in the expected costs alone; progress in [0, 1]."""
        ...

    def update(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        """The memory after an update of the logits; costs are those after it."""
        ...


class _Forgetful:
    """A penalty that remembers nothing."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def init(self, limits: Costs) -> Any:
        return {}

    def update(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        return memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogHinge(_Forgetful):
    """`sum_c e_c + e_c^2` with `e_c = relu(log(cost_c / limit_c))`; unitless, 0 within all limits.

    The logarithm makes the pull of a decision its share of the present cost, whatever the limit: a
    tight budget does not drown the task's gradient at the start of a search. The logarithm of the
    expected cost is that of TAS (Dong and Yang, 2019), the one-sided ramp to 0 that of Schaefer et
    al., 2022, https://arxiv.org/abs/2206.07741.
    """

    def loss(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        total: Any = 0.0
        for name, limit in limits.items():
            # The maximum inside, so that a cost of 0 has no infinite slope.
            excess = jnp.log(jnp.maximum(expected[name] / limit, 1.0))
            total = total + excess + excess * excess
        return total


@dataclasses.dataclass(frozen=True, kw_only=True)
class Linear(_Forgetful):
    """`weight * sum_c r_c`: always down, whatever the limit; the repair keeps it.

    Source: Risso et al., IGSC 2022, https://arxiv.org/abs/2206.08852, `L_task + lambda R`.

    Attributes:
      weight: Multiplies, beside the phase's own weight; > 0.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        _refuse_unless(0 < self.weight, self, "weight > 0")

    def loss(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        return self.weight * sum((expected[name] / limit for name, limit in limits.items()), 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BandedLog(_Forgetful):
    """`+log r` above a band around the limit, `-log r` below it, exactly 0 inside.

    Whether a cost is above or below is read from its discrete value, the gradient from the expected one.

    Source: Zhao et al., AQ-BERT, IJCAI 2021, https://arxiv.org/abs/2112.14938, L_size; the same form as
    TAS (Dong and Yang, 2019), https://arxiv.org/abs/1905.09717.

    Attributes:
      tolerance: Half the width of the band as a share of the limit; in [0, 1).
    """

    tolerance: float = 0.05

    def __post_init__(self) -> None:
        _refuse_unless(0 <= self.tolerance < 1, self, "0 <= tolerance < 1")

    def loss(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        total: Any = 0.0
        for name, limit in limits.items():
            above = jnp.where(discrete[name] > (1 + self.tolerance) * limit, 1.0, 0.0)
            below = jnp.where(discrete[name] < (1 - self.tolerance) * limit, 1.0, 0.0)
            total = total + (above - below) * _log_ratio(expected[name], limit)
        return total


@dataclasses.dataclass(frozen=True, kw_only=True)
class SquaredHinge(_Forgetful):
    """`sum_c relu(r_c - 1)^2`, 0 where all limits hold; the rising weight is the phase's ramp.

    Source: Schaefer et al., 2022, https://arxiv.org/abs/2206.07741, `p(t) relu(S - T)^2`; their sizes are
    in kB, here they are shares of the limit: a weight of theirs is one of `T^2` times as much here.
    """

    def loss(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        return sum((jnp.maximum(expected[n] / limit - 1, 0.0) ** 2 for n, limit in limits.items()), 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignedGap(_Forgetful):
    """`sum_c D_c r_c` with `D_c = discrete_c / limit_c - 1`, which is not differentiated.

    Above the limit costs fall, below it they grow, the faster the further away.

    Source: Xiao et al., CSQ, DAC 2023, https://arxiv.org/abs/2212.02770, budget-aware regulariser.
    """

    def loss(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        total: Any = 0.0
        for name, limit in limits.items():
            gap = jax.lax.stop_gradient(discrete[name] / limit - 1)
            total = total + gap * (expected[name] / limit)
        return total


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedLagrangian:
    """`sum_c (relu(m_c + rho g_c)^2 - m_c^2) / (2 rho)` with `g_c = log r_c`, multipliers m by events.

    At every `every`-th update `m <- relu(m + rho g)`. With multipliers of its own the loss meets a limit
    exactly at a finite weight, where a penalty alone stops short of it.

    Source: Powell, 1969, and Hestenes, 1969; for inequalities Rockafellar, Math. Programming 5, 1973.

    Attributes:
      rho: Stiffness, and the rate of the multipliers; > 0.
      every: Updates of the logits between two events; >= 1.
      start: Progress before which there are no events; in [0, 1].
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rho: float = 1.0
    every: int = 10
    start: float = 0.0

    def __post_init__(self) -> None:
        sound = 0 < self.rho and self.every >= 1 and 0 <= self.start <= 1
        _refuse_unless(sound, self, "rho > 0, every >= 1 and 0 <= start <= 1")

    def init(self, limits: Costs) -> Any:
        return {"multiplier": {name: jnp.float32(0) for name in limits}, "updates": jnp.int32(0)}

    def loss(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        total: Any = 0.0
        for name, limit in limits.items():
            multiplier = memory["multiplier"][name]
            pull = jnp.maximum(multiplier + self.rho * _log_ratio(expected[name], limit), 0.0)
            total = total + (pull**2 - multiplier**2) / (2 * self.rho)
        return total

    def update(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        updates = memory["updates"] + 1
        event = (updates % self.every == 0) & (progress >= self.start)
        moved = {}
        for name, old in memory["multiplier"].items():
            new = jnp.maximum(old + self.rho * _log_ratio(expected[name], limits[name]), 0.0)
            moved[name] = jnp.where(event, new, old)
        return {"multiplier": moved, "updates": updates}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PID:
    """`sum_c m_c r_c` with multipliers m that a controller steers, so that costs end at their limits.

    With the error `e = log r` after each update: `I <- relu(I + e)`, `m <- relu(kp e + ki I + kd relu(e -
    e_before))`. The integral never falls below 0, so that a cost far below its limit does not delay
    the pull when it comes back.

    Source: Stooke et al., ICML 2020, https://arxiv.org/abs/2007.03964, algorithm 2; there the error is
    the difference itself, here its logarithm, so that gains do not depend on the limit.

    Attributes:
      kp, ki, kd: Gains on the error, its sum and its rise; >= 0, one of them > 0.
      start: Progress before which nothing is steered; in [0, 1].
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kp: float = 1.0
    ki: float = 0.02
    kd: float = 0.0
    start: float = 0.0

    def __post_init__(self) -> None:
        gains = (self.kp, self.ki, self.kd)
        sound = min(gains) >= 0 and sum(gains) > 0 and 0 <= self.start <= 1
        _refuse_unless(sound, self, "kp, ki, kd >= 0, one of them > 0, and 0 <= start <= 1")

    def init(self, limits: Costs) -> Any:
        zero = {name: jnp.float32(0) for name in limits}
        return {"multiplier": zero, "integral": dict(zero), "error": dict(zero)}

    def loss(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        multiplier = memory["multiplier"]
        return sum((multiplier[n] * (expected[n] / limit) for n, limit in limits.items()), 0.0)

    def update(self, memory: Any, expected: Costs, discrete: Costs, limits: Costs, progress: Any) -> Any:
        multiplier, integral, errors = {}, {}, {}
        on = jnp.where(progress >= self.start, 1.0, 0.0)
        for name, limit in limits.items():
            error = on * _log_ratio(expected[name], limit)
            total = jnp.maximum(memory["integral"][name] + error, 0.0)
            rise = jnp.maximum(error - memory["error"][name], 0.0)
            steered = self.kp * error + self.ki * total + self.kd * rise
            multiplier[name], integral[name], errors[name] = jnp.maximum(steered, 0.0), total, error
        return {"multiplier": multiplier, "integral": integral, "error": errors}


def _log_ratio(cost: Any, limit: Any) -> Any:
    """`log(cost / limit)`, finite at a cost of 0."""
    return jnp.log(jnp.maximum(cost / limit, LEAST))


PENALTIES: dict[str, type[Any]] = {
    "log_hinge": LogHinge,
    "linear": Linear,
    "banded_log": BandedLog,
    "squared_hinge": SquaredHinge,
    "signed_gap": SignedGap,
    "augmented_lagrangian": AugmentedLagrangian,
    "pid": PID,
}


def penalty_of(asked: str | Mapping[str, Any] | Penalty) -> Penalty:
    """The penalty of a name, or of a table with `name` and options; a penalty is itself.

    Raises:
      ConfigError: an unknown name or option, or a value out of its range.
    """
    if isinstance(asked, Penalty):
        return asked
    if not isinstance(asked, str | Mapping):
        raise ConfigError(
            f"a penalty is a name, a table or an object of mpnas.cost.penalty, got {asked!r}. "
            f"Names: {', '.join(PENALTIES)}."
        )
    options = {} if isinstance(asked, str) else dict(asked)
    name = asked if isinstance(asked, str) else str(options.pop("name", ""))
    if name not in PENALTIES:
        raise ConfigError(f"there is no penalty '{name}'; nearest: {nearest(name, PENALTIES)}.")
    known = {field.name: type(field.default) for field in dataclasses.fields(PENALTIES[name])}
    for key, value in options.items():
        if key not in known:
            listed = nearest(key, known) or "none, it has no options"
            raise ConfigError(f"penalty '{name}' has no option '{key}'; nearest: {listed}.")
        if isinstance(value, bool) or not isinstance(value, (int, known[key])):
            kind = "whole number" if known[key] is int else "number"
            raise ConfigError(f"penalty '{name}': {key} = {value!r} is no {kind}.")
    return PENALTIES[name](**options)


def _refuse_unless(sound: bool, penalty: Any, needs: str) -> None:
    finite = all(math.isfinite(value) for value in dataclasses.astuple(penalty))
    if not (sound and finite):
        raise ConfigError(f"a penalty needs {needs}, got {penalty}.")
