"""Tests of mpnas/sweep/config.py, and of how a config is read (table.py)."""

import copy
import re

import pytest
import tiny_plan

from mpnas.control import DBP, Gumbel
from mpnas.control.schedule import Exponential
from mpnas.errors import ConfigError, SearchSpaceError
from mpnas.space import Rule
from mpnas.sweep.config import (
    bundled_experiments,
    controller_of,
    experiment_of,
    read_experiment,
    resolved_space,
    rules_of,
)
from mpnas.sweep.named import model_of
from mpnas.train import Optimizer

MINIMAL = """
name = "mine"
model = "mlp"
data = "digits"
space = "rules"
controllers = ["gumbel"]
budgets = [{ weight_bytes = 0.2 }]
[recipe.float]
steps = 3
[recipe.search]
steps = 4
arch = { lr = 0.1 }
[recipe.retrain]
steps = 5
"""
RULES = """
[[rules]]
match = "*"
weights = [2, 8]
"""


@pytest.fixture
def file(tmp_path):
    """An experiment with its search space beside it."""
    (tmp_path / "rules").write_text(RULES)
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    return path


def changed(**changes):
    return tiny_plan.table(**changes)


def refused(**changes):
    with pytest.raises(ConfigError) as caught:
        read_experiment(changed(**changes), "my.toml")
    return str(caught.value)


# Reading ------------------------------------------------------------------------------------------


def test_keys_become_objects_and_lists_become_tuples(file):
    experiment, _ = experiment_of(str(file))
    assert experiment.name == "mine"
    assert experiment.recipe.search.arch == Optimizer(lr=0.1)
    assert experiment.recipe.float.steps == 3
    assert experiment.budgets == ({"weight_bytes": 0.2},)
    assert experiment.references.uniform == (2, 4, 8)


def test_space_beside_the_file_is_copied_into_the_table(file):
    experiment, table = experiment_of(str(file))
    assert table["space"] == {"rules": [{"match": "*", "weights": [2, 8]}]}
    file.with_name("rules").unlink()
    assert rules_of(read_experiment(table, "again")) == (Rule(match="*", weights=(2, 8)),)


@pytest.mark.parametrize("name", bundled_experiments())
def test_every_bundled_experiment_is_read_with_its_rules(name):
    experiment, table = experiment_of(name)
    assert set(table["space"]) == {"rules"}
    assert all(isinstance(rule, Rule) for rule in rules_of(experiment))
    assert read_experiment(copy.deepcopy(table), name) == experiment


def test_the_digits_are_bundled():
    assert {"digits", "resnet8_cifar10"} <= set(bundled_experiments())


@pytest.mark.parametrize("name, nearest", [("digit", "'digits'"), ("../digits", "'digits'"), (".", "'")])
def test_unknown_experiment_names_the_nearest(name, nearest):
    with pytest.raises(ConfigError, match=f"neither a file nor a bundled experiment; nearest: .*{nearest}"):
        experiment_of(name)


def test_unknown_space_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="'digits_cnn_chanel' is neither .* nearest: 'digits_cnn_channel'"):
        resolved_space("digits_cnn_chanel", tmp_path)


def test_file_that_is_no_toml_says_where(file):
    file.write_text('name = "mine"\nmodel = = 3\n')
    with pytest.raises(ConfigError, match=r"mine.toml is not TOML: .*line 2"):
        experiment_of(str(file))


def test_file_that_is_no_text_is_a_sentence(file):
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="mine.toml cannot be read"):
        experiment_of(str(file))


# Overrides ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, value", [
    ("recipe.search.steps=7", 7), (" recipe.search.steps = 7", 7),
])
def test_override_reaches_a_nested_key(file, text, value):
    experiment, table = experiment_of(str(file), [text])
    assert experiment.recipe.search.steps == table["recipe"]["search"]["steps"] == value


def test_overrides_are_toml_values_or_plain_words(file):
    overrides = ["seeds=[3, 4]", "name=other", "recipe.float.weights={ lr = 0.5 }", "references.random=false"]
    experiment, _ = experiment_of(str(file), overrides)
    assert (experiment.seeds, experiment.name) == ((3, 4), "other")
    assert experiment.recipe.float.weights.lr == 0.5
    assert experiment.references.random is False


def test_override_may_name_another_space(file):
    _, table = experiment_of(str(file), ["space=digits_cnn_channel"])
    assert table["space"]["rules"][0]["match"] == "*"
    assert table["space"] != {"rules": [{"match": "*", "weights": [2, 8]}]}


@pytest.mark.parametrize("text, words", [
    ("recipe.search.steps", "is not of the form key=value"),
    ("=3", "is not of the form key=value"),
    ("name.first=3", "'name' is not a table"),
    ("budgets.0.weight_bytes=3", "'budgets' is not a table"),
    ("recipe.search.stepz=3", "unknown key 'recipe.search.stepz'; nearest: 'steps'"),
])
def test_override_that_cannot_be_applied_is_a_sentence(file, text, words):
    with pytest.raises(ConfigError, match=words):
        experiment_of(str(file), [text])


