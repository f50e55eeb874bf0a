"""Tables: TOML read into frozen objects, and every slip in them as a sentence with the nearest right key."""

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic

from mpnas.errors import ConfigError, MpnasError, nearest

UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file.

    Raises:
      ConfigError: unreadable, or not TOML; says where.
    """
    try:
        return parsed(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error


def parsed(text: str, label: str) -> dict[str, Any]:
    """The table of a TOML text; `label` names it in the ConfigError of a text that is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{label} is not TOML: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{label} nests its values too deeply. Write them flat.") from error


def override(table: dict[str, Any], text: str) -> None:
    """Apply `key.path=value` to a table."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r} is not of the form key=value, such as recipe.search.steps=200.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        parsed = value
    *parents, last = key.strip().split(".")
    for part in parents:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {text!r}: '{part}' is not a table.")
    table[last] = parsed


def validated(kind: type, table: Any, label: str) -> Any:
    """An object of `kind` from plain data; every slip is a sentence with the key and the way out."""
    try:
        return pydantic.TypeAdapter(kind).validate_python(table)
    except MpnasError as error:
        raise type(error)(f"{label}: {error}") from error
    except pydantic.ValidationError as error:
        # A misspelt key is also a missing one: the word that was written helps more.
        first = min(error.errors(), key=lambda slip: slip["type"] not in UNKNOWN_KEY)
        keys, siblings = _keys_at(kind, first["loc"])
        where = ".".join(keys)
        if first["type"] in UNKNOWN_KEY:
            raise ConfigError(
                f"{label}: unknown key '{where}'; nearest: {nearest(keys[-1], siblings)}."
            ) from None
        if first["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
            raise ConfigError(f"{label}: key '{where}' is missing. Add it.") from None
        what = f"'{where}' = " if where else ""
        raise ConfigError(f"{label}: {what}{first['input']!r} is wrong: {first['msg']}.") from None


def _keys_at(kind: Any, location: Sequence[Any]) -> tuple[list[str], list[str]]:
    """The keys of an error's location inside a dataclass, and the fields beside the last one.

    Locations also name the branches of unions (`str`, `dict[str,any]`): a branch is whatever follows a
    field that is no dataclass and is neither a key of it nor a number. A key may be called `float` too.
    """
    keys: list[str] = []
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    inside: Any = kind
    for part in location:
        if dataclasses.is_dataclass(inside):
            fields = {field.name: field.type for field in dataclasses.fields(inside)}
            keys.append(str(part))
            inside = _dataclass_in(fields.get(str(part)))
        elif isinstance(part, int) or not _is_branch(part):
            keys.append(str(part))
    return keys, list(fields)


def _dataclass_in(annotation: Any) -> Any:
    """The dataclass among the options of an annotation, if there is one."""
    options = getattr(annotation, "__args__", (annotation,))
    return next((option for option in options if dataclasses.is_dataclass(option)), None)


def _is_branch(part: str) -> bool:
    return "[" in part or part in {"str", "int", "float"}
