"""Commands that make a front again: as a person types them, with the experiment that they need."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from mpnas.errors import BudgetError, FrontFileError
from mpnas.pareto import pick
from mpnas.pareto.objectives import first_cost, select_metric

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/'\"]+/)+")


def commands(front: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(purpose, command) of what a reader may want to do with the run; safe to paste into a shell.

    Args:
      front: A document that `mpnas.pareto.load` or `build` returned.
    """
    name = front["run"]["id"]
    plain = name not in (".", "..") and not set(name) & set("/\\\0") and not name.startswith("-")
    run = shlex.quote(f"runs/{name}") if plain else "RUN"
    found = []
    if front["run"].get("config"):
        found.append(("Run the whole sweep again, from the experiment below", "mpnas sweep experiment.toml"))
        found.append(("See what it would do, without doing it", "mpnas plan experiment.toml"))
    found.append(("Read the front in a terminal", f"mpnas pareto show {run}"))
    found.append(("Check every promise of the file", f"mpnas pareto validate {run}"))
    best = best_of(front)
    if best is not None:
        cost = first_cost(front)["name"]
        bound = shlex.quote(f"{cost}={best['costs'][cost]!r}")
        name, point = best["id"], f"--point {shlex.quote(best['id'])}"
        found += [
            ("Pick the best network that a device can afford", f"mpnas pareto pick {run} --max {bound}"),
            (f"Rebuild {name} and hold it against the file", f"mpnas eval {run} {point}"),
            (f"Write {name} as one file of integers", f"mpnas export {run} {point}"),
            (f"Train {name} again, for longer if you like", f"mpnas retrain {run} {point}"),
        ]
    found.append(("Write this page again", f"mpnas report {run}"))
    return found


def best_of(front: Mapping[str, Any]) -> dict[str, Any] | None:
    """The point with the best metric on the selection part; None of a front without points."""
    try:
        return pick(front, {}, metric=select_metric(front)["name"])
    except (BudgetError, FrontFileError):
        return None


def toml_text(table: Mapping[str, Any]) -> str:
    """A plain table as TOML: numbers, texts and lists first, then a section per table.

    What TOML cannot say (null) is left out; paths of one machine lose their folders.

    Args:
      table: Nested dict, list, str, int, float and bool; an experiment as a plan keeps it.

    >>> print(toml_text({"recipe": {"steps": 3, "arch": {"lr": 0.1}}, "name": "a"}), end="")
    name = "a"
    <BLANKLINE>
    [recipe]
    steps = 3
    arch = {lr = 0.1}
    """
    flat = [f"{_key(k)} = {_value(v)}" for k, v in table.items() if v is not None and not isinstance(v, dict)]
    sections = [
        "\n".join([f"\n[{_key(k)}]", *(f"{_key(a)} = {_value(b)}" for a, b in v.items() if b is not None)])
        for k, v in table.items() if isinstance(v, dict)
    ]
    return "\n".join([*flat, *sections]).lstrip("\n") + "\n"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        items = [_value(item) for item in value if item is not None]
        if sum(map(len, items)) > 80:
            return "[\n" + "".join(f"    {item},\n" for item in items) + "]"
        return "[" + ", ".join(items) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return _text(portable(str(value)))


def _text(text: str) -> str:
    # A JSON string is a basic string of TOML, but for DEL, which plain data does not hold.
    return json.dumps(text, ensure_ascii=False)


def portable(text: str) -> str:
    """`text` without the folders of the machine that it comes from.

    >>> portable("no space left on /home/a/runs/x.json, see a/b"), portable("/data/w.npz")
    ('no space left on x.json, see a/b', 'w.npz')
    """
    windows = PureWindowsPath(text)
    if windows.drive and windows.is_absolute():
        return windows.name
    if PurePosixPath(text).is_absolute() and " " not in text:
        return PurePosixPath(text).name
    return _FOLDERS.sub("", text)