# What is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path, key, nearest", [
    ("contollers", "contollers", "controllers"),
    ("recipe__float__stpes", "recipe.float.stpes", "steps"),
    ("recipe__serch", "recipe.serch", "search"),
    ("recipe__search__weights__lrr", "recipe.search.weights.lrr", "lr"),
    ("recipe__float__weights__warm", "recipe.float.weights.warm", "warmup"),
    ("recipe__search__ramp", "recipe.search.ramp.shar", "share"),
    ("references__unifrom", "references.unifrom", "uniform"),
])
def test_unknown_key_is_named_with_its_path_and_the_nearest(path, key, nearest):
    value = {"shar": 0.5} if path.endswith("ramp") else 1
    message = refused(**{path: value})
    assert message.startswith(f"my.toml: unknown key '{key}'; nearest: '{nearest}'")


def test_missing_key_is_named():
    table = changed()
    del table["data"]
    with pytest.raises(ConfigError, match="my.toml: key 'data' is missing. Add it."):
        read_experiment(table, "my.toml")
    del table["recipe"]["float"]["steps"]
    table["data"] = "digits"
    with pytest.raises(ConfigError, match="key 'recipe.float.steps' is missing"):
        read_experiment(table, "my.toml")


def test_missing_space_of_a_file_is_a_missing_key(file):
    file.write_text(MINIMAL.replace('space = "rules"\n', ""))
    with pytest.raises(ConfigError, match="key 'space' is missing"):
        experiment_of(str(file))


@pytest.mark.parametrize("changes, words", [
    ({"recipe__float__steps": "many"}, "'recipe.float.steps' = 'many' is wrong: .*valid integer"),
    ({"recipe__search__weights__lr": [1]}, r"'recipe.search.weights.lr' = \[1\] is wrong"),
    ({"budgets": [{"weight_bytes": [1]}]}, r"'budgets.0.weight_bytes' = \[1\] is wrong"),
    ({"recipe__float": 3}, "'recipe.float' = 3 is wrong"),
    ({"seeds": "all"}, "'seeds' = 'all' is wrong"),
    ({"recipe__float__weights__name": "adamm"}, "'recipe.float.weights.name' = 'adamm' is wrong: .*'adamw'"),
    ({"seeds": [0, 0]}, r"seeds must be different and >= 0, got seeds = \[0, 0\]"),
    ({"seeds": [-1]}, "seeds must be different and >= 0"),
    ({"seeds": [2**32]}, r"got seeds = \[4294967296\].*all below 2\^32"),
    ({"float_seeds": [-2]}, r"float_seeds = \[-2\]"),
    ({"seeds": []}, "experiment 'tiny' needs at least one controller, one budget and one seed"),
    ({"references__uniform": [0]}, r"references.uniform = \[0\] asks for 0 bits; allowed are 1, 2"),
    ({"checkpoint_every": 0}, "checkpoint_every must be >= 1, got 0"),
    ({"budgets": [{"weight_byte": 0.1}]}, "unknown cost 'weight_byte'; nearest: 'weight_bytes'"),
    ({"budgets": [{"weight_bytes": float("nan")}]}, "budget weight_bytes = nan must be > 0 and finite"),
    ({"budgets": [{"weight_bytes": 0}]}, "budget weight_bytes = 0.* must be > 0"),
    ({"recipe__start": "middle"}, "recipe.start must be 'float' or 'search', got 'middle'"),
    ({"recipe__search__arch": None}, "recipe.search has no 'arch' optimizer"),
    ({"recipe__float": None}, "neither recipe.float nor weights"),
    ({"recipe__float__batch": 0}, "batch >= 1, got 12 and 0"),
    ({"recipe__float__weights__lr": float("nan")}, "needs lr > 0"),
])
def test_wrong_value_is_a_sentence_with_key_and_value(changes, words):
    message = refused(**changes)
    assert re.search(words, message), message


def test_experiment_that_is_no_table_is_a_sentence():
    with pytest.raises(ConfigError, match=r"my.toml: \[\] is wrong"):
        read_experiment([], "my.toml")


# Controllers and rules ----------------------------------------------------------------------------


def test_controller_takes_its_options():
    assert controller_of("dbp") == ("dbp", DBP())
    spec = {"name": "gumbel", "tau": {"start": 3.0, "end": 0.5}, "hard": True}
    assert controller_of(spec) == ("gumbel", Gumbel(tau=Exponential(3.0, 0.5), hard=True))
    assert spec["name"] == "gumbel", "the table of the plan is not changed"


