"""Tests of mpnas/cli/pareto/compare.py."""

import json

import pytest
from front_maker import OBJECTIVES, made, record

FLOAT = record("f", "float", 0.9, {}, costs={"weight_bytes": 1000, "bops": 1})


def front(*points):
    """Searches of (accuracy, bytes, seed), and a float network of 1000 bytes."""
    return made([FLOAT] + [
        record(f"s{n}", accuracy=accuracy, seed=seed, costs={"weight_bytes": cost, "bops": 1})
        for n, (accuracy, cost, seed) in enumerate(points)
    ])


@pytest.mark.parametrize(
    "one, other, says",
    [
        ([(0.8, 100, 0)], [(0.7, 200, 0)],
         "A is better than B: it matches or beats every point of B; one seed: no interval (no label of A"),
        ([(0.7, 200, 0)], [(0.8, 100, 0)], "B is better than A: it matches or beats every point of A;"),
        # A covers 0.5 * 900 + 0.3 * 600 = 630, B 0.6 * 800 = 480: 31 % more.
        ([(0.5, 100, 0), (0.8, 400, 0)], [(0.6, 200, 0)],
         "Neither is better everywhere; A covers 31 % more volume than B; one seed"),
        ([(0.8, 100, 0)], [(0.8, 100, 0)], "A and B are the same front."),
        ([(0.8, 100, 0)], [], "Only A has points."),
        ([], [], "Neither front has points."),
        ([(0.8, 100, 0), (0.8, 100, 1)], [(0.4, 100, 0), (0.4, 100, 1)],
         "every point of B; more than the luck of the seeds (95 % interval of A - B 360 to 360)."),
        ([(0.8, 100, 0), (0.1, 100, 1)], [(0.7, 100, 0), (0.2, 100, 1)],
         "every point of B; no more than the luck of the seeds (95 % interval of A - B -540 to 540)."),
    ],
    ids=["better", "worse", "neither", "same", "one_empty", "empty", "sure", "luck"],
)
def test_the_verdict_is_one_line_in_plain_words(mpnas, written, one, other, says):
    result = mpnas("pareto", "compare", written(front(*one), "a"), written(front(*other), "b"))
    assert result.exit_code == 0, result.output
    assert says in result.stdout.splitlines()[2]


def test_the_tables_tell_every_number_and_how_it_was_normalised(mpnas, written):
    a = written(front((0.5, 100, 0), (0.8, 400, 0)), "a")
    result = mpnas("pareto", "compare", a, written(front((0.6, 200, 0)), "b"))
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "| hypervolume | 630 | 480 |" in lines
    assert "| 100 | 200 | A | the other has nothing as cheap |" in lines
    assert "| 200 | 400 | B | 10.00 |" in lines and "| 400 | - | A | 20.00 |" in lines
    assert "accuracy 0, weight_bytes 1,000" in " ".join(lines) and "from 0 to 1" in " ".join(lines)


def test_json_has_all_of_it(mpnas, written):
    a = written(front((0.5, 100, 0), (0.8, 400, 0)), "a")
    found = json.loads(mpnas("pareto", "compare", a, written(front((0.6, 200, 0)), "b"), "--json").stdout)
    assert found["hypervolume"] == pytest.approx([630, 480])
    assert [part["better"] for part in found["stretches"]] == ["A", "B", "A"]
    assert found["bootstrap"]["ends"] is None and found["verdict"].startswith("Neither")
    assert set(found) == {
        "a", "b", "bootstrap", "epsilon", "hypervolume", "normalisation", "notes", "objectives", "points",
        "reference_point", "rule", "share", "stretches", "verdict",
    }


def test_fronts_of_different_objectives_are_refused(refused, written):
    axes = [o | {"on_front": o["name"] in ("accuracy", "bops")} for o in OBJECTIVES]
    said = refused("pareto", "compare", written(made(), "a"), written(made(objectives=axes), "b"))
    assert "decide by different objectives" in said
