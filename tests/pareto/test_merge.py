"""Tests of mpnas/pareto/merge.py."""

import copy

import pytest
from front_maker import COST_MODELS, OBJECTIVES, RUN, SITES, TIES, HALF, made, record, records, recompute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_fronts import fronts

from mpnas.errors import FrontFileError
from mpnas.pareto.artifacts import relocated
from mpnas.pareto.document import dumps, parse
from mpnas.pareto.dominance import nondominated
from mpnas.pareto.invariants import violations
from mpnas.pareto.merge import merge

BIASED = COST_MODELS[1]["counts"] | {"bias": True}
SLOW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
SEVERAL = st.lists(st.sampled_from(["a", "a", "b", "a+b"]).flatmap(fronts), min_size=1, max_size=4)


def run(name, digit="1", **changes):
    return RUN | {"id": name, "config_sha256": digit * 64} | changes


def joined(*some):
    return merge(some, [f"front {number}" for number in range(len(some))])


A = made(run=run("a"))
B = made([record("s0", accuracy=0.95, assignment=HALF, seed=3), record("b1", accuracy=0.5)],
         run=run("b", "2", seeds=[3]), created_utc="2026-02-01T00:00:00Z")


def test_one_front_is_that_front():
    assert dumps(joined(A)) == dumps(A) == dumps(joined(A, A, A))


def test_points_of_all_runs_are_ranked_together():
    merged = joined(A, B)
    # s0 of b has 900 bytes like s1 of a (0.895) and beats it; b1 has 600 bytes like s0 of a (0.88).
    assert [(p["id"], p["trial"], p["nondominated"]) for p in merged["points"]] == [
        ("p000", "a/s0", True), ("p001", "b1", False), ("p002", "s2", False), ("p003", "b/s0", True),
        ("p004", "s1", False),
    ]
    assert merged["hypervolume"]["value"] == pytest.approx(300 * 0.88 + 4300 * 0.95, rel=1e-12)
    assert [r["trial"] for r in merged["references"]] == ["f", "u4", "u8", "r0"]
    assert [r["trial"] for r in merged["rejected"]] == ["s3", "s4"]


def test_the_runs_are_listed_and_every_trial_says_where_it_is_from():
    merged = joined(B, A)
    assert merged["created_utc"] == "2026-02-01T00:00:00Z"
    assert (merged["run"]["id"], merged["run"]["seeds"]) == ("a+b", [0, 3])
    assert [(r["name"], r["id"], r["config_sha256"][0]) for r in merged["run"]["merged"]] == [
        ("a", "a", "1"), ("b", "b", "2"),
    ]
    origins = {p["trial"]: (p["origin"]["run"], p["origin"]["trial"]) for p in merged["points"]}
    assert origins["a/s0"] == ("a", "s0") and origins["b1"] == ("b", "b1")


def test_runs_of_one_name_are_told_apart_by_their_config():
    merged = joined(made(run=run("a", "1")), made(run=run("a", "2")))
    assert [r["name"] for r in merged["run"]["merged"]] == ["a@11111111", "a@22222222"]
    assert {p["trial"] for p in merged["points"]} == {
        f"a@{digit * 8}/{trial}" for digit in "12" for trial in ("s0", "s1", "s2")
    }


@pytest.mark.parametrize(
    "left, right, labels",
    [
        ({"seeds": [0], "name": "a", "steps": 5}, {"seeds": [3], "name": "b", "steps": 5}, {"gumbel"}),
        ({"seeds": [0], "steps": 5}, {"seeds": [0], "steps": 6}, {"a: gumbel", "b: gumbel"}),
        (None, {"steps": 6}, {"a: gumbel", "b: gumbel"}),
    ],
    ids=["more_seeds", "other_steps", "unknown"],
)
def test_runs_share_a_label_if_they_differ_in_nothing_but_which_trials_they_hold(left, right, labels):
    some = [
        made([record("x")], run=run(name, digit) | ({} if config is None else {"config": config}))
        for name, digit, config in (("a", "1", left), ("b", "2", right))
    ]
    assert {p["label"] for p in joined(*some)["points"]} == labels


