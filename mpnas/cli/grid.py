"""Budgets, seeds and controllers of a sweep from the command line, in the place of those in its TOML."""

from collections.abc import Mapping, Sequence
from typing import Any

from mpnas.cli.options import budget_of
from mpnas.control import REFERENCES, SEARCHERS
from mpnas.errors import ConfigError, nearest
from mpnas.sweep.config import controller_of

MOST_SEEDS = 1000  # a count beyond it is a slip: a list of 10^9 seeds fills the memory before any check


def gridded(
    table: Mapping[str, Any], budgets: Sequence[str], seeds: str | None, controllers: str | None
) -> dict[str, Any]:
    """An experiment in its plain form with what the command line asks for.

    Args:
      table: The experiment.
      budgets: Texts such as `weight_bytes=0.15,0.25`: one budget per amount; `weight_bytes=0.25+bops=0.5`
        limits two costs at once. None keeps those of the experiment.
      seeds: A number N for the seeds 0 to N - 1, or a list `0,3,7`.
      controllers: Names with commas between them; `uniform` and `random` switch the baselines on.

    Raises:
      ConfigError: a text has another form, or a controller is unknown.
    """
    changed = dict(table)
    if budgets:
        changed["budgets"] = [budget for text in budgets for budget in _budgets(text)]
    if seeds is not None:
        changed["seeds"] = _seeds(seeds)
    if controllers is not None:
        _choose(changed, controllers)
    return changed


def _budgets(text: str) -> list[dict[str, float | str]]:
    parts = [part.strip() for part in text.split("+")]
    pairs = [tuple(half.strip() for half in part.partition("=")[::2]) for part in parts]
    if not all(name and amounts for name, amounts in pairs):
        raise ConfigError(
            f"--budgets {text!r} is not of the form COST=AMOUNT,AMOUNT, such as weight_bytes=0.15,0.25."
        )
    amounts = {name: [amount.strip() for amount in listed.split(",")] for name, listed in pairs}
    if len(amounts) < len(pairs) or not all(map(all, amounts.values())):
        raise ConfigError(f"--budgets {text!r} names a cost twice, or an amount is empty.")
    lengths = {len(listed) for listed in amounts.values()}
    if len(lengths) > 1:
        raise ConfigError(
            f"--budgets {text!r} limits {len(amounts)} costs at once, with {sorted(lengths)} amounts. Give "
            "each cost as many: weight_bytes=0.2,0.4+bops=0.3,0.6 makes two budgets."
        )
    return [budget_of(dict(zip(amounts, row, strict=True))) for row in zip(*amounts.values(), strict=True)]


def _seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or (len(numbers) == 1 and "," not in text and numbers[0] < 1):
        raise ConfigError(f"--seeds {text!r} is neither how many seeds nor a list of them. Write 3 or 0,3,7.")
    if "," in text:
        return numbers
    if numbers[0] > MOST_SEEDS:
        raise ConfigError(
            f"--seeds {text} asks for more than {MOST_SEEDS:,} seeds. It says how many; the seed {text} "
            f"alone goes into the TOML, as seeds = [{text}]."
        )
    return list(range(numbers[0]))


def _choose(table: dict[str, Any], text: str) -> None:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"--controllers {text!r} names one twice. Several settings of one controller go into the TOML."
        )
    known = [*SEARCHERS, *REFERENCES]
    for name in names:
        if name not in known:
            raise ConfigError(f"--controllers: unknown controller '{name}'; nearest: {nearest(name, known)}.")
    # What the experiment says of a controller is kept, each of its settings.
    given = list(table.get("controllers", ()))
    places: list[int | str] = []
    for name in names:
        if name not in REFERENCES:
            places += [n for n, spec in enumerate(given) if controller_of(spec)[0] == name] or [name]
    if not places:
        raise ConfigError(f"--controllers {text!r} names only baselines. Add one that searches: gumbel.")
    table["controllers"] = [given[place] if isinstance(place, int) else place for place in places]
    _follow(table, places, text)
    references = dict(table.get("references", {}))
    references["random"] = "random" in names
    if "uniform" not in names:
        references["uniform"] = []
    table["references"] = references


def _follow(table: dict[str, Any], places: list[int | str], text: str) -> None:
    """Let an explorer that names its controller by place name the same one; from the places before."""
    explore = table.get("explore")
    before = explore.get("controller", 0) if isinstance(explore, dict) else None
    if not isinstance(explore, dict) or not isinstance(before, int):
        return
    if before not in places:
        if before == 0:
            return  # the default: the first, whichever that is
        raise ConfigError(
            f"--controllers {text!r} leaves away the controller that [explore] asks for, number {before} "
            "of the experiment. Name it too, or choose another one: --set explore.controller=gumbel."
        )
    table["explore"] = {**explore, "controller": places.index(before)}
