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
    "width_mix": "mask",
    "weight_range": "learned",
    "activation_range": "learned",
    "weight_gradient": "clipped",
    "activation_gradient": "clipped",
}


def resolve(work: Work, rules: Sequence[Rule]) -> dict[str, dict[str, Any]]:
    """Layer path -> every key of a rule, the last matching rule winning per key.

    Raises:
      SearchSpaceError: a rule matches no layer, or offers precision where none can be attached.
    """
    resolved: dict[str, dict[str, Any]] = {layer.path: dict(DEFAULTS) for layer in work.layers}
    for rule in rules:
        matched = matches(work, rule)
        for path in matched:
            resolved[path] |= changes(rule)
    for layer in work.layers:
        wanted = resolved[layer.path]
        if not layer.hookable and (wanted["weights"] or wanted["activations"]):
            raise SearchSpaceError(
                f"no precision can be attached to '{layer.path}': "
                f"{layer.obstacle}. "
                f'Exclude it by a last rule {{ match = "{layer.path}", weights = [], activations = [] }}.'
            )
    return resolved


def changes(rule: Rule) -> dict[str, Any]:
    """The keys that a rule sets."""
    return {k: v for k, v in dataclasses.asdict(rule).items() if k != "match" and v is not None}


def matches(work: Work, rule: Rule) -> list[str]:
    """Paths of the layers that a rule is for.

    Raises:
      SearchSpaceError: none.
    """
    paths = [layer.path for layer in work.layers]
    others = [product.path for product in work.products if product.operands]
    ends = {"@first": paths[:1], "@last": paths[-1:], "@ends": [paths[0], paths[-1]]}
    matched = ends.get(rule.match) or [path for path in paths if fnmatch.fnmatchcase(path, rule.match)]
    if not matched and not fnmatch.filter(others, rule.match):
        raise SearchSpaceError(
            f"rule '{rule.match}' matches none of the {len(paths)} layers of the model; "
            f"nearest: {nearest(rule.match, [*paths, *others])}. Fix the pattern or delete the rule."
        )
    return matched
