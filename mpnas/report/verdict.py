"""The verdict on a search, in plain words: is it better than no search at all?

Two questions, each answered on the test part for networks chosen on the selection part. Against
uniform bit-widths: what does a search reach at equal or smaller cost? Against random assignments:
what does it reach under the same budget? Means are over seeds; a difference within two standard
errors is called none.
"""

from collections.abc import Mapping
from typing import Any

from mpnas.pareto.objectives import first_cost, on_front, report_metric, select_metric
from mpnas.pareto.summary import SeedMean, budget_text, over_seeds, standard_error
from mpnas.report.tables import amount_text, in_words

Front = Mapping[str, Any]


def verdict(front: Front) -> list[str]:
    """Sentences that compare the searched points with the uniform and the random baselines.

    Args:
      front: A document that `mpnas.pareto.load` or `build` returned.

    Returns:
      One sentence per uniform baseline, then one per searched budget against random; at least one
      sentence in any case.
    """
    searched = over_seeds(front["points"])
    if not searched:
        return ["No search ended within its budget, so there is nothing to judge."]
    baselines = over_seeds(front["references"])
    uniform = [mean for mean in baselines if mean.kind == "uniform"]
    random = [mean for mean in baselines if mean.kind == "random"]
    sentences = [_against_uniform(front, searched, mean) for mean in uniform]
    sentences += [_against_random(front, mean, random) for mean in searched]
    missing = [name for name, some in (("uniform", uniform), ("random", random)) if not some]
    if missing:
        sentences.append(f"No {' and no '.join(missing)} baseline was measured; sweep with one.")
    return sentences


def _against_uniform(front: Front, searched: list[SeedMean], uniform: SeedMean) -> str:
    costs = [objective["name"] for objective in on_front(front["objectives"], "cost")]
    fitting = [mean for mean in searched if all(_no_dearer(mean, uniform, name) for name in costs)]
    name = first_cost(front)["name"]
    if not fitting:
        cheapest = min(mean.costs[name]["mean"] for mean in searched)
        return (
            f"Against {uniform.label} ({in_words(name)} {_cost(uniform, name)}): no search is as "
            f"cheap; the cheapest has {amount_text(cheapest)}."
        )
    # Chosen on the selection part, like everything; compared on the test part.
    select = select_metric(front)
    sign = 1 if select["direction"] == "max" else -1
    best = max(fitting, key=lambda mean: sign * mean.metrics[select["name"]]["mean"])
    share = 100 * _mean(best, name) / _mean(uniform, name)
    return (
        f"Against {uniform.label}: the best search that costs no more, {best.label}, is "
        f"{_difference(front, best, uniform, 'uniform')} at {share:.1f} % of its {in_words(name)}."
    )


def _no_dearer(mean: SeedMean, than: SeedMean, cost: str) -> bool:
    return _mean(mean, cost) <= _mean(than, cost)


def _against_random(front: Front, search: SeedMean, random: list[SeedMean]) -> str:
    alike = [mean for mean in random if mean.budget == search.budget]
    if not alike:
        asked = budget_text(search.budget) or "no budget"
        return f"{search.label}: no random assignment was measured at {asked}."
    limited = [o["name"] for o in front["objectives"] if o["name"] in search.budget]
    name = next((cost for cost in limited if cost in search.costs), first_cost(front)["name"])
    return (
        f"{search.label} is {_difference(front, search, alike[0], 'random')} under the same budget "
        f"({in_words(name)} {_cost(search, name)} against {_cost(alike[0], name)})."
    )


def _difference(front: Front, one: SeedMean, other: SeedMean, baseline: str) -> str:
    objective = report_metric(front)
    name = objective["name"]
    if name not in one.metrics or name not in other.metrics:
        return f"not comparable with {baseline}, as {in_words(name)} was not measured for both,"
    left, right = one.metrics[name], other.metrics[name]
    scale, unit = (100, " points") if objective["unit"] == "fraction" else (1, "")
    sign = 1 if objective["direction"] == "max" else -1
    gain = scale * (left["mean"] - right["mean"])
    error = standard_error(left, right)
    seeds = f"{in_words(name)} {gain:+.2f}{unit}, {_seeds(left['n'], right['n'])}"
    if sign * gain <= 0:
        return f"no better than {baseline} ({seeds})"
    if error is None:
        return f"better than {baseline}, as far as single seeds can tell ({seeds})"
    noise = f"{seeds}, standard error {scale * error:.2f}"
    if sign * gain <= 2 * scale * error:
        return f"no better than {baseline} beyond the noise of the seeds ({noise})"
    return f"better than {baseline} ({noise})"


def _seeds(ours: int, theirs: int) -> str:
    if ours == theirs:
        return "one seed each" if ours == 1 else f"{ours} seeds each"
    return f"{ours} against {theirs} seeds"


def _mean(mean: SeedMean, cost: str) -> float:
    return mean.costs[cost]["mean"]


def _cost(mean: SeedMean, cost: str) -> str:
    return amount_text(_mean(mean, cost))
