"""Converters: which bits each layer has, for people and for other people's quantizers.

Both read a front's own data (sites and an assignment), never the network. The CSV tells everything that
was chosen. Rules of qwix tell less than that, since qwix has one type per array; what they cannot say is
said in notes beside them.

Source: https://github.com/google/qwix, `QuantizationRule`: the first rule whose `module_path` matches the
whole path of a module counts.
"""

import csv
import dataclasses
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpnas.errors import SearchSpaceError, nearest
from mpnas.pareto.bits import runs_of
from mpnas.pareto.spreadsheet import bits_text, safe_cell

Sites = Mapping[str, Mapping[str, Any]]
Decisions = Mapping[str, Mapping[str, Any]]
QWIX_WIDEST = 8
FORMAT = "qwix rules of mpnas, version 1"


def write_csv(sites: Sites, assignment: Decisions, path: Path) -> None:
    """Write one row per site with the bits that it was given.

    Args:
      sites: Site -> kind, granularity, decisions, parameters, macs, as in `run.sites` of a front.
      assignment: Site -> decision, as of a point.
      path: Of the file; its folder exists.

    Raises:
      SearchSpaceError: the assignment names a site that is not there.
    """
    path.write_text(csv_of_bits(sites, assignment), encoding="utf-8")


def csv_of_bits(sites: Sites, assignment: Decisions) -> str:
    """Bits per site as CSV text with a heading, in the order of the network.

    Columns: what the site is, `bits` as runs in the order of the channels, the mean over decisions, and
    `at <b> bits`: how many decisions have b bits. Of a width only the number of channels.

    Raises:
      SearchSpaceError: as `write_csv`.
    """
    _check(sites, assignment)
    order = sorted(assignment, key=lambda site: (sites[site].get("index", 0), list(sites).index(site)))
    counts = {site: _counts(assignment[site], int(sites[site]["decisions"])) for site in order}
    widths = sorted({bits for count in counts.values() for bits in count})
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(["site", "kind", "granularity", "decisions", "parameters", "macs", "bits", "mean_bits",
                     *(f"at {bits} bits" for bits in widths)])
    for site in order:
        known, decision, count = sites[site], assignment[site], counts[site]
        total = sum(count.values())
        mean = sum(bits * n for bits, n in count.items()) / total if total else None
        cells = [site, known["kind"], decision["granularity"], known["decisions"], known["parameters"],
                 known["macs"], bits_text(decision), mean]
        cells += [count[bits] if total else None for bits in widths]
        writer.writerow([safe_cell(cell) for cell in cells])
    return out.getvalue()


@dataclasses.dataclass(frozen=True)
class QwixRules:
    """An assignment in the words of qwix.

    Attributes:
      rules: Keyword arguments of one `qwix.QuantizationRule` each, in order of precedence.
      notes: What they cannot say, in sentences.
    """

    rules: tuple[Mapping[str, str | None], ...]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """The rules as a JSON document."""
        document = {"format": FORMAT, "rules": list(self.rules), "notes": list(self.notes)}
        return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=True) + "\n"

    def to_python(self) -> str:
        """The rules as a Python module with `RULES`, to be given to a provider of qwix."""
        notes = "".join(f"# {ascii(note)[1:-1]}\n" for note in self.notes)
        rules = "".join(
            f"    qwix.QuantizationRule({', '.join(f'{k}={ascii(v)}' for k, v in rule.items())}),\n"
            for rule in self.rules
        )
        heading = '"""Quantization rules, the first that matches counts."""'
        return f"{heading}\n\n{notes}import qwix\n\nRULES = [\n{rules}]\n"


def write_qwix(sites: Sites, assignment: Decisions, path: Path) -> QwixRules:
    """Write the rules of qwix that come nearest to an assignment, and return them with their notes.

    Args:
      sites, assignment: As for `write_csv`; of a site also its `layers`.
      path: Of the file: Python if it ends in `.py`, else JSON.

    Raises:
      SearchSpaceError: as `write_csv`.
    """
    made = qwix_rules(sites, assignment)
    path.write_text(made.to_python() if path.suffix == ".py" else made.to_json(), encoding="utf-8")
    return made


def qwix_rules(sites: Sites, assignment: Decisions) -> QwixRules:
    """The rules of qwix that come nearest to an assignment: never fewer bits than it has.

    Raises:
      SearchSpaceError: as `write_csv`.
    """
    _check(sites, assignment)
    types: dict[str, dict[str, str | None]] = {}
    notes: list[str] = []
    for site, decision in assignment.items():
        kind, count = sites[site]["kind"], _counts(decision, int(sites[site]["decisions"]))
        if kind in ("weight", "activation"):
            found = _qtype(site, count, notes)
            for layer in sites[site].get("layers", [site.rpartition("/")[0]]):
                types.setdefault(layer, {})[kind] = found
        elif kind == "width" or count[0]:
            notes.append(f"'{site}' leaves channels out, which rules cannot: make the network smaller first.")
    rules = []
    for layer, both in types.items():
        if "weight" not in both:
            notes.append(f"'{layer}' has activations but no weights of its own, so it has no rule.")
        elif any(both.values()):
            rules.append({
                "module_path": re.escape(layer), "weight_qtype": both["weight"],
                "act_qtype": both.get("activation"),
            })
    return QwixRules(tuple(rules), tuple(notes))


def _qtype(site: str, count: Mapping[int, int], notes: list[str]) -> str | None:
    """The one type that holds all the bits of a site; None for float."""
    kept = sorted(bits for bits in count if bits)
    if 0 in count:
        notes.append(f"'{site}' leaves channels out, which rules cannot: make the network smaller first.")
    if not kept:
        return None
    if kept[0] != kept[-1]:
        widths = _listed(kept)
        notes.append(f"'{site}' has channels of {widths} bits; qwix has one type per array: {kept[-1]} bits.")
    if kept[-1] > QWIX_WIDEST:
        if kept[-1] < 32:
            notes.append(f"'{site}' has {kept[-1]} bits, which qwix has no integer for: it stays in float.")
        return None
    if kept[-1] == 1:
        notes.append(f"'{site}' has 1 bit, which qwix turns into zeros: it gets 2.")
    return f"int{max(2, kept[-1])}"


def _listed(bits: list[int]) -> str:
    return ", ".join(map(str, bits[:-1])) + f" and {bits[-1]}"


def _counts(decision: Mapping[str, Any], decisions: int) -> Counter[int]:
    """Bits -> how many decisions have them; empty for a width."""
    counts: Counter[int] = Counter()
    for bits, count in runs_of(decision, decisions):
        counts[bits] += count
    return counts


def _check(sites: Sites, assignment: Decisions) -> None:
    for site in assignment:
        if site not in sites:
            raise SearchSpaceError(
                f"the assignment names '{site}', which is no site of the network; nearest: "
                f"{nearest(site, sites)}. It was made for another network."
            )
