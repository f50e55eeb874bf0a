"""Channel expansion: two widths in the mix at a time, and wider ones where width is wanted.

Of the widths of a group two are drawn without replacement by Gumbel noise and mixed in the shares of
their noisy logits. A group begins with the widths up to that of the given network. When it prefers the
widest that it has by more than a threshold, the next wider one is unlocked, with the same logit.

Sources: Park et al., NCE, 2022, https://arxiv.org/abs/2212.10878 (expansion); Dong and Yang, TAS,
NeurIPS 2019, https://arxiv.org/abs/1905.09717 (two draws). The temperature falls exponentially here,
by a cosine there. Sites without a width draw as `Gumbel` does.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.control.base import Arch, Choices, even_logits
from mpnas.control.schedule import Exponential
from mpnas.errors import ConfigError
from mpnas.space import Choice, Gates, Width

LOCKED = -1e9  # added to the logit of a width that is not unlocked; finite, so that 0 * it is 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class NCE:
    """Two-sample Gumbel over widths with expansion events.

    Attributes:
      tau: Temperature over the search; unitless.
      threshold: Share of the widest unlocked width above which the next one is unlocked; in (0, 1).
      warmup: Share of the search before the first expansion, in [0, 1].
      lean: Starting logit of the widest candidate of a site without widths, narrower ones in proportion.

    Raises:
      ConfigError: a value out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    operand: ClassVar[str] = "alternatives"

    tau: Exponential = Exponential(5.0, 0.1)
    threshold: float = 0.3
    warmup: float = 0.1
    lean: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.threshold < 1 and 0 <= self.warmup <= 1):
            raise ConfigError(f"NCE needs 0 < threshold < 1 and 0 <= warmup <= 1, got {self}.")

    def init(self, choices: Choices) -> Arch:
        """Even `logits` over the widths; `memory` holds how many of them are unlocked."""
        logits = even_logits(choices, self.lean)
        widths = {site: choice for site, choice in choices.items() if choice.kind == "width"}
        logits |= {site: jnp.zeros_like(logits[site]) for site in widths}
        return Arch(logits=logits, memory={site: jnp.int32(_given(c)) for site, c in widths.items()})

    def gates(self, arch: Arch, choices: Choices, *, progress: Any, key: Any) -> dict[str, Array]:
        if key is None:
            return self.probabilities(arch, choices)
        tau = self.tau(progress)
        gates = {}
        for number, (site, logits) in enumerate(sorted(self._open(arch).items())):
            noise = jax.random.gumbel(jax.random.fold_in(key, number), logits.shape)
            noisy = (jax.nn.log_softmax(logits, axis=1) + noise) / tau
            if choices[site].kind == "width":
                noisy = _largest_two(noisy)
            gates[site] = jax.nn.softmax(noisy, axis=1)
        return gates

    def probabilities(self, arch: Arch, choices: Choices) -> dict[str, Array]:
        return {site: jax.nn.softmax(logits, axis=1) for site, logits in self._open(arch).items()}

    def regularizer(self, arch: Arch, choices: Choices, distortions: Callable[[], Gates]) -> Any:
        return 0.0

    def event(self, arch: Arch, choices: Choices, *, over_budget: Any, progress: Any) -> Arch:
        """Groups that want their widest width unlock the next one."""
        logits, memory = dict(arch.logits), dict(arch.memory)
        shares = self.probabilities(arch, choices)
        for site, unlocked in arch.memory.items():
            number = jnp.arange(logits[site].shape[1])
            wanted = jnp.sum(jnp.where(number == unlocked - 1, shares[site][0], 0.0))
            grows = (wanted > self.threshold) & (progress >= self.warmup) & (unlocked < number.size)
            widest = jnp.sum(jnp.where(number == unlocked - 1, logits[site][0], 0.0))
            logits[site] = jnp.where(grows & (number == unlocked), widest, logits[site])
            memory[site] = jnp.where(grows, unlocked + 1, unlocked)
        return Arch(logits=logits, memory=memory)

    def _open(self, arch: Arch) -> dict[str, Array]:
        """Logits with the locked widths out of reach."""
        logits = dict(arch.logits)
        for site, unlocked in arch.memory.items():
            locked = jnp.arange(logits[site].shape[1]) >= unlocked
            logits[site] = jnp.where(locked, LOCKED, logits[site])
        return logits


def _given(choice: Choice) -> int:
    """How many widths reach no further than the given network; at least the first."""
    shares = [candidate.share for candidate in choice.candidates if isinstance(candidate, Width)]
    return max(1, int(np.sum(np.asarray(shares) <= 1)))


def _largest_two(noisy: Float[Array, "decisions widths"]) -> Float[Array, "decisions widths"]:
    """All but the two largest of each row out of reach."""
    if noisy.shape[1] <= 2:
        return noisy
    second = jax.lax.top_k(noisy, 2)[0][:, 1:]
    return jnp.where(noisy >= second, noisy, LOCKED)
