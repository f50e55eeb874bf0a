"""An assignment: one candidate per decision, a point of the space. All that a search hands on.

It is plain data: for each site the bit-width of each decision (for a width, the number of channels).
It can be written to JSON and read back without the network; whether it fits a space is checked by
`Space.check`.
"""

import dataclasses
import itertools
import operator
from collections.abc import Mapping
from typing import Any

from mpnas.errors import SearchSpaceError

# Granularities with a single decision, and what its value is called.
ONE_NUMBER = {"layer": "bits", "group": "channels"}


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Bits per decision of every site.

    Attributes:
      bits: Site -> one bit-width per decision, in the order of the channels; of a width site, the number
        of channels.
      granularity: Site -> `layer`, `channel`, `subgroup`, or `group` (the width of a tie group).
      group_size: Site -> channels per decision, for subgroups only.
    """

    bits: Mapping[str, tuple[int, ...]]
    granularity: Mapping[str, str]
    group_size: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Site -> `{"granularity", "bits"}`, or run lengths `{"granularity", "rle": [[bits, n], ...]}`.

        Of a width site `{"granularity": "group", "channels"}`.
        """
        document: dict[str, dict[str, Any]] = {}
        for site, bits in self.bits.items():
            entry: dict[str, Any] = {"granularity": self.granularity[site]}
            if site in self.group_size:
                entry["group_size"] = self.group_size[site]
            if self.granularity[site] in ONE_NUMBER:
                entry[ONE_NUMBER[self.granularity[site]]] = bits[0]
            else:
                entry["rle"] = [[value, len(list(run))] for value, run in itertools.groupby(bits)]
            document[site] = entry
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Mapping[str, Any]]) -> "Assignment":
        """The inverse of `to_json`.

        Raises:
          SearchSpaceError: an entry is not of the form that `to_json` writes; names the site.
        """
        bits: dict[str, tuple[int, ...]] = {}
        for site, entry in document.items():
            if "granularity" not in entry:
                raise SearchSpaceError(
                    f"the assignment of '{site}' has no 'granularity', only {sorted(entry)}. "
                    "Write 'layer', 'channel', 'subgroup' or 'group'."
                )
            bits[site] = _bits_of(site, entry)
        return cls(
            bits=bits,
            granularity={site: str(entry["granularity"]) for site, entry in document.items()},
            group_size={s: int(e["group_size"]) for s, e in document.items() if "group_size" in e},
        )


def _bits_of(site: str, entry: Mapping[str, Any]) -> tuple[int, ...]:
    """Bits per decision from `bits` or from the run lengths `rle`."""
    try:
        for key in ONE_NUMBER.values():
            if key in entry:
                return (operator.index(entry[key]),)
        runs = [(operator.index(value), operator.index(length)) for value, length in entry["rle"]]
    except (KeyError, TypeError, ValueError) as error:
        raise SearchSpaceError(
            f"the assignment of '{site}' has no readable 'bits' or 'rle': {dict(entry)}. "
            "Write one bit-width per layer, or run lengths [[bits, count], ...]."
        ) from error
    if any(length < 1 for _, length in runs):
        raise SearchSpaceError(
            f"the assignment of '{site}' has a run of less than one decision: {entry['rle']}. "
            "Write run lengths [[bits, count], ...] with every count >= 1."
        )
    return tuple(itertools.chain(*([value] * length for value, length in runs)))
