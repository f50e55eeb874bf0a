"""The figure of sensitivity: how much worse a network gets with a site at its worst candidate."""

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mpnas.report.evidence import Evidence
from mpnas.report.svg import exact, percent, tag


def sensitivity_rows(front: Mapping[str, Any], evidence: Evidence) -> list[tuple[str, Markup, str]]:
    """(site, bar, words) of every site that was measured, in network order.

    A bar is how much worse the network gets with all decisions of the site at their worst candidate, as
    a share of the most sensitive site, averaged over the measurements; a mark is one measurement.
    """
    found: dict[str, list[float]] = {}
    for scores in evidence.scores:
        totals = {site: float(values.max(axis=1).sum()) for site, values in scores.items()}
        if (largest := max(totals.values(), default=0.0)) > 0:
            for site, total in totals.items():
                found.setdefault(site, []).append(total / largest)
    sites = list(front["run"]["sites"])
    place = {site: front["run"]["sites"][site].get("index", k) for k, site in enumerate(sites)}
    rows = []
    for site in sorted((site for site in found if site in place), key=lambda site: place[site]):
        mean = math.fsum(found[site]) / len(found[site])
        marks = [
            tag("circle", cx=percent(share), cy="50%", r="2.5", class_="one", data_x=exact(share))
            for share in found[site]
        ]
        bar = tag("rect", height="100%", width=percent(mean), class_="amount")
        svg = tag("svg", bar, *(marks if len(marks) > 1 else []), class_="bar plain", role="img",
                  aria_label=f"{site}: {100 * mean:.1f} %", data_id=site, data_x=exact(mean))
        rows.append((site, svg, words_of(mean)))
    return rows


def words_of(share: float) -> str:
    """A share as a percentage with one digit, told from nothing at all.

    >>> words_of(0.4911), words_of(1e-5), words_of(0.0)
    ('49.1', '< 0.1', '0')
    """
    if share == 0:
        return "0"
    return "< 0.1" if share < 0.0005 else f"{100 * share:.1f}"
