"""Tests of mpnas/cli/plan.py and mpnas/cli/prospect.py."""

import pytest
import tiny_run

from mpnas.cli.prospect import Limit, prospect, trials_text


def test_a_plan_shows_sites_costs_budgets_and_trials_and_writes_nothing(mpnas, tiny_toml, tmp_path):
    result = mpnas("plan", tiny_toml)
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    # 64 x 64, 64 x 32 and 32 x 10 weights, each used once per example.
    assert "dense0/kernel | weight | layer | 1 | 2 4 8 | 4,096 | 4,096 |" in text
    assert "dense2/kernel | weight | layer | 1 | 2 4 8 | 320 | 320 |" in text
    assert "macs | mac | 6,464 | 6,464 | 6,464 |" in text
    # 6,464 x 8 x 2, 8, 8, 4 and 2: activations stay at 8 bits.
    assert "bops | bitop | 103,424 | 413,696 | 413,696 | 206,848 | 103,424 |" in text
    assert "3 trials: 1 float, 1 uniform, 1 search." in text
    assert "feasible" in text
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.slow
def test_ties_are_shown_with_their_reasons(mpnas):
    text = mpnas("plan", "digits").output
    assert "stem, block1/conv2" in text and "added in ResidualBlock.__call__" in text
    assert "Note: 0 bits is not offered at dense" in text


GATED = """
import jax
from flax import nnx


class Gated(nnx.Module):
    def __init__(self, *, rngs):
        def conv(fan_in, groups=1):
            return nnx.Conv(fan_in, 6, (3, 3), feature_group_count=groups, rngs=rngs)

        self.stem, self.each, self.inner = conv(1), conv(6, groups=6), conv(6)
        self.down, self.up = nnx.Linear(6, 3, rngs=rngs), nnx.Linear(3, 6, rngs=rngs)
        self.head = nnx.Linear(6, 10, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.stem(x))
        y = self.inner(jax.nn.relu(self.each(x)))
        gate = jax.nn.sigmoid(self.up(jax.nn.relu(self.down(y.mean((1, 2))))))
        y = y * gate[:, None, None, :]
        return self.head(jax.nn.relu(x + y).mean((1, 2)))
"""


def test_every_tie_of_ones_own_network_is_shown_with_its_reasons(mpnas, tmp_path):
    (tmp_path / "gated_net.py").write_text(GATED)
    text = tiny_run.TOML.replace('"mlp"', '"gated_net:Gated"').replace("[2, 4, 8]", "[0, 4, 8]")
    (tmp_path / "gated.toml").write_text(text.replace('"layer"', '"channel"'))
    shown = mpnas("plan", tmp_path / "gated.toml")
    assert shown.exit_code == 0, shown.output
    (ties,) = (part for part in shown.output.split("\n\n") if part.startswith("Ties"))
    rows = [" ".join(line.split()).strip("| ") for line in ties.splitlines() if "Gated" in line]
    # By hand: the depthwise layer keeps the channels of `stem`, the gate multiplies those of `inner`, the
    # two are added; so all four write one group.
    line = {word: 1 + next(k for k, code in enumerate(GATED.splitlines()) if word in code)
            for word in ("y = self.inner", "y = y * gate", "x + y")}
    place = "in Gated.__call__ (gated_net.py:{})"
    reasons = "; ".join([
        f"a depthwise convolution keeps its channels {place.format(line['y = self.inner'])}",
        f"multiplied {place.format(line['y = y * gate'])}",
        f"added {place.format(line['x + y'])}",
    ])
    assert rows == [f"stem/channels | which channels exist | stem, each, inner, up | {reasons}"]


def test_an_impossible_budget_is_shown_and_refused(mpnas, tiny_toml):
    result = mpnas("plan", tiny_toml, "--set", "budgets=[{weight_bytes=0.5}, {bops=0.001}]")
    assert result.exit_code == 2
    assert "feasible" in result.stdout and "impossible" in result.stdout
    assert result.stderr.startswith("mpnas: budget bops = 413.696 bitop cannot be met")


def test_costs_that_the_experiment_names_are_shown_and_limited(mpnas, tiny_toml):
    result = mpnas("plan", tiny_toml, "--set", 'costs=["cycles_mpic", "latency_mpic"]',
                   "--set", 'budgets=[{ latency_mpic = "12 us" }]')
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    # 6,464 MACs at 8-bit activations: 2.5, 2.3 and 2.1 of them per cycle of 4 ns.
    assert "cycles_mpic | cycle | 2,585.6 | 3,078.1 | 3,078.1 | 2,810.43 | 2,585.6 |" in text
    assert "latency_mpic [second] | 1.2e-05 | 1.03424e-05 | 1.23124e-05 | feasible" in text


def test_network_that_a_cost_has_no_number_for_is_refused_before_anything_runs(mpnas, tiny_toml):
    result = mpnas("plan", tiny_toml, "--set", 'costs=["latency_mpic"]', "--set",
                   'space.rules=[{ match = "*", weights = [2, 3, 8], activations = [8] }]')
    assert result.exit_code == 2
    assert "no throughput for 8-bit activations times 3-bit weights at 'dense0'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_budget_is_shown_as_a_number(tmp_path):
    found = prospect(tiny_run.planned(tmp_path, 'budgets=[{ weight_bytes = "5 kB", bops = 0.5 }]'))
    assert {one.cost: one.limit for one in found.limits} == {"weight_bytes": 5000.0, "bops": 413_696 / 2}
    assert all(one.verdict == "feasible" for one in found.limits)
    assert found.refusal is None


def test_a_limit_above_all_networks_is_none():
    assert Limit("", "macs", "mac", 10.0, 1.0, 10.0).verdict == "no limit"
    assert Limit("", "macs", "mac", 1.0, 1.0, 10.0).verdict == "feasible"
    assert Limit("", "macs", "mac", 0.9, 1.0, 10.0).verdict == "impossible"


def test_trials_are_counted_by_kind(tmp_path):
    plan = tiny_run.planned(tmp_path, "seeds=[0,1]", "references.random=true")
    assert trials_text(plan) == "8 trials: 2 float, 2 uniform, 2 random, 2 search"
