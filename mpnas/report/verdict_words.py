"""The verdict for a page: how many searches were better than their baselines, then every sentence."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mpnas.report.gap import gap_warnings
from mpnas.report.verdict import verdict

Tone = Literal["good", "bad", "open", "warn"]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What a verdict says, and the sentences that it says it with.

    Attributes:
      tone: "good" (better than the baseline), "bad" (no better), "open" (not to be told), or "warn".
      headline: One sentence.
      sentences: (tone, sentence) of each comparison; empty where the headline is all of it.
    """

    tone: Tone
    headline: str
    sentences: Sequence[tuple[Tone, str]] = ()


def judged(front: Mapping[str, Any]) -> list[Judgement]:
    """The verdict and the warnings of a front, grouped by what was compared.

    Args:
      front: A document that `mpnas.pareto.load` or `build` returned.
    """
    uniform, random, found = [], [], []
    for sentence in verdict(front):
        told = tone_of(sentence), sentence
        if sentence.startswith("Against "):
            uniform.append(told)
        elif sentence.startswith("No "):  # search, or baseline, to compare
            found.append(Judgement("open", sentence))
        else:
            random.append(told)
    if random:
        found.insert(0, Judgement(_tone(random), _random_headline(random), random))
    if uniform:
        found.insert(0, Judgement(_tone(uniform), _uniform_headline(uniform), uniform))
    if gaps := gap_warnings(front):
        some = "one search" if len(gaps) == 1 else f"{len(gaps)} searches"
        headline = f"Discretisation gap: {some} ended over 1\u00a0% off the cost of what was found."
        found.append(Judgement("warn", headline, [("warn", gap) for gap in gaps]))
    return found


def _random_headline(told: Sequence[tuple[Tone, str]]) -> str:
    if len(told) == 1:
        words = {"good": "better than random", "bad": "no better than random"}
        one = words.get(told[0][0], "without a random network to compare")
        return f"The search is {one} under the same budget."
    said = [
        f"{number} {'is' if number == '1' else 'are'} {words}"
        for words, number in _tally(told, "better than random", "no better than random",
                                    "without a random network to compare")
    ]
    return f"Of {len(told)} searches, under the same budget, {', '.join(said)}."


def _uniform_headline(told: Sequence[tuple[Tone, str]]) -> str:
    words = ("better than", "no better than", "not to be compared with")
    if len(told) == 1:
        [(said, _)] = _tally(told, *words)
        return f"The best search that costs no more is {said} the uniform network."
    counted = ", ".join(f"{said} {number}" for said, number in _tally(told, *words))
    return f"Of {len(told)} uniform networks, the best search that costs no more is {counted}."


def _tally(told: Sequence[tuple[Tone, str]], good: str, bad: str, unknown: str) -> list[tuple[str, str]]:
    """(words, how many) of each tone that occurs."""
    tones = [tone for tone, _ in told]
    words: dict[Tone, str] = {"good": good, "bad": bad, "open": unknown}
    counts = [(said, tones.count(tone)) for tone, said in words.items() if tone in tones]
    return [(said, "all" if count == len(told) > 1 else str(count)) for said, count in counts]


def _tone(told: Sequence[tuple[Tone, str]]) -> Tone:
    tones = {tone for tone, _ in told}
    return tones.pop() if len(tones) == 1 else "open"


def tone_of(sentence: str) -> Tone:
    """Which way a sentence of the verdict goes.

    >>> tone_of("a is better than random (x)."), tone_of("a is no better than random (x).")
    ('good', 'bad')
    """
    if "no better than" in sentence:
        return "bad"
    return "good" if "better than" in sentence else "open"
