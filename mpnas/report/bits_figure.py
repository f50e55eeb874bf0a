"""Figures of bits: what each layer became, and which share of a network each bit-width holds."""

import colorsys
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from mpnas.pareto.bits import Sites, runs_of, shares
from mpnas.report.layers import counts_of, in_order, layers_of
from mpnas.report.svg import percent, tag

Front = Mapping[str, Any]
KINDS = ("weight", "activation")
# Anchors of viridis (van der Walt and Smith, 2015), which also reads in grey and with any colour vision.
VIRIDIS = ("fde725", "aadc32", "5ec962", "27ad81", "21918c", "2c728e", "3b528b", "472d7b", "440154")


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row of the figure: a layer with its bars, empty where nothing was chosen."""

    name: str
    parameters: int
    weight: Markup
    activation: Markup


def layer_rows(front: Front, point: Mapping[str, Any]) -> list[Layer]:
    """The layers of a point in network order; each bar's segments are shares of its decisions.

    A segment carries `data-bits` and `data-count`, its bar `data-id`, `data-layer` and `data-kind`.
    """
    sites = front["run"]["sites"]
    rows = []
    for layer, found in layers_of(sites, point["assignment"]).items():
        bars = {}
        for kind, (decision, decisions) in found.items():
            counts = counts_of(decision, decisions)
            words = "channels" if decision["granularity"] == "channel" else "decisions"
            about = {"data_id": point["id"], "data_layer": layer, "data_kind": kind}
            bars[kind] = stacked_bar(counts, words, **about)
        site = sites.get(f"{layer}/kernel") or sites.get(layer) or {}
        parameters = site.get("parameters", 0) or _parameters(sites, layer)
        rows.append(Layer(layer, parameters, bars.get("weight", Markup()), bars.get("activation", Markup())))
    return rows


def _parameters(sites: Mapping[str, Any], layer: str) -> int:
    return sum(site["parameters"] for name, site in sites.items() if name.rpartition("/")[0] == layer)


def other_choices(front: Front, point: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(site, what it became) of masks and widths, which have no bits."""
    sites, found = front["run"]["sites"], []
    for name in sorted(point["assignment"], key=lambda name: in_order(name, sites.get(name, {}))):
        decision, site = point["assignment"][name], sites.get(name)
        if "channels" in decision:
            found.append((name, f"{decision['channels']:,} channels"))
        elif site is not None and site["kind"] not in KINDS:
            runs = runs_of(decision, site["decisions"])
            kept = sum(count for bits, count in runs if bits)
            found.append((name, f"{kept:,} of {sum(count for _, count in runs):,} kept"))
    return found


def share_rows(front: Front, point: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """(what, bar) of a point: its parameters and MACs by bits of weights, MACs by those of activations."""
    rows = []
    for kind, unit, name in (
        ("weight", "parameters", "parameters, by weight bits"),
        ("weight", "macs", "MACs, by weight bits"),
        ("activation", "macs", "MACs, by activation bits"),
    ):
        if found := shares(point["assignment"], front["run"]["sites"], kind, unit):
            ordered = {bits: found[bits] for bits in sorted(found, reverse=True)}
            about = {"data_id": point["id"], "data_kind": kind, "data_unit": unit}
            rows.append((name, stacked_bar(ordered, "", **about)))
    return rows


def stacked_bar(amounts: Mapping[int, float], unit: str, **attributes: object) -> Markup:
    """A bar of segments, one per bit-width, as wide as its share.

    Args:
      amounts: Bit-width -> how much, in drawing order; counts, or fractions where `unit` is empty.
      unit: What is counted.
      attributes: Of the bar.
    """
    total = sum(amounts.values())
    parts, left = [], 0.0
    for bits, amount in amounts.items():
        share = amount / total
        place = {"x": percent(left), "width": percent(share)}
        said = f"{bits_words(bits)}: {100 * share:.1f} %"
        if unit:
            said += f" ({amount:,} of {total:,} {unit})"
        rect = tag("rect", tag("title", said), class_=f"b{bits}", height="100%", **place,
                   data_bits=bits, data_count=repr(amount), data_id=str(attributes.get("data_id", "")))
        parts.append(rect)
        if share >= 0.075:
            size = "" if share >= 0.14 else " wide"
            parts.append(tag("text", str(bits), class_=f"t{bits}{size}", x=percent(left + share / 2), y="50%",
                             dy="0.35em", text_anchor="middle"))
        left += share
    words = ", ".join(f"{100 * amount / total:.0f} % {bits_words(bits)}" for bits, amount in amounts.items())
    return tag("svg", *parts, class_="bar", role="img", aria_label=words, **attributes)


def bits_words(bits: int) -> str:
    """A bit-width as a person says it.

    >>> bits_words(0), bits_words(1), bits_words(8)
    ('left out', '1 bit', '8 bits')
    """
    return {0: "left out", 1: "1 bit"}.get(bits, f"{bits} bits")


def used_bits(sites: Sites, assignments: Iterable[Mapping[str, Any]]) -> list[int]:
    """Every bit-width of the assignments, ascending; a mask keeps or leaves out, and has no bits."""
    found: set[int] = set()
    for assignment in assignments:
        for name, decision in assignment.items():
            if name in sites and sites[name]["kind"] in KINDS:
                found |= {bits for bits, _ in runs_of(decision, 1)}
    return sorted(found)


def bits_style(used: Sequence[int]) -> Markup:
    """Rules of the colours of bit-widths: more bits stand out more, on white as on black.

    Args:
      used: The bit-widths to have a rule; each in 0..32, or drawn like 32.
    """
    light = "".join(_rules(bits, dark=False) for bits in used)
    dark = "".join(_rules(bits, dark=True) for bits in used)
    return Markup(f"{light}\n@media (prefers-color-scheme: dark) {{{dark}}}\n@media print {{{light}}}")


def _rules(bits: int, *, dark: bool) -> str:
    colour = bits_colour(bits, dark=dark)
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ink = "#fff" if colorsys.rgb_to_yiq(red, green, blue)[0] < 0.5 else "#14171c"
    return f".b{bits}{{fill:{colour};background:{colour}}}.t{bits}{{fill:{ink}}}"


def bits_colour(bits: int, *, dark: bool) -> str:
    """The colour of a bit-width as "#rrggbb": grey for 0, then along viridis, evenly from 1 to 8.

    >>> bits_colour(1, dark=False), bits_colour(32, dark=False), bits_colour(32, dark=True)
    ('#fde725', '#440154', '#fde725')
    """
    if bits == 0:
        return "#3a4049" if dark else "#dfe3e8"
    few, most = 0.74, 32
    place = (bits - 1) / 7 * few if bits <= 8 else few + (1 - few) * math.log2(min(bits, most) / 8) / 2
    place = (1 - place if dark else place) * (len(VIRIDIS) - 1)
    index = min(int(place), len(VIRIDIS) - 2)
    low, high, part = VIRIDIS[index], VIRIDIS[index + 1], place - index
    mixed = (
        round((1 - part) * int(low[i : i + 2], 16) + part * int(high[i : i + 2], 16)) for i in (0, 2, 4)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
