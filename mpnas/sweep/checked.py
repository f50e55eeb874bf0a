"""What a front says of a point's exports, checked: they are there, unchanged, and compute what they did."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpnas.errors import MpnasError
from mpnas.export.parity import Parity
from mpnas.pareto.artifacts import inside, wrong_files
from mpnas.sweep.exported import compared
from mpnas.sweep.formats import FORMATS
from mpnas.sweep.networks import network_in
from mpnas.sweep.point import SAME_RATE, Rebuilt

RATES = ("mismatch_rate", "metric_diff")


@dataclasses.dataclass(frozen=True)
class Checked:
    """One export of a point.

    Attributes:
      entry: What the front says of it.
      parity: Measured again, on as many inputs; None where nothing can be run, or is not what was written.
      wrong: What does not agree with the front, one sentence each; empty if all does.
    """

    entry: Mapping[str, Any]
    parity: Parity | None
    wrong: tuple[str, ...]


def checked_exports(folder: Path, found: Rebuilt) -> list[Checked]:
    """Every export that the front names for a point, held against what it says."""
    return [_checked(folder, found, entry) for entry in found.point["artifacts"].get("exports", [])]


def _checked(folder: Path, found: Rebuilt, entry: Mapping[str, Any]) -> Checked:
    wrong = tuple(wrong_files({"exports": [entry]}, folder))
    said = entry.get("parity", {})
    runs = entry["format"] in FORMATS and FORMATS[entry["format"]].runs
    if wrong or not runs or not said.get("n"):
        return Checked(entry, None, wrong)
    try:
        network = network_in(inside(folder, entry["path"]), found.bench)
        parity = compared(found, network.run, said["n"])
    except MpnasError as error:
        return Checked(entry, None, (f"'{entry['path']}' cannot be run: {error}",))
    again = parity.to_json()
    return Checked(entry, parity, tuple(
        f"'{entry['path']}' has {name} {again[name]:g}, the front says {said[name]:g}."
        for name in RATES if name in said and abs(again[name] - said[name]) > SAME_RATE + 1 / said["n"]
    ))
