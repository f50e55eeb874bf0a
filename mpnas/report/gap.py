"""The discretisation gap, in words: when a search ended undecided, and what to change.

A search counts expected costs of a mixture; what ships is discrete. Where the two differ by more than
a hundredth, the mixture that was trained is not the network that was found.
"""

from collections.abc import Mapping
from typing import Any

from mpnas.report.tables import amount_text, in_words

LARGEST = 0.01  # of the discrete cost


def gap_warnings(front: Mapping[str, Any]) -> list[str]:
    """One sentence per searched point whose expected cost differs by more than 1 % from its discrete one.

    Args:
      front: A document that `mpnas.pareto.load` or `build` returned.
    """
    sentences = []
    for point in front["points"]:
        if words := gap_words(point.get("gap") or {}):
            sentences.append(f"Discretisation gap of {point['trial']}: {words}")
    return sentences


def gap_words(gap: Mapping[str, Any]) -> str:
    """What the gap of one search is, and what to change; empty where it is small.

    Args:
      gap: `expected_costs`, `discrete_costs`, `mean_choice_entropy` and `undecided_fraction` of a record.
    """
    expected, discrete = gap.get("expected_costs") or {}, gap.get("discrete_costs") or {}
    shares = {
        name: abs(expected[name] - exact) / exact
        for name, exact in discrete.items()
        if exact and expected.get(name) is not None
    }
    if not shares or max(shares.values()) <= LARGEST:
        return ""
    name = max(shares, key=lambda key: shares[key])
    undecided = 100 * float(gap.get("undecided_fraction") or 0)
    return (
        f"expected {in_words(name)} {amount_text(expected[name])}, discrete {amount_text(discrete[name])} "
        f"({100 * shares[name]:.1f} % apart), {undecided:.0f} % of the decisions undecided. Give the search "
        "more steps, a larger learning rate of the logits, or a lower temperature at its end."
    )
