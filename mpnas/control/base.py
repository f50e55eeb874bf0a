"""Who produces gates: relaxations, driven by gradients, proposers, by answers, and scorers, by one look.

A controller sees choices (how many decisions, which bit-widths) and never a network or a cost. It is
a frozen dataclass; everything that changes is in the `Arch` that it makes and gets back.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.space import Assignment, Choice, Gates, Space

Choices = Mapping[str, Choice]


@dataclasses.dataclass(frozen=True)
class Arch:
    """State of a relaxation.

    Attributes:
      logits: Trained by gradient, a pytree of float arrays.
      memory: Changed only by events, a pytree of arrays.
    """

    logits: Any
    memory: Any


jax.tree_util.register_dataclass(Arch, data_fields=["logits", "memory"], meta_fields=[])


@runtime_checkable
class Relaxation(Protocol):
    """Gates from trained logits; all methods are pure and can be jitted.

    Attributes:
      operand: What the gates mean to the searched tensors: `alternatives` (shares of the candidates),
        `planes` (open bit planes) or `implied` (a step and a range).
    """

    operand: ClassVar[str]

    def init(self, choices: Choices) -> Arch:
        """State before the first step."""
        ...

    def gates(self, arch: Arch, choices: Choices, *, progress: Any, key: Any) -> dict[str, Array]:
        """Site -> what its operand takes, for one step.

        Of alternatives that is `(decisions, candidates)`, each row summing to 1; the others are told by
        the operands of the supernet.

        Args:
          arch: The state; only its logits carry gradients.
          choices: Those that `init` saw.
          progress: Share of the search that is done, in [0, 1]; may be traced.
          key: Randomness of this step; the same key gives the same gates. None: without noise, the
            mixture whose expected bits are those of `probabilities`.
        """
        ...

    def probabilities(self, arch: Arch, choices: Choices) -> dict[str, Array]:
        """Site -> `(decisions, candidates)`: how likely each candidate is picked, without noise.

        Expected costs, entropies and the final preference are taken from these.
        """
        ...

    def regularizer(self, arch: Arch, choices: Choices, distortions: Callable[[], Gates]) -> Any:
        """A scalar to add to the loss of the logits.

        Args:
          arch: The state.
          choices: Those that `init` saw.
          distortions: Called only if needed: weight site -> `(decisions, candidates)` of `||Q_k(w) - w||^2`.
        """
        ...

    def event(self, arch: Arch, choices: Choices, *, over_budget: Any, progress: Any) -> Arch:
        """The state after each step's update: projections and discrete jumps.

        Args:
          arch: The state after the optimizer's update.
          choices: Those that `init` saw.
          over_budget: Whether any expected cost is above its limit; a boolean, may be traced.
          progress: As in `gates`.
        """
        ...


@runtime_checkable
class Proposer(Protocol):
    """Assignments on request, better ones the more answers it has heard.

    Attributes:
      evaluations: How many answers it wants to hear before the best one counts as found; >= 1.
    """

    @property
    def evaluations(self) -> int: ...

    def init(self, space: Space, scores: Gates | None = None) -> Any:
        """Memory before the first question.

        Args:
          space: What can be chosen.
          scores: What was measured for it, if it is `Measuring`.
        """
        ...

    def ask(
        self,
        memory: Any,
        space: Space,
        rng: np.random.Generator,
        count: int,
        price: Callable[[Assignment], Mapping[str, float]],
        limits: Mapping[str, float],
    ) -> list[Assignment]:
        """`count` assignments to try.

        Args:
          memory: What `init` or the last `tell` returned.
          space: What can be chosen.
          rng: Randomness of this question; the same state gives the same assignments.
          count: How many, >= 0.
          price: Assignment -> exact cost by name, for every name in `limits`.
          limits: Cost name -> largest allowed cost. A proposer that searches keeps within them; one that
            comes down from above (`Importance`) ends within them; a fixed point of reference
            (`Uniform`) does not look at them.

        Returns:
          `count` assignments; fewer where the search has nothing else to try, and none once it is over.

        Raises:
          BudgetError: no assignment within `limits` was found.
        """
        ...

    def tell(self, memory: Any, results: Sequence[tuple[Assignment, Mapping[str, float]]]) -> Any:
        """Memory after hearing the metrics of assignments that were asked.

        Args:
          memory: What `init` or the last `tell` returned.
          results: Assignments with their metrics: `loss` in nats, `accuracy` in [0, 1].
        """
        ...


@runtime_checkable
class Measuring(Protocol):
    """Who looks at the trained network once, through numbers: what is measured, and on how much data.

    Attributes:
      measure: Which of the measures of `mpnas.train.scores`.
      batches, batch: Batches of training rows that are looked at, and rows of each; >= 1.
    """

    @property
    def measure(self) -> str: ...

    @property
    def batches(self) -> int: ...

    @property
    def batch(self) -> int: ...


@runtime_checkable
class Scorer(Measuring, Protocol):
    """A preference from one look at the network; the best assignment under any budget follows from it."""

    def preference(self, scores: Gates) -> Gates:
        """Site -> `(decisions, candidates)`, higher is better, from the measured scores of that shape."""
        ...


def mean_entropy(probabilities: Gates) -> Any:
    """Mean over decisions of the entropy of the choice, as a share of its maximum; in [0, 1]."""
    total: Any = 0.0
    count = 0
    for p in probabilities.values():
        if p.shape[1] > 1:
            total = total - jnp.sum(p * jnp.log(p + 1e-12)) / jnp.log(p.shape[1])
            count += p.shape[0]
    return total / max(count, 1)


def undecided_share(probabilities: Gates, threshold: float = 0.9) -> Any:
    """Share of decisions whose likeliest candidate has less than `threshold`; in [0, 1]."""
    total: Any = 0.0
    count = 0
    for p in probabilities.values():
        total = total + jnp.sum(jnp.max(p, axis=1) < threshold)
        count += p.shape[0]
    return total / max(count, 1)


def even_logits(choices: Choices, lean: float) -> dict[str, Float[Array, "decisions candidates"]]:
    """Logits in proportion to the bit-width, `lean` at the widest candidate."""
    return {
        site: jnp.tile(
            lean * jnp.asarray(choice.bits, jnp.float32) / max(*choice.bits, 1), (choice.decisions, 1)
        )
        for site, choice in choices.items()
    }
