"""Widths: which channel groups may have another number of channels, and how many.

A width belongs to a group of channels that exist together, so every layer that writes the group is
asked; it is offered where none of those channels must stay.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mpnas.errors import SearchSpaceError
from mpnas.space.resolve import matches
from mpnas.space.rules import Rule
from mpnas.space.work import ChannelGroup, Work


def width_name(group: str) -> str:
    """The site that chooses the width of a channel group.

    >>> width_name("stem/channels"), width_name("stem/channels@2")
    ('stem/width', 'stem/channels@2/width')
    """
    return group.removesuffix("/channels") + "/width"


def asked_widths(
    work: Work, resolved: Mapping[str, Mapping[str, Any]], rules: Sequence[Rule]
) -> tuple[dict[str, tuple[float, ...]], list[str]]:
    """Group -> shares of its channels to choose from; and notes on what is not offered.

    Args:
      work: What the network does.
      resolved: Layer path -> every key of its rules.
      rules: As written; each that asks for widths must open one.

    Raises:
      SearchSpaceError: a rule asks for widths where no channels can vary, or tied layers ask for
        different ones.
    """
    offered: dict[str, tuple[float, ...]] = {}
    refused: dict[str, str] = {}
    for group in work.groups.values():
        asked = {path: resolved[path]["widths"] for path in group.producers}
        wanting = [path for path, shares in asked.items() if shares]
        if not wanting:
            continue
        why = _obstacle(group, asked)
        if why is None:
            offered[group.name] = asked[wanting[0]]
        else:
            refused |= dict.fromkeys(wanting, why)
    opened = {path for name in offered for path in work.groups[name].producers}
    for rule in rules:
        kept = [path for path in matches(work, rule) if resolved[path]["widths"] == rule.widths]
        if rule.widths and kept and opened.isdisjoint(kept):
            raise SearchSpaceError(
                f"rule '{rule.match}' offers widths {list(rule.widths)}, but none of its layers can have "
                f"another number of channels: those of '{kept[0]}' must stay, {refused[kept[0]]}. "
                "Delete the key, or match other layers."
            )
    notes = [f"widths are not offered at {path}, whose channels must stay: {refused[path]}."
             for path in refused if path not in opened]
    return offered, notes


def _obstacle(group: ChannelGroup, asked: Mapping[str, tuple[float, ...]]) -> str | None:
    """Why the number of channels of a group cannot vary, in words; None if it can."""
    if group.frozen:
        return group.frozen
    silent = [path for path, shares in asked.items() if not shares]
    if silent:
        return f"'{silent[0]}' writes the same channels and no rule offers widths there"
    (first, shares), *others = asked.items()
    for path, contrary in others:
        if contrary != shares:
            raise SearchSpaceError(
                f"'{first}' and '{path}' write the same channels ({'; '.join(group.reasons)}), but the rules "
                f"give them the widths {list(shares)} and {list(contrary)}. Give both the same."
            )
    return None


def channel_counts(shares: Sequence[float], channels: int) -> dict[int, float]:
    """Number of channels -> share of the given ones, ascending; shares that round to one count are one.

    >>> channel_counts((0.1, 0.25, 0.5, 1, 1.5), 4)
    {1: 0.25, 2: 0.5, 4: 1, 6: 1.5}
    """
    return {max(1, round(share * channels)): share for share in sorted(shares)}
