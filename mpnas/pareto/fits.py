"""Whether plain data fits a JSON Schema, answered yes or no in one pass of compiled checks.

A front of a thousand points has a million values, and `jsonschema` takes five microseconds or more for
each. It is asked only for the reason, once something does not fit. Only the keywords that
`schema.json` uses are known; another one is refused, so that no rule is passed over in silence.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that no text of a front may hold: control characters and lone surrogates."""

_FREE_DEPTH = 24  # what a part without a schema may nest; deeper ones are left to the slow check
_WORDS = {"title", "description", "$schema", "$id", "$defs"}
_TYPES: dict[str, Check] = {
    "string": lambda value: type(value) is str and (value.isprintable() or not CONTROL.search(value)),
    "integer": lambda value: type(value) is int and abs(value) < 2**63,
    "number": lambda value: math.isfinite(value) if type(value) is float else _TYPES["integer"](value),
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}


def compiled(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Check:
    """A function that says whether a value is plain data and fits a schema.

    Args:
      schema: Of the keywords that `schema.json` uses, with their meaning in draft 2020-12, except that
        an integer is an `int`: 4.0 is none.
      definitions: What `#/$defs/<name>` refers to; no definition refers to itself.

    Returns:
      value -> True only if the value fits and holds no control character, no number that is not finite
      and no integer above 63 bits. False may also be said of subclasses of Python's own types.

    Raises:
      ValueError: The schema has a keyword, or a use of one, that is not known here.

    >>> compiled({"type": "array", "items": {"type": "integer"}, "minItems": 1}, {})([4, 8])
    True
    """
    rules = {word: rule for word, rule in schema.items() if word not in _WORDS}
    checks: list[Check] = []
    if "$ref" in rules:
        name = rules.pop("$ref").removeprefix("#/$defs/")
        checks.append(compiled(definitions[name], definitions))
    if {"if", "then"} <= set(rules):
        checks.append(_conditional(rules.pop("if"), rules.pop("then"), definitions))
    if "oneOf" in rules:
        checks.append(_one_of([compiled(way, definitions) for way in rules.pop("oneOf")]))
    if "const" in rules or "enum" in rules:
        checks.append(_one_word([rules.pop("const")] if "const" in rules else rules.pop("enum")))
    if rules.get("type") == "array":
        checks.append(_array(rules, definitions))
    elif rules.get("type") == "object" or {"required", "properties"} & set(rules):
        checks.append(_object(rules, definitions))
    elif "type" in rules:
        checks.append(_scalar(rules))
    if rules:
        raise ValueError(f"schema keywords {sorted(rules)} are not known together.")
    return _all(checks)


def _all(checks: list[Check]) -> Check:
    if not checks:
        return lambda value: _free(value, _FREE_DEPTH)
    if len(checks) == 1:
        return checks[0]
    first, rest = checks[0], _all(checks[1:])
    return lambda value: first(value) and rest(value)


def _free(value: Any, depth: int) -> bool:
    """Whether a value without a schema is plain."""
    if type(value) is dict:
        text = _TYPES["string"]
        return depth > 0 and all(text(key) and _free(item, depth - 1) for key, item in value.items())
    if type(value) is list:
        return depth > 0 and all(_free(item, depth - 1) for item in value)
    return any(check(value) for check in _TYPES.values())


def _one_word(words: list[Any]) -> Check:
    if not all(word is None or isinstance(word, str) for word in words):
        raise ValueError(f"only text and null can be constants, got {words}.")  # 1 equals True
    known = frozenset(words)
    return lambda value: (value is None or type(value) is str) and value in known


def _one_of(ways: list[Check]) -> Check:
    return lambda value: sum(way(value) for way in ways) == 1


def _conditional(when: Mapping[str, Any], then: Mapping[str, Any], definitions: Mapping[str, Any]) -> Check:
    applies, holds = compiled(when, definitions), compiled(then, definitions)
    return lambda value: not applies(value) or holds(value)


def _scalar(rules: dict[str, Any]) -> Check:
    kinds = rules.pop("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    low, high = rules.pop("minimum", -math.inf), rules.pop("maximum", math.inf)
    if kinds in (["integer"], ["number"]) and high < 2**63 and low > -(2**63):
        exact = (int,) if kinds == ["integer"] else (int, float)
        return lambda value: type(value) in exact and low <= value <= high
    shortest, longest = rules.pop("minLength", 0), rules.pop("maxLength", math.inf)
    pattern = re.compile(rules.pop("pattern", ""))
    plain = [_TYPES[kind] for kind in kinds]
    of_kind = plain[0] if len(plain) == 1 else lambda value: any(kind(value) for kind in plain)

    def check(value: Any) -> bool:
        if not of_kind(value):
            return False
        if type(value) is str:
            return shortest <= len(value) <= longest and pattern.search(value) is not None
        return value is None or type(value) is bool or low <= value <= high

    return check


def _array(rules: dict[str, Any], definitions: Mapping[str, Any]) -> Check:
    del rules["type"]
    fewest, most = rules.pop("minItems", 0), rules.pop("maxItems", math.inf)
    first = [compiled(item, definitions) for item in rules.pop("prefixItems", [])]
    items = rules.pop("items", {})
    rest = compiled(items, definitions)
    if first:
        if not fewest == most == len(first):
            raise ValueError("prefixItems is known only with as many items as it names.")
        return _row(first)
    if bounds := _integer_columns(items, definitions):
        return lambda value: (
            type(value) is list and fewest <= len(value) <= most and _integer_rows(value, bounds)
        )

    def check(value: Any) -> bool:
        return type(value) is list and fewest <= len(value) <= most and all(map(rest, value))

    return check


def _row(checks: list[Check]) -> Check:
    return lambda value: (
        type(value) is list and len(value) == len(checks)
        and all(check(item) for check, item in zip(checks, value, strict=True))
    )


def _integer_columns(
    schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> list[tuple[float, float]]:
    """The (minimum, maximum) of each column, if the schema is that of a row of bounded integers."""
    found = [
        definitions[item["$ref"].removeprefix("#/$defs/")] if "$ref" in item else item
        for item in schema.get("prefixItems", [])
    ]
    if not all({"type", "minimum", "maximum"} == set(item) and item["type"] == "integer" for item in found):
        return []
    return [(item["minimum"], item["maximum"]) for item in found]


def _integer_rows(rows: list[Any], bounds: list[tuple[float, float]]) -> bool:
    # Runs of bits are most of a front. By columns, they take a fifth of the time.
    if set(map(type, rows)) - {list} or set(map(len, rows)) - {len(bounds)}:
        return False
    return all(
        set(map(type, column)) == {int} and low <= min(column) and max(column) <= high
        for column, (low, high) in zip(zip(*rows, strict=True), bounds, strict=False)
    )


def _object(rules: dict[str, Any], definitions: Mapping[str, Any]) -> Check:
    # Without a type it only adds to a schema that has one: other types pass, and other keys are not its own.
    anything = rules.pop("type", None) is None
    required = frozenset(rules.pop("required", ()))
    known = {key: compiled(item, definitions) for key, item in rules.pop("properties", {}).items()}
    extra = rules.pop("additionalProperties", {})
    rest = None if extra is False else (lambda _: True) if anything else compiled(extra, definitions)
    text = _TYPES["string"]

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return anything
        if not required <= value.keys():
            return False
        for key, item in value.items():
            found = known.get(key)
            if found is not None:
                if not found(item):
                    return False
            elif rest is None or not text(key) or not rest(item):
                return False
        return True

    return check
