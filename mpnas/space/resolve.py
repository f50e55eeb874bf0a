"""What the rules say of each layer: later rules win, key by key."""

import dataclasses
import fnmatch
from collections.abc import Sequence
from typing import Any

from mpnas.errors import SearchSpaceError, nearest
from mpnas.space.rules import Rule
from mpnas.space.work import Work

DEFAULTS = {
    "weights": (),
    "activations": (),
    "granularity": "layer",
    "scale": "channel",
    "widths": (),
    "weight_range": "learned",
    "activation_range": "learned",
}


def resolve(work: Work, rules: Sequence[Rule]) -> dict[str, dict[str, Any]]:
    """Layer path -> every key of a rule, the last matching rule winning per key.

    Raises:
      SearchSpaceError: a rule matches no layer, or offers precision where none can be attached.
    """
    resolved: dict[str, dict[str, Any]] = {layer.path: dict(DEFAULTS) for layer in work.layers}
    for rule in rules:
        matched = matches(work, rule)
        changes = {k: v for k, v in dataclasses.asdict(rule).items() if k != "match" and v is not None}
        for path in matched:
            resolved[path] |= changes
    for layer in work.layers:
        wanted = resolved[layer.path]
        if not layer.hookable and (wanted["weights"] or wanted["activations"]):
            raise SearchSpaceError(
                f"no precision can be attached to '{layer.path}': "
                f"{layer.obstacle or f'its module, a {layer.module}, has no hook for its product'}. "
                f'Exclude it by a last rule {{ match = "{layer.path}", weights = [], activations = [] }}.'
            )
    return resolved


def matches(work: Work, rule: Rule) -> list[str]:
    """Paths of the layers that a rule is for.

    Raises:
      SearchSpaceError: none.
    """
    paths = [layer.path for layer in work.layers]
    ends = {"@first": paths[:1], "@last": paths[-1:], "@ends": [paths[0], paths[-1]]}
    matched = ends.get(rule.match) or [path for path in paths if fnmatch.fnmatchcase(path, rule.match)]
    if not matched:
        raise SearchSpaceError(
            f"rule '{rule.match}' matches none of the {len(paths)} layers of the model; "
            f"nearest: {nearest(rule.match, paths)}. Fix the pattern or delete the rule."
        )
    return matched
