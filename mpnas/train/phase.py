"""Phases: a stretch of training with its trainable collections, loss terms and schedules.

A recipe is a few phases; a method of a paper is a controller plus a recipe. Three collections can be
trained: `weights` (the network's own parameters), `ranges` (learned scales) and `arch` (the logits of
a controller); a collection without an optimizer is frozen.
"""

import dataclasses
import math
from typing import Any, ClassVar, Literal, get_args

from mpnas.control import Ramp
from mpnas.cost import LogHinge, penalty_of
from mpnas.errors import ConfigError, nearest

COLLECTIONS = ("weights", "ranges", "arch")
OptimizerName = Literal["adam", "adamw", "sgd"]
Decay = Literal["cosine", "constant"]
Keep = Literal["last", "best_feasible"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How one collection is updated.

    Attributes:
      name: `adam`, `adamw` (decoupled weight decay) or `sgd` (Nesterov momentum 0.9).
      lr: Learning rate at its peak; > 0.
      decay: `cosine` to 0 over the phase, or `constant`.
      warmup: Share of the phase over which the rate rises linearly from 0; in [0, 1).
      weight_decay: Decay per unit of learning rate, for `adamw` and `sgd`; >= 0.
      every: Updated at every so many steps.
      share: Range `(low, high)` of the training part that it sees, as shares in [0, 1].

    Raises:
      ConfigError: an unknown name, or a number out of its range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: OptimizerName = "adam"
    lr: float = 1e-3
    decay: Decay = "cosine"
    warmup: float = 0.0
    weight_decay: float = 0.0
    every: int = 1
    share: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        for key, words in (("name", get_args(OptimizerName)), ("decay", get_args(Decay))):
            if (word := getattr(self, key)) not in words:
                raise ConfigError(f"an optimizer has no {key} '{word}'; nearest: {nearest(word, words)}.")
        low, high = self.share
        # Written so that NaN, which TOML can spell, fails too.
        sound = 0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf and 0 <= self.warmup < 1
        if not sound or self.every < 1:
            raise ConfigError(
                f"an optimizer needs lr > 0, every >= 1, 0 <= warmup < 1, weight_decay >= 0; got {self}."
            )
        if not 0 <= low < high <= 1:
            raise ConfigError(f"an optimizer's share must be a range within [0, 1], got {self.share}.")
        if self.weight_decay and self.name == "adam":
            raise ConfigError(
                f"'adam' does not decay weights, got weight_decay = {self.weight_decay}. "
                "Write name = \"adamw\", or delete weight_decay."
            )

    def rate(self, progress: float) -> float:
        """Learning rate at a share of the phase.

        Returns:
          `lr * min(1, progress / warmup)`, times `(1 + cos(pi progress)) / 2` for the cosine.
        """
        rise = min(1.0, progress / self.warmup) if self.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * progress)) if self.decay == "cosine" else 1.0
        return self.lr * rise * fall


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of training.

    Attributes:
      steps: Number of optimizer steps.
      batch: Examples per step.
      weights, ranges, arch: Their optimizers; None freezes the collection. Weights and ranges are
        updated together, so they agree on `every` and `share`.
      distill: Weight in [0, 1] of the soft labels of the float network; the rest goes to the hard labels.
      features: Weight of the gated features of a teacher with the same layers; >= 0. See `features.py`.
      temperature: Softens both distributions of the distillation; > 0.
      bins: Weight of the bin regulariser at the end of the phase, risen to by a half cosine; >= 0.
      smoothing: Label smoothing in [0, 1).
      budget: How the logits are pulled to the limits: a penalty, its name, or a table with `name` and
        options; always the penalty once the phase is made.
      penalty: Weight of that penalty in the loss of the logits; >= 0.
      ramp: Schedule that multiplies the penalty.
      augment: Whether the data's augmentation is applied.
      unroll: xi of DARTS: logits descend the loss that the weights would have after one more step of
        gradient descent at this rate, `L_val(w - xi grad_w L_train(w, gates), gates)`; >= 0. At 0 the
        weights count as given (first order). The training batch is the next one of the weights' share.
        Source: Liu et al., 2019, https://arxiv.org/abs/1806.09055, eq. (5) and (6).
      keep: Which state the phase hands on: the `last`, or the one with the lowest training loss of
        those whose discrete costs are within the limits (`best_feasible`; the last if none is).
      bn_batches: Retraining ends by measuring the batch-norm statistics anew on so many training batches;
        0 keeps the running averages. Searches and float networks do not look at it.

    Raises:
      ConfigError: a number out of its range, an unknown word, or optimizers that do not go together.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    steps: int
    batch: int = 64
    weights: Optimizer | None = Optimizer()
    ranges: Optimizer | None = None
    arch: Optimizer | None = None
    distill: float = 0.0
    features: float = 0.0
    temperature: float = 1.0
    bins: float = 0.0
    smoothing: float = 0.0
    budget: Any = LogHinge()
    penalty: float = 5.0
    ramp: Ramp = Ramp()
    augment: bool = True
    unroll: float = 0.0
    keep: Keep = "last"
    bn_batches: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.steps < 2**31 and 1 <= self.batch < 2**31):
            raise ConfigError(
                f"a phase needs steps >= 0 and batch >= 1, got {self.steps} and {self.batch}; "
                "both below 2^31."
            )
        if not (0 <= self.distill <= 1 and 0 <= self.smoothing < 1 and 0 < self.temperature < math.inf):
            raise ConfigError(
                "a phase needs distill in [0, 1], smoothing in [0, 1) and temperature > 0, got "
                f"{self.distill}, {self.smoothing} and {self.temperature}."
            )
        if not (0 <= self.bins < math.inf and 0 <= self.penalty < math.inf):
            raise ConfigError(f"a phase needs bins >= 0 and penalty >= 0, got {self.bins}, {self.penalty}.")
        if not (0 <= self.features < math.inf and 0 <= self.bn_batches < 2**31):
            raise ConfigError(
                "a phase needs features >= 0 and bn_batches >= 0, below 2^31, got "
                f"{self.features} and {self.bn_batches}."
            )
        if not 0 <= self.unroll < math.inf:
            raise ConfigError(f"a phase needs unroll >= 0, got {self.unroll}.")
        if self.keep not in get_args(Keep):
            words = nearest(self.keep, get_args(Keep))
            raise ConfigError(f"a phase cannot keep '{self.keep}'; nearest: {words}.")
        object.__setattr__(self, "budget", penalty_of(self.budget))
        self._check_optimizers()

    def _check_optimizers(self) -> None:
        if self.unroll and (self.weights is None or self.arch is None):
            raise ConfigError(
                f"unroll = {self.unroll} looks ahead from weights to logits, so both need an optimizer. "
                "Add weights and arch, or delete unroll."
            )
        if self.keep == "best_feasible" and self.arch is None:
            raise ConfigError(
                "keep = \"best_feasible\" compares networks of a search, but this phase has no 'arch' "
                "optimizer. Add one, or delete keep."
            )
        weights, ranges = self.weights, self.ranges
        if weights and ranges and (weights.every, weights.share) != (ranges.every, ranges.share):
            raise ConfigError(
                "weights and ranges are updated together and need the same every and share, got "
                f"every = {weights.every} and {ranges.every}, share = {weights.share} and {ranges.share}."
            )
        if all(optimizer.every > 1 for optimizer in self.optimizers.values()):
            raise ConfigError(
                "a phase updates something at each of its steps: give weights, ranges or arch an optimizer "
                f"with every = 1. It has {({n: o.every for n, o in self.optimizers.items()}) or 'none'}."
            )

    @property
    def taught(self) -> bool:
        """Whether a term looks at a teacher."""
        return self.distill > 0 or self.features > 0

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """The trained collections with their optimizers."""
        named = {name: getattr(self, name) for name in COLLECTIONS}
        return {name: optimizer for name, optimizer in named.items() if optimizer is not None}
