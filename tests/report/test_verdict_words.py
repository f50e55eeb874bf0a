"""Tests of mpnas/report/verdict_words.py."""

import pytest
from front_maker import made, record, records
from sweep_maker import sweep

from mpnas.report.gap import gap_warnings
from mpnas.report.verdict import verdict
from mpnas.report.verdict_words import judged


def test_searches_that_lose_are_no_better_than_random():
    uniform, random = judged(sweep(lead=-0.03))
    assert (random.tone, random.headline) == (
        "bad", "Of 8 searches, under the same budget, all are no better than random.",
    )
    assert uniform.tone != "good"


def test_searches_that_win_are_better_than_random():
    _, random = judged(sweep(lead=0.05))
    assert (random.tone, random.headline) == (
        "good", "Of 8 searches, under the same budget, all are better than random.",
    )


def test_what_goes_both_ways_is_counted():
    uniform, random = judged(made())
    assert uniform.headline == "Of 2 uniform networks, the best search that costs no more is better than all."
    assert random.headline == (
        "Of 2 searches, under the same budget, 1 is better than random, "
        "1 is without a random network to compare."
    )
    assert random.tone == "open"


def test_one_search_is_spoken_of_as_one():
    uniform, random = judged(made([row for row in records() if row.trial in {"u4", "r0", "s0"}]))
    assert uniform.headline == "The best search that costs no more is better than the uniform network."
    assert random.headline == "The search is better than random under the same budget."


@pytest.mark.parametrize(
    "front", [sweep(), made(), made([]), made([record("a")])], ids=["sweep", "hand", "empty", "one"]
)
def test_every_sentence_of_the_verdict_is_told_once(front):
    told = [
        sentence for one in judged(front)
        for sentence in ([words for _, words in one.sentences] or [one.headline])
    ]
    assert sorted(told) == sorted([*verdict(front), *gap_warnings(front)])


def test_a_gap_is_a_warning_with_its_sentences():
    gap = {"expected_costs": {"weight_bytes": 700.0}, "discrete_costs": {"weight_bytes": 600.0}}
    *_, last = judged(made([record("a", gap=gap)]))
    assert (last.tone, len(last.sentences)) == ("warn", 1)
    assert last.headline.startswith("Discretisation gap: one search ended over 1")