@pytest.mark.parametrize("spec, words", [
    ("gumble", "unknown controller 'gumble'; nearest: 'gumbel'"),
    ({"hard": True}, "unknown controller ''"),
    ({"name": "dbp", "treshold": 0.1}, "controller 'dbp': unknown key 'treshold'; nearest: 'threshold'"),
    ({"name": "gumbel", "tau": {"start": 2.0, "stop": 1.0}}, "unknown key 'tau.stop'; nearest: .*'start'"),
    ({"name": "dbp", "threshold": 2.0}, "DBP needs .*threshold < 1"),
])
def test_wrong_controller_is_refused_with_the_experiment(spec, words):
    with pytest.raises(ConfigError, match=words):
        read_experiment(changed(controllers=[spec]), "my.toml")


@pytest.mark.parametrize("name", ["random", "uniform"])
def test_baseline_is_no_controller(name):
    message = refused(controllers=[name])
    assert f"controller '{name}' does not search; controllers that do: " in message
    assert "[references]" in message


@pytest.mark.parametrize("spec", ["evolution", "optuna", "random_search", "importance", "sensitivity"])
def test_controllers_that_train_no_logits_need_no_search_phase(spec):
    table = changed(controllers=[spec])
    del table["recipe"]["search"]
    experiment = read_experiment(table, "my.toml")
    assert experiment.recipe.search is None
    table["controllers"].append("gumbel")
    with pytest.raises(ConfigError, match="no 'arch' optimizer, so controller 'gumbel' would search nothing"):
        read_experiment(table, "my.toml")


@pytest.mark.parametrize("spec, words", [
    ("evolutoin", "unknown controller 'evolutoin'; nearest: 'evolution'"),
    ({"name": "evolution", "populaton": 3}, "unknown key 'populaton'; nearest: 'population'"),
    ({"name": "evolution", "parents": 99}, "Evolution needs .*parents <= population"),
    ({"name": "sensitivity", "measure": "fischer"}, "'measure' = 'fischer' is wrong: .*'fisher'"),
    ({"name": "importance", "first": 2.0}, "Importance needs 0 < first < 1"),
])
def test_wrong_settings_of_a_controller_without_gradients_are_a_sentence(spec, words):
    assert re.search(words, refused(controllers=[spec]))


@pytest.mark.parametrize("rule, words", [
    ({"match": "*", "wieghts": [2]}, "rule 2 of the space: unknown key 'wieghts'; nearest: 'weights'"),
    ({"match": "*", "weights": ["two"]}, "rule 2 of the space: 'weights.0' = 'two' is wrong"),
    ({"weights": [2]}, "rule 2 of the space: key 'match' is missing"),
    ("*", "rule 2 of the space: '\\*' is wrong"),
])
def test_wrong_rule_is_named_by_its_number(rule, words):
    experiment = read_experiment(changed(space={"rules": [{"match": "*"}, rule]}), "my.toml")
    with pytest.raises(ConfigError, match=words):
        rules_of(experiment)


def test_rule_with_bits_that_do_not_exist_is_refused():
    experiment = read_experiment(changed(space={"rules": [{"match": "*", "weights": [9]}]}), "my.toml")
    with pytest.raises(SearchSpaceError, match="offers 9 bits"):
        rules_of(experiment)


@pytest.mark.parametrize("space", [{"rule": []}, {"rules": [], "more": 1}, {"rules": 3}, {}])
def test_space_is_a_list_of_rules_and_nothing_else(space):
    with pytest.raises(ConfigError, match=r"list of \[\[rules\]\], and `ends` for"):
        rules_of(read_experiment(changed(space=space), "my.toml"))


# Files --------------------------------------------------------------------------------------------


def test_nothing_in_a_file_is_evaluated(file, tmp_path):
    file.write_text(MINIMAL.replace('"mlp"', '"__import__(\'os\')"'))
    experiment, _ = experiment_of(str(file))
    with pytest.raises(ConfigError, match="unknown model"):
        model_of(experiment, 0)


def test_messages_have_no_stray_indentation():
    for message in (refused(seeds=[]), refused(recipe__start="x")):
        assert "\n" not in message
        assert "  " not in message


def test_nesting_without_end_is_a_sentence(tmp_path):
    (tmp_path / "deep.toml").write_text("a=" + "[" * 5000 + "]" * 5000)
    with pytest.raises(ConfigError, match="nests its values too deeply"):
        experiment_of(str(tmp_path / "deep.toml"))


def test_one_key_pins_the_first_and_the_last_layer(file):
    experiment, _ = experiment_of(str(file), ["space={rules=[{match='*', weights=[2, 8]}], ends=8}"])
    last = rules_of(experiment)[-1]
    assert (last.match, last.weights, last.activations) == ("@ends", (8,), (8,))
    wrong, _ = experiment_of(str(file), ["space={rules=[{match='*', weights=[2, 8]}], ends=9}"])
    with pytest.raises((ConfigError, SearchSpaceError), match="9"):
        rules_of(wrong)
