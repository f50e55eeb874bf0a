"""Recipes: the named ways to train an assignment again, each as what it changes in the phase of a run.

Length, batch, optimizers and augmentation stay those of the run, so that recipes can be held against each
other; a recipe says where the weights start and which terms the loss has. All of them measure the
batch-norm statistics anew at the end.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from mpnas.errors import ConfigError, nearest

Start = Literal["float", "fresh"]
BN_BATCHES = 32
UNTAUGHT: Mapping[str, Any] = MappingProxyType({"distill": 0.0, "features": 0.0})
PLAIN: Mapping[str, Any] = MappingProxyType({**UNTAUGHT, "bins": 0.0})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to train an assignment again.

    Attributes:
      start: From the weights of the `float` network, or from `fresh` ones that the seed draws.
      distill, temperature, features, bins, bn_batches: Of the phase, as `Phase` describes them.
      source: Where the method comes from.
    """

    start: Start = "float"
    distill: float = 0.0
    temperature: float = 1.0
    features: float = 0.0
    bins: float = 0.0
    bn_batches: int = BN_BATCHES
    source: str = ""

    @property
    def changes(self) -> dict[str, Any]:
        """Keys of a phase, with the values that this recipe gives them."""
        keys = ("distill", "temperature", "features", "bins", "bn_batches")
        return {key: getattr(self, key) for key in keys}


RECIPES: Mapping[str, Recipe] = MappingProxyType({
    "fine-tune": Recipe(),
    "scratch": Recipe(start="fresh"),
    # The soft labels of SDQ without its bins, so that the two differ in one term.
    "distil": Recipe(distill=1.0, source="Hinton et al., 2015, https://arxiv.org/abs/1503.02531"),
    # The number is the paper's best, 0.1, the strength is not: the paper sums over layers, of weights between
    # -1 and 1. The mean over layers, in quantisation steps, that is taken here is as strong at
    # 0.1 * layers * (2 / (2^bits - 1))^2: for ten layers 0.02 at 4 bits, and 0.4 at 2.
    "sdq": Recipe(distill=1.0, bins=0.1, source="Huang et al., 2022, https://arxiv.org/abs/2206.04459"),
    "one-to-one": Recipe(features=400.0, source="Zhang et al., 2023, https://arxiv.org/abs/2301.00131"),
})


def recipe_named(name: str) -> Recipe:
    """The recipe with this name.

    Raises:
      ConfigError: there is none; names the nearest.
    """
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe '{name}'; nearest: {nearest(name, RECIPES)}.")
    return RECIPES[name]