@SLOW
@given(SEVERAL, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(some, random):
    expected = dumps(joined(*some))
    again = some + random.choices(some, k=2)
    random.shuffle(again)
    assert dumps(joined(*again)) == expected


@SLOW
@given(SEVERAL, st.integers(0, 4))
def test_merging_in_steps_gives_what_merging_at_once_gives(some, cut):
    cut = min(cut, len(some) - 1)
    left = some[: cut + 1]
    expected = dumps(joined(*some))
    assert dumps(joined(joined(*left), *some[cut + 1:])) == expected
    assert dumps(joined(joined(*left), joined(*some))) == expected


@SLOW
@given(SEVERAL)
def test_a_merged_front_keeps_every_promise_and_every_trial(some):
    merged = joined(*some)
    assert violations(merged, recompute=recompute) == []
    assert parse(dumps(merged), "merged") == merged
    distinct = {front["run"]["id"] + front["run"]["config_sha256"]: front for front in some}.values()
    for part in ("points", "references", "rejected"):
        assert len(merged[part]) == sum(len(front[part]) for front in distinct)
    table = [[p["metrics"]["accuracy"]["mean"], p["costs"]["weight_bytes"]] for p in merged["points"]]
    if table:
        mask = nondominated(table, ["max", "min"]).tolist()
        assert [p["nondominated"] for p in merged["points"]] == mask


def test_merging_changes_none_of_its_arguments():
    one, other = copy.deepcopy(A), copy.deepcopy(B)
    joined(one, other)["points"][0]["costs"].clear()
    assert (one, other) == (A, B)


def test_a_copy_whose_files_are_gone_takes_nothing_away():
    rows = records()
    rows[4].artifacts.update(checkpoint="trials/s0/model")
    front = made(rows, run=run("a"))
    for order in ([front, relocated(front, None)], [relocated(front, None), front]):
        assert joined(*order)["points"][0]["artifacts"] == {"checkpoint": "trials/s0/model"}


def test_a_copy_from_before_an_export_takes_nothing_away_and_paths_follow_the_run():
    rows = records()
    export = {"format": "csv", "path": "exports/s0.csv", "options": {"vnni": True}, "float_ops": ["a (why)"]}
    before = made(rows, run=run("a"))
    # Among equals the smaller text would win, and "checkpoint" is smaller than "exports".
    before["points"][0]["artifacts"] = {"checkpoint": "a"}
    after = copy.deepcopy(before)
    after["points"][0]["artifacts"] = {"exports": [export]}
    for order in ([before, after], [after, before]):
        assert joined(*order)["points"][0]["artifacts"] == {"exports": [export]}
    moved = relocated(after, "runs/a")["points"][0]["artifacts"]
    assert moved == {"exports": [export | {"path": "runs/a/exports/s0.csv"}]}


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"objectives": [OBJECTIVES[0], *OBJECTIVES[2:]]}, r"objectives: \["),
        ({"objectives": [*OBJECTIVES[:3], OBJECTIVES[3] | {"unit": "gigabitop"}]},
         r'objectives\[3\].unit: "bitop" against "gigabitop"'),
        ({"cost_models": [COST_MODELS[0], COST_MODELS[1] | {"counts": BIASED}]},
         r"cost_models\[1\].counts.bias: false against true"),
        ({"ties": [TIES[0], TIES[1] | {"why": "as it was"}]}, r"groups\[1\].why"),
        ({"run": run("b", sites=SITES | {"head/kernel": SITES["head/kernel"] | {"macs": 1}})},
         "run.sites.head/kernel.macs: 100 against 1"),
        ({"run": run("b", sites={**SITES, "more": SITES["head/kernel"]})},
         "run.sites.more, which only one of them has"),
        ({"run": run("b", model=RUN["model"] | {"name": "wide"})}, 'run.model.name: "block" against "wide"'),
        ({"run": run("b", dataset=RUN["dataset"] | {"name": "mnist"})}, "run.dataset.name"),
    ],
    ids=["fewer", "unit", "cost_model", "tie", "site", "more_sites", "model", "data"],
)
def test_fronts_that_do_not_belong_together_are_refused_with_the_difference(changes, says):
    other = made([], **({"run": run("b")} | changes))
    with pytest.raises(FrontFileError, match=f"front 0 and front 1 differ in {says}.*Only sweeps of one"):
        joined(A, other)


def test_a_merge_decides_by_everything_that_its_fronts_decide_by():
    by_bops = [o | {"on_front": o["name"] in ("accuracy", "bops")} for o in OBJECTIVES]
    other = made([], run=run("b"), objectives=by_bops)
    for merged in (joined(A, other), joined(other, A)):
        deciding = [o["name"] for o in merged["objectives"] if o["on_front"]]
        assert deciding == ["accuracy", "weight_bytes", "bops"]
        assert violations(merged) == []


def test_two_results_of_one_trial_are_refused():
    other = made([record("s0", accuracy=0.1)], run=run("a"))
    with pytest.raises(FrontFileError, match="trial 's0' of run 'a' has another result in front 1"):
        joined(A, other)


def test_a_trial_that_failed_before_and_is_done_now_is_refused():
    failed = made([record("s0", status="failed", reason="killed")], run=run("a"))
    with pytest.raises(FrontFileError, match="Merge the newest front of each run"):
        joined(failed, A)


def test_an_unsound_front_is_refused():
    broken = copy.deepcopy(B)
    broken["points"][0]["nondominated"] ^= True
    with pytest.raises(FrontFileError, match="front 1 breaks its promises: I2: p000"):
        joined(A, broken)


def test_names_that_would_still_clash_are_refused():
    some = [made([record(trial)], run=run(name, digit))
            for trial, name, digit in (("t", "a", "1"), ("t", "b", "2"), ("a/t", "c", "3"))]
    with pytest.raises(FrontFileError, match="two trials would both be called 'a/t'"):
        joined(*some)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda front: front["points"][0]["origin"].update(run="c"), "comes from 'c', which run.merged"),
        (lambda front: front["rejected"][0].pop("origin"), "lacks its origin"),
        (lambda front: front["run"]["merged"][1].update(name="a"), "lists 'a' 2 times"),
        (lambda front: front["run"].pop("merged"), "which run.merged does not list"),
        (lambda front: front["run"]["merged"].pop(), r"run.merged must have at least 2"),
    ],
    ids=["stray", "missing", "twins", "no_runs", "one_run"],
)
def test_i1_origins_refer_to_runs(change, says):
    merged = joined(A, B)
    change(merged)
    assert any(sentence.startswith("I1: ") and says in sentence for sentence in violations(merged))
