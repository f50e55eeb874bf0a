"""Tests of mpnas/sweep/costs.py."""

import dataclasses
import re
import sys

import numpy as np
import pytest
import tiny_plan

from mpnas.cost import COSTS, KNOWN_COSTS, Cycles, Latency, Roofline, exact_cost, repair, satisfied
from mpnas.errors import ConfigError
from mpnas.pareto import violations
from mpnas.sweep.collect import front_of
from mpnas.sweep.config import known_cost, read_experiment
from mpnas.sweep.costs import check_costs, costs_of
from mpnas.sweep.plan import load_plan
from mpnas.sweep.point import measure_point
from mpnas.sweep.trial import bench_of, run_trial

OWN = '''
import dataclasses
import math

import numpy


@dataclasses.dataclass
class SramBytes:
    """Bytes of the weights, in whole lines of some bytes each as far as one can be differentiated."""

    line: int = 1
    name: str = "sram_bytes"
    unit: str = "byte"
    combine: str = "sum"

    @property
    def counts(self):
        return {"scales": False, "zero_points": False, "bias": False, "assignment_index": False,
                "first_last_layers": True}

    def rows(self, space, use):
        return [
            self.line * layer.parameters / layer.out_channels * use.weight_bits[layer.path].sum() / 8
            for layer in space.work.layers
        ]


class Named(SramBytes):
    pass


def broken(**wrong):
    made = SramBytes()
    for part, value in wrong.items():
        setattr(made, part, value)
    return made


class Raises(SramBytes):
    def rows(self, space, use):
        return [1 / 0 for _ in space.work.layers]


class Nothing(SramBytes):
    def rows(self, space, use):
        pass


class TooFew(SramBytes):
    def rows(self, space, use):
        return super().rows(space, use)[1:]


class NotFinite(SramBytes):
    def rows(self, space, use):
        return [math.nan for _ in space.work.layers]


class Negative(SramBytes):
    def rows(self, space, use):
        return [-1.0 for _ in space.work.layers]


class Words(SramBytes):
    def rows(self, space, use):
        return ["much" for _ in space.work.layers]


class Falling(SramBytes):
    def rows(self, space, use):
        return [1 / row for row in super().rows(space, use)]


class NumpyOnly(SramBytes):
    def rows(self, space, use):
        return [numpy.asarray(row).item() for row in super().rows(space, use)]


class Slow:
    def __init__(self):
        raise RuntimeError("no licence")


def empty():
    return None
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Name of a module of one's own costs, in the folder in which mpnas is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"costs_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    yield name
    sys.modules.pop(name, None)


def experiment(*costs, **changes):
    return read_experiment(tiny_plan.table(costs=list(costs), **changes), "tiny.toml")


@pytest.fixture(scope="module")
def space():
    return bench_of(tiny_plan.plan()).net.space


def test_costs_of_every_network_come_first_and_those_named_after():
    table = {"name": "core", "act_bits": [8], "weight_bits": [2, 8], "macs_per_cycle": [[2.0, 1.0]],
             "hertz": 1e6, "watt": 0.5}
    found = costs_of(experiment(
        "bops_baskin", {"name": "latency_mpic", "missing": "interpolate"},
        {"name": "roofline", "peak": 1e9, "bandwidth": 1e8}, {"name": "cycles_mpic", "table": table},
    ))
    assert found[:4] == COSTS
    assert [cost.name for cost in found[4:]] == ["bops_baskin", "latency_mpic", "roofline", "cycles_core"]
    assert found[5] == Latency(missing="interpolate") and found[6] == Roofline(peak=1e9, bandwidth=1e8)
    assert isinstance(found[7], Cycles) and found[7].throughput.macs_per_cycle == ((2.0, 1.0),)
    assert costs_of(experiment()) == COSTS


@pytest.mark.parametrize("name", [name for name in KNOWN_COSTS if name != "roofline"])
def test_known_costs_are_called_by_their_own_names(name):
    assert known_cost(name).name == name


@pytest.mark.parametrize("spec, words", [
    ("latency_mpik", "unknown cost 'latency_mpik'; nearest: 'latency_mpic'.* A cost of your own is written"),
    ({"missing": "refuse"}, "unknown cost ''"),
    ("macs", "cost 'macs' is always counted. Delete it from costs"),
    ({"name": "latency_mpic", "misssing": "refuse"}, "unknown key 'misssing'; nearest: 'missing'"),
    ({"name": "energy_45nm", "weights": "flash"}, "cost 'energy_45nm': 'weights' = 'flash' is wrong"),
    ("roofline", "cost 'roofline': key 'peak' is missing"),
    ({"name": "roofline", "peak": -1, "bandwidth": 1}, "a roofline needs peak > 0"),
    ({"name": "cycles_mpic", "table": "mpik"}, "no throughput table 'mpik'; nearest: 'mpic'"),
])
def test_what_is_no_cost_is_refused_when_the_experiment_is_read(spec, words):
    with pytest.raises(ConfigError, match=words):
        experiment(spec)


def test_two_costs_of_one_name_are_refused(own):
    with pytest.raises(ConfigError, match="cost 'bops_baskin' is there twice"):
        costs_of(experiment("bops_baskin", "bops_baskin"))
    with pytest.raises(ConfigError, match="cost 'sram_bytes' is there twice"):
        costs_of(experiment(f"{own}:SramBytes", f"{own}:Named"))


def test_budget_on_a_cost_that_is_not_named_says_how_to_name_it(own):
    with pytest.raises(ConfigError, match=r'unknown cost \'energy_45nm\'.* Add costs = \["energy_45nm"\]'):
        experiment(budgets=[{"energy_45nm": 0.5}])
    with pytest.raises(ConfigError, match="unknown cost 'sram_byte'; nearest: 'sram_bytes'"):
        costs_of(experiment(f"{own}:SramBytes", budgets=[{"sram_byte": 0.5}]))


@pytest.mark.parametrize("ending", ["", ".py"])
def test_cost_of_ones_own_is_counted_repaired_and_named_like_any_other(own, space, ending):
    costs = costs_of(experiment({"name": f"{own}{ending}:SramBytes", "line": 4}))
    check_costs(costs, space)
    sram = costs[-1]
    assert (sram.name, sram.unit) == ("sram_bytes", "byte")
    parameters = sum(layer.parameters for layer in space.work.layers)
    assert exact_cost(sram, space, space.uniform(8)) == 4 * parameters
    rng = np.random.default_rng(0)
    wanted = {s: rng.dirichlet(np.ones(len(c.bits)), c.decisions) for s, c in space.choices.items()}
    limits = {"sram_bytes": 1.7 * parameters}
    found = repair(space, costs, limits, wanted)
    assert satisfied({c.name: exact_cost(c, space, found) for c in costs}, limits)


@pytest.mark.parametrize("callable_, words", [
    ("Raises", r"cannot be counted: ZeroDivisionError: division by zero \(FILE, line 2\)"),
    ("Nothing", r"returns a NoneType. Return a list with one number per layer, 2 here \(FILE, line 1\)"),
    ("TooFew", r"returns 1 rows. Return a list .* \(FILE, line 1\)"),
    ("NotFinite", r"has the row nan. Rows are finite numbers >= 0 \(FILE, line 1\)"),
    ("Negative", r"has the row -1.0. Rows are finite"),
    ("Words", r"has the row 'much'. Rows are finite"),
    ("Falling", r"falls with more bits: .* no budget would have a floor \(FILE, line 1\)"),
    ("NumpyOnly", r"cannot be counted: TracerArrayConversionError: [^\n]* \(FILE, line 2\)\."),
])
def test_nonsense_of_ones_own_is_a_sentence_with_file_and_line(own, space, callable_, words):
    start = OWN[: OWN.index(f"class {callable_}(")].count("\n") + 1  # lines count from the class
    words = re.sub(r"FILE, line (\d)", lambda m: rf".*{own}\.py, line {start + int(m[1])}", words)
    with pytest.raises(ConfigError, match=f"cost '{own}:{callable_}' {words}"):
        check_costs(costs_of(experiment(f"{own}:{callable_}")), space)


@pytest.mark.parametrize("spec, words", [
    ({"name": "broken", "unit": 3}, r"has unit = 3. Write a word .*\.py, line"),
    ({"name": "broken", "combine": "mean"}, "has combine = 'mean'. Write 'sum' or 'max'"),
    ({"name": "broken", "rows": 3}, "has rows that cannot be called"),
    ({"name": "SramBytes", "lime": 3}, "cannot be made with {'lime': 3}: TypeError.*'lime'"),
    ("Slow", r"cannot be made with {}: RuntimeError: no licence \(.*\.py, line 82\)"),
    ("empty", "is a NoneType without 'name'. A cost has name, unit, combine, counts, rows"),
    ("SramBites", "has no callable 'SramBites'; nearest: 'SramBytes'"),
])
def test_what_is_no_cost_of_ones_own_is_a_sentence(own, spec, words):
    spec = f"{own}:{spec}" if isinstance(spec, str) else spec | {"name": f"{own}:{spec['name']}"}
    with pytest.raises(ConfigError, match=words):
        costs_of(experiment(spec))


def test_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="there is no module 'no_such_costs' here"):
        costs_of(experiment("no_such_costs.py:Any"))


def test_run_counts_limits_logs_and_shows_every_cost(own, tmp_path):
    """Beside the four: a cost of one's own that is limited, and one without a number for floats."""
    changes = {
        "costs": [f"{own}:SramBytes", "cycles_mpic"],
        "budgets": [{"sram_bytes": 0.5, "cycles_mpic": 0.97}],
        "references": {"uniform": [8], "random": False},
    }
    run = tiny_plan.run_folder(tmp_path / "run", **changes)
    plan = load_plan(run)
    assert plan.table["costs"] == changes["costs"]
    for trial in plan.trials:
        run_trial(run, trial.id)
    front = front_of(run)
    assert list(violations(front, root=run)) == []
    names = {cost.name for cost in COSTS} | {"sram_bytes", "cycles_mpic"}
    assert {o["name"] for o in front["objectives"] if o["kind"] == "cost"} == names
    (point,) = front["points"]
    assert set(point["costs"]) == names and set(point["limits"]) == {"sram_bytes", "cycles_mpic"}
    assert all(point["costs"][name] <= limit for name, limit in point["limits"].items())
    plain = next(r for r in front["references"] if r["kind"] == "float")
    assert set(plain["costs"]) == names - {"cycles_mpic"}
    search = next(trial.id for trial in plan.trials if trial.kind == "search")
    row = tiny_plan.rows(run, search)[-1]
    gap = next(r for r in tiny_plan.rows(run, search) if r["stage"] == "search")
    assert set(gap["expected_costs"]) == set(gap["discrete_costs"]) == names and row["stage"] == "retrain"
    for one in (point["id"], plain["id"]):
        assert measure_point(run, front, one).differences == []
    assert dataclasses.asdict(bench_of(plan).costs[5]) == {"table": "mpic", "missing": "refuse"}
