"""Experiments: a TOML file read into frozen objects, with errors that name the nearest right word.

An experiment names a model, data, a search space, controllers, budgets, seeds and a recipe. A name on
the command line is a path if it exists, else a bundled experiment.
"""

import dataclasses
import importlib.resources
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

from mpnas.control import PROPOSERS, REFERENCES, RELAXATIONS, SCORERS, SEARCHERS, Proposer, Relaxation, Scorer
from mpnas.cost import COSTS, KNOWN_COSTS, Cost
from mpnas.errors import ConfigError, nearest
from mpnas.quant.format import INTEGER_BITS
from mpnas.space import Rule
from mpnas.sweep.early import EarlyStopping
from mpnas.sweep.explore import Explore
from mpnas.sweep.table import override, parsed, read_toml, validated
from mpnas.train import Phase, Population

BUNDLED_EXPERIMENTS = "experiments"
BUNDLED_SPACES = "search_spaces"
FORBID = {"extra": "forbid"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The phases of every trial.

    Attributes:
      float: Trains the float network, once per seed; left out where the experiment names `weights`.
      search: Trains weights and logits together; left out where no controller trains any logits.
      retrain: Trains the discretised network.
      start: Where retraining starts: the `float` weights, or those at the end of the `search`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    retrain: Phase
    search: Phase | None = None
    float: Phase | None = None
    start: str = "float"

    def __post_init__(self) -> None:
        if self.start not in {"float", "search"}:
            raise ConfigError(f"recipe.start must be 'float' or 'search', got '{self.start}'.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class References:
    """Networks that are retrained beside the search, for comparison.

    Attributes:
      uniform: Bit-widths of uniform networks, one trial per seed.
      random: Random assignments at each budget, one trial per budget and seed.

    Raises:
      ConfigError: a bit-width that no integer format has.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    uniform: tuple[int, ...] = (2, 4, 8)
    random: bool = True

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.uniform) - set(INTEGER_BITS)):
            raise ConfigError(
                f"references.uniform = {list(self.uniform)} asks for {unknown[0]} bits; "
                f"allowed are {', '.join(map(str, INTEGER_BITS))}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that a sweep needs to know.

    Attributes:
      name: Names the run folder.
      model: `name`, `module:callable`, or a table with `name` and options of the builder.
      data: `name` or `module:callable`.
      space: Name of a bundled search space, path of a TOML, or a table with `rules`.
      controllers: Names, or tables with `name` and options.
      recipe: The phases.
      budgets: Limits that are searched, each a table from cost to limit. May be left out where `explore`
        proposes them.
      explore: Ranges of further budgets, proposed one after another from what the earlier ones gave.
      early_stopping: Stops searches that fall behind the others of their budget. Off unless it is there:
        which searches are stopped depends on timing.
      costs: Costs beside the four of every network: names, `module:callable`, or tables with `name` and
        options. They can be limited, and are in the front.
      seeds: One search per controller, budget and seed.
      float_seeds: Seeds of float networks beyond `seeds`, for the spread of the reference.
      weights: File with trained float weights: a path, or relative to the data folder.
      references: What is compared.
      checkpoint_every: Steps between checkpoints.
      population: How trials that differ in budget, seed or baseline run: `together` in one program,
        `apart`, or `auto`, together where there is an accelerator.
      population_size: Trials in one program, at most; >= 1. More of them need as many times the memory.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = FORBID

    name: str
    model: str | dict[str, Any]
    data: str
    space: str | dict[str, Any]
    controllers: tuple[str | dict[str, Any], ...]
    recipe: Recipe
    budgets: tuple[dict[str, float | str], ...] = ()
    explore: Explore | None = None
    early_stopping: EarlyStopping | None = None
    costs: tuple[str | dict[str, Any], ...] = ()
    seeds: tuple[int, ...] = (0,)
    float_seeds: tuple[int, ...] = ()
    weights: str | None = None
    references: References = References()
    checkpoint_every: int = 400
    population: Population = "auto"
    population_size: int = 16

    def __post_init__(self) -> None:
        if not (self.controllers and (self.budgets or self.explore) and self.seeds):
            raise ConfigError(
                f"experiment '{self.name}' needs at least one controller, one budget and one seed. Budgets "
                "are listed under budgets, or proposed with [explore]."
            )
        drawn = (*self.seeds, *self.float_seeds)
        if len(set(self.seeds)) < len(self.seeds) or not 0 <= min(drawn) <= max(drawn) < 2**32:
            raise ConfigError(
                f"seeds must be different and >= 0, got seeds = {list(self.seeds)}, "
                f"float_seeds = {list(self.float_seeds)}; all below 2^32."
            )
        if self.recipe.float is None and self.weights is None:
            raise ConfigError(
                f"experiment '{self.name}' has neither recipe.float nor weights, so there is no float "
                "network to start from. Add [recipe.float], or weights = \"file.npz\"."
            )
        if self.checkpoint_every < 1:
            raise ConfigError(f"checkpoint_every must be >= 1, got {self.checkpoint_every}.")
        if self.population not in get_args(Population):
            words = nearest(self.population, get_args(Population))
            raise ConfigError(f"there is no population '{self.population}'; nearest: {words}.")
        if self.population_size < 1:
            raise ConfigError(f"population_size must be >= 1, got {self.population_size}.")
        own = [spec for spec in self.costs if ":" in named(spec)[0]]
        given = [known_cost(spec) for spec in self.costs if spec not in own]
        known = [cost.name for cost in (*COSTS, *given)]
        if not own:  # a cost of one's own tells its name when it is made
            self.refuse_budgets(known)
        for budget in self.budgets:
            for cost, limit in budget.items():
                if not isinstance(limit, str) and not 0 < limit < math.inf:
                    raise ConfigError(f"budget {cost} = {limit} must be > 0 and finite.")
        for spec in self.controllers:
            self._check_controller(controller_of(spec)[0])
        if self.explore is not None:
            self.explorer(self.explore)

    def explorer(self, explore: Explore) -> int:
        """Place, among the controllers, of the one that searches under proposed budgets.

        Raises:
          ConfigError: there is none, or there are several of that name.
        """
        names = [controller_of(spec)[0] for spec in self.controllers]
        asked = explore.controller
        places = [k for k, name in enumerate(names) if asked in (k, name)]
        if len(places) != 1:
            several = f"names {len(places)} controllers; give its place, from 0" if places else (
                f"is none of the controllers: {', '.join(names)}"
            )
            raise ConfigError(f"explore.controller = {asked!r} {several}.")
        return places[0]

    def _check_controller(self, name: str) -> None:
        if name in REFERENCES:
            raise ConfigError(
                f"controller '{name}' does not search; controllers that do: {', '.join(SEARCHERS)}. "
                "Baselines are switched on under [references]."
            )
        if name in RELAXATIONS and (self.recipe.search is None or self.recipe.search.arch is None):
            raise ConfigError(
                f"recipe.search has no 'arch' optimizer, so controller '{name}' would search nothing. "
                "Add [recipe.search] with arch = { lr = 0.02 }."
            )

    def refuse_budgets(self, known: Sequence[str]) -> None:
        """Raise a ConfigError for a budget on a cost that is not among the known ones."""
        listed = [cost for budget in self.budgets for cost in budget]
        for cost in [*listed, *(self.explore.budgets if self.explore else ())]:
            if cost not in known:
                more = [name for name in KNOWN_COSTS if name not in known]
                way_out = f' Add costs = ["{cost}"].' if cost in more else ""
                raise ConfigError(
                    f"budget on unknown cost '{cost}'; nearest: {nearest(cost, known)}.{way_out}"
                )


def experiment_of(source: str, overrides: Sequence[str] = ()) -> tuple[Experiment, dict[str, Any]]:
    """The experiment of a path or bundled name, and its plain form with overrides applied.

    Args:
      source: Path of a TOML, or the name of a folder under `experiments/`.
      overrides: `key.path=value` texts; values as in TOML, or plain words.

    Raises:
      ConfigError: not found, not TOML, an unknown key, or a value of the wrong kind or range.
    """
    path = Path(source)
    if path.is_file():
        table = read_toml(path)
        label = str(path)
    else:
        bundled = importlib.resources.files(BUNDLED_EXPERIMENTS) / source / "config.toml"
        if "/" in source or source.startswith(".") or not bundled.is_file():
            raise ConfigError(
                f"'{source}' is neither a file nor a bundled experiment; "
                f"nearest: {nearest(source, bundled_experiments())}."
            )
        table = parsed(bundled.read_text(encoding="utf-8"), f"experiment '{source}'")
        label = f"experiment '{source}'"
    for text in overrides:
        override(table, text)
    if "space" in table:
        table["space"] = resolved_space(table["space"], path.parent)
    return read_experiment(table, label), table


def bundled_experiments() -> list[str]:
    """Names of the experiments that are installed with the package."""
    root = importlib.resources.files(BUNDLED_EXPERIMENTS)
    return sorted(entry.name for entry in root.iterdir() if (entry / "config.toml").is_file())


def read_experiment(table: Mapping[str, Any], label: str) -> Experiment:
    """An experiment from its plain form; `label` names the file in errors."""
    return validated(Experiment, table, label)


def resolved_space(space: Any, folder: Path) -> Any:
    """The rules themselves: a plan must not change when a file elsewhere does."""
    if not isinstance(space, str):
        return space
    for path in (Path(space), folder / space):
        if path.is_file():
            return read_toml(path)
    bundled = importlib.resources.files(BUNDLED_SPACES) / f"{space}.toml"
    if bundled.is_file():
        return parsed(bundled.read_text(encoding="utf-8"), f"search space '{space}'")
    names = [entry.name[:-5] for entry in importlib.resources.files(BUNDLED_SPACES).iterdir()
             if entry.name.endswith(".toml")]
    raise ConfigError(
        f"space '{space}' is neither a file nor a bundled search space; nearest: {nearest(space, names)}."
    )


def rules_of(experiment: Experiment) -> tuple[Rule, ...]:
    """The rules of an experiment whose space has been resolved.

    Raises:
      ConfigError: something else than rules, or an unknown key or wrong value in one of them.
    """
    space = experiment.space
    known = isinstance(space, dict) and {"rules"} <= set(space) <= {"rules", "ends"}
    if not isinstance(space, dict) or not known or not isinstance(space["rules"], list):
        found = f"keys {', '.join(map(repr, space))}" if isinstance(space, dict) else repr(space)
        raise ConfigError(
            "a search space is a list of [[rules]], and `ends` for the bits of the first and last layer, got "
            f"{found}. See search_spaces/."
        )
    rules = [validated(Rule, rule, f"rule {k + 1} of the space") for k, rule in enumerate(space["rules"])]
    if "ends" in space:
        ends = {"match": "@ends", "weights": [space["ends"]], "activations": [space["ends"]], "widths": []}
        rules.append(validated(Rule, ends, "ends of the space"))
    return tuple(rules)


def controller_of(spec: str | Mapping[str, Any]) -> tuple[str, Relaxation | Proposer | Scorer]:
    """Name and object of a controller.

    Raises:
      ConfigError: an unknown name or option.
    """
    name, options = named(spec)
    known = RELAXATIONS | PROPOSERS | SCORERS
    if name not in known:
        raise ConfigError(f"unknown controller '{name}'; nearest: {nearest(name, known)}.")
    return name, validated(known[name], options, f"controller '{name}'")


def known_cost(spec: str | Mapping[str, Any]) -> Cost:
    """A cost that comes with the package, beside the four of every network.

    Raises:
      ConfigError: an unknown name or option.
    """
    name, options = named(spec)
    if name not in KNOWN_COSTS:
        standard = [cost.name for cost in COSTS]
        if name in standard:
            raise ConfigError(f"cost '{name}' is always counted. Delete it from costs.")
        raise ConfigError(
            f"unknown cost '{name}'; nearest: {nearest(name, KNOWN_COSTS)}. A cost of your own is written "
            'costs = ["my_costs:sram_bytes"].'
        )
    return validated(KNOWN_COSTS[name], options, f"cost '{name}'")


def named(spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name, and the options beside it, of what is written as a name or as a table with `name`."""
    options = {} if isinstance(spec, str) else dict(spec)
    return spec if isinstance(spec, str) else str(options.pop("name", "")), options
