"""What may stand in a front or a record, and a sentence for the first thing that may not.

Two layers: `check_plain` refuses what JSON cannot say faithfully (NaN, infinities, control
characters, lone surrogates, bottomless nesting); `complaints` holds the rest against `schema.json`.
`fits` passes sound data through both at once and in a hundredth of the time. All see files from
strangers, so no input may raise anything but `FrontFileError`.
"""

import functools
import importlib.resources
import json
import math
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import numpy as np

from mpnas.errors import FrontFileError, nearest
from mpnas.pareto.fits import CONTROL, Check, compiled

SCHEMA_VERSION = "mpnas.pareto/1.0"
MAX_DEPTH = 40
"""Nesting that a front may have; its own parts need 8, `run.config` may bring more."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def plain(value: object) -> Any:
    """A deep copy in dict, list and Python scalars; NumPy scalars and tuples give way."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def printable(text: str) -> str:
    """`text` with each control character and lone surrogate replaced by a space.

    >>> printable("out of \\x1b[31mmemory")
    'out of  [31mmemory'
    """
    return CONTROL.sub(" ", text)


def check_plain(value: object, what: str) -> None:
    """Refuse everything that would not come back the same from a JSON file.

    Args:
      value: Nested dict, list, str, int, float, bool and None.
      what: What `value` is, to begin the sentence with ("the front", "record 'a1'").

    Raises:
      FrontFileError: Non-finite or huge number, control character, key that is no text, another
        type, or more than `MAX_DEPTH` levels.
    """
    # A stack, not recursion: the nesting of a stranger's file is not ours to trust.
    stack: list[tuple[tuple[object, ...], object]] = [((), value)]
    while stack:
        path, item = stack.pop()
        reason = _unplain(item) if len(path) <= MAX_DEPTH else f"nests deeper than {MAX_DEPTH}"
        if reason:
            raise FrontFileError(f"{what} is not plain data: {dotted(path)} {reason}.")
        if isinstance(item, dict):
            stack.extend(((*path, key), part) for key, part in item.items())
        elif isinstance(item, list):
            stack.extend(((*path, index), part) for index, part in enumerate(item))


def _unplain(item: object) -> str | None:
    match item:
        case None | bool():
            return None
        case int():
            return None if abs(item) < 2**63 else "has more than 63 bits"
        case float():
            return None if math.isfinite(item) else f"is {item}, and numbers here are finite"
        case str():
            return "holds a control character" if CONTROL.search(item) else None
        case dict():
            odd = next((k for k in item if not isinstance(k, str) or CONTROL.search(k)), None)
            return None if odd is None else f"has the key {_SHORT.repr(odd)}, keys are clean text"
        case list():
            return None
    return f"is of type {type(item).__name__}"


def complaints(document: object, definition: str | None = None) -> list[str]:
    """Everything in which a document differs from `schema.json`, best-placed reason first.

    Args:
      document: A value that passed `check_plain`.
      definition: Name under `$defs` to hold it against; None for a whole front.

    Returns:
      One clause per difference: path in the document, then what it must be. Empty if valid.

    >>> complaints({"mean": 1.0, "std": None, "n": 0, "values": [1.0]}, "stat")
    ['n must be at least 1, got 0']
    """
    if fits(document, definition):
        return []
    errors = sorted(_validator(definition).iter_errors(document), key=_weight, reverse=True)
    return [_sentence(error) for error in errors]


def fits(document: object, definition: str | None = None) -> bool:
    """Whether a value passes both `check_plain` and `complaints`, told at a hundredth of their cost.

    True is certain. After False the two have the reason; of values of odd types they may find none.
    """
    return _quick(definition)(document)


def _weight(error: Any) -> tuple[bool, Any]:
    # An unknown key explains a missing one (a misspelling is both), so it goes first.
    return error.validator == "additionalProperties", jsonschema.exceptions.relevance(error)


@functools.cache
def _schema() -> Any:
    return json.loads(importlib.resources.files("mpnas.pareto").joinpath("schema.json").read_text("utf-8"))


@functools.cache
def _quick(definition: str | None) -> Check:
    definitions = _schema()["$defs"]
    return compiled(_schema() if definition is None else definitions[definition], definitions)


@functools.cache
def _validator(definition: str | None) -> Any:
    schema = _schema()
    if definition is not None:
        schema = {"$defs": schema["$defs"], "$ref": f"#/$defs/{definition}"}
    # JSON Schema calls 4.0 an integer. Bits and counts go to range() and slices: only int will do.
    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=checker)
    return strict(schema)


def _sentence(error: Any) -> str:
    place, rule, got = dotted(tuple(error.absolute_path)), error.validator_value, error.instance
    match error.validator:
        case "additionalProperties" if rule is False:
            return "; ".join(_unknown_keys(place, got, error.schema["properties"]))
        case "required":
            missing = ", ".join(f"'{key}'" for key in rule if key not in got)
            return f"{place} lacks {missing}"
        case "oneOf":
            return f"{place} must {error.schema['title']}"
        case "enum":
            known = ", ".join(f"'{word}'" for word in rule)
            return f"{place} must be one of {known}, got {_SHORT.repr(got)}"
        case "type":
            kind = " or ".join(rule) if isinstance(rule, list) else rule
            return f"{place} must be of type {kind}, got {_SHORT.repr(got)}"
        case "minimum" | "exclusiveMinimum" | "maximum":
            bound = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}
            return f"{place} must be {bound[error.validator]} {rule:g}, got {_SHORT.repr(got)}"
        case "minItems" | "maxItems" | "minLength" | "maxLength":
            least = "at least" if error.validator.startswith("min") else "at most"
            return f"{place} must have {least} {rule} entries, got {len(got)}"
    return f"{place} breaks the rule {error.validator} {_SHORT.repr(rule)}, got {_SHORT.repr(got)}"


def _unknown_keys(
    place: str, got: Mapping[str, object], known: Mapping[str, object]
) -> Iterator[str]:
    for key in sorted(set(got) - set(known)):
        yield f"{place} has the unknown key {_SHORT.repr(key)}; nearest: {nearest(key, known)}"


def dotted(path: tuple[object, ...]) -> str:
    """A path into a document as text.

    >>> dotted(("points", 3, "costs", "bops"))
    'points[3].costs.bops'
    """
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{str(p)[:80]}" for p in path)
    return text.lstrip(".") or "it"
