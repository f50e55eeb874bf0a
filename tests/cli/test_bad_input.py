"""Bad input through the command line: exit code 2, one sentence, and nothing written."""

import json

import numpy as np
import pytest
import tiny_run

from mpnas.sweep.hold import held


@pytest.fixture
def changed(tmp_path):
    """Writes the tiny experiment with one text replaced."""

    def write(old, new):
        assert old in tiny_run.TOML
        path = tmp_path / "changed.toml"
        path.write_text(tiny_run.TOML.replace(old, new))
        return path

    return write


@pytest.fixture
def sweep_refused(refused, tmp_path):
    """Expects a sweep to be refused before its folder exists; returns the sentence."""

    def call(config, *more):
        sentence = refused("sweep", config, "--out", tmp_path / "out", *more)
        assert not (tmp_path / "out").exists() and not (tmp_path / "runs").exists()
        return sentence

    return call


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("steps = 12", "steps = 12\nsmothing = 0.1", "'recipe.float.smothing'; nearest: 'smoothing'"),
        ('name = "tiny"', 'name = "tiny"\nseed = [1]', "unknown key 'seed'; nearest: 'seeds'"),
        ("lr = 0.04", "rl = 0.04", "unknown key 'recipe.search.arch.rl'; nearest: 'lr'"),
        ("weights = [2, 4, 8]", "weight = [2, 4, 8]", "unknown key 'weight'; nearest: 'weights'"),
        ('"gumbel"', '{ name = "gumbel", tua = 1.0 }', "controller 'gumbel': unknown key 'tua'"),
        ("weights = [2, 4, 8]", "weights = [2, 9]", "offers 9 bits in 'weights'; allowed are 0, 1, 2"),
        ('match = "*"', 'match = "dens0"',
         "'dens0' matches none of the 3 layers of the model; nearest: 'dense0'"),
        ("weight_bytes = 0.5", "weight_bytes = 0.001", "cannot be met: this space reaches from"),
        ("weight_bytes = 0.5", "weight_byte = 0.5", "unknown cost 'weight_byte'; nearest: 'weight_bytes'"),
        ("weight_bytes = 0.5", 'weight_bytes = "5 stones"', "is no amount"),
        ('"gumbel"', '"gumble"', "unknown controller 'gumble'; nearest: 'gumbel'"),
        ('"gumbel"', '"random"', "controller 'random' does not search"),
        ('model = "mlp"', 'model = "mpl"', "unknown model 'mpl'; nearest: 'mlp'"),
        ('data = "digits"', 'data = "digit"', "unknown data 'digit'; nearest: 'digits'"),
        ('model = "mlp"', 'model = "no_such_module:build"', "there is no module 'no_such_module'"),
        ("steps = 12", "steps = -1", "steps >= 0"),
        ('name = "tiny"', "name = tiny", "is not TOML"),
        ('match = "*", weights = [2, 4, 8], activations = [8]', 'match = "*"', "open no choice"),
    ],
    ids=lambda text: None,
)
def test_a_wrong_experiment_is_refused_in_a_sentence(sweep_refused, changed, old, new, words):
    assert words in sweep_refused(changed(old, new))


@pytest.mark.parametrize(
    "override, words",
    [
        ("nonsense", "not of the form key=value"),
        ("=3", "not of the form key=value"),
        ("recipe.search.stops=3", "unknown key 'recipe.search.stops'; nearest: 'steps'"),
        ("recipe.search.steps=many", "'recipe.search.steps' = 'many' is wrong"),
        ("name.x=3", "'name' is not a table"),
        ("name=../up", "cannot be that of a folder"),
        ("space=no_such_space", "neither a file nor a bundled search space"),
    ],
)
def test_a_nonsense_override_is_refused(refused, tiny_toml, tmp_path, override, words):
    assert words in refused("sweep", tiny_toml, "--set", override)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_experiment_names_the_nearest(sweep_refused):
    assert "nearest: 'digits'" in sweep_refused("digit")


def test_an_impossible_budget_is_refused_by_every_verb_that_would_train(refused, tiny_toml, tmp_path):
    sentences = [
        refused("search", tiny_toml, "--controller", "gumbel", "--budget", "weight_bytes=1%"),
        refused("sweep", tiny_toml, "--set", "budgets=[{weight_bytes=0.01}]"),
    ]
    assert all("cannot be met: this space reaches from" in sentence for sentence in sentences)
    assert not (tmp_path / "runs").exists()


def test_a_missing_data_folder_is_named(sweep_refused, changed, tmp_path):
    config = changed('data = "digits"', 'data = "cifar10"')
    assert "CIFAR-10 needs a folder" in sweep_refused(config)
    assert f"{tmp_path / 'gone'} does not exist" in sweep_refused(config, "--data-dir", tmp_path / "gone")


def test_a_truncated_data_file_is_named(sweep_refused, changed, tmp_path):
    np.savez(tmp_path / "cifar10.npz", train_labels=np.zeros(50_000, np.uint8))
    whole = (tmp_path / "cifar10.npz").read_bytes()
    (tmp_path / "cifar10.npz").write_bytes(whole[: len(whole) // 2])
    sentence = sweep_refused(changed('data = "digits"', 'data = "cifar10"'), "--data-dir", tmp_path)
    assert "cifar10.npz cannot be read" in sentence and "incomplete" in sentence


def test_a_data_file_with_another_checksum_is_refused(sweep_refused, changed, tmp_path):
    np.savez(tmp_path / "cifar10.npz", train_labels=np.zeros(50_000, np.uint8))
    sentence = sweep_refused(changed('data = "digits"', 'data = "cifar10"'), "--data-dir", tmp_path)
    assert "expected SHA-256" in sentence


def test_weights_that_cannot_be_loaded_are_named(sweep_refused, changed):
    sentence = sweep_refused(changed('model = "mlp"', 'model = "mlp"\nweights = "gone.npz"'))
    assert "weights = 'gone.npz' cannot be loaded into model 'mlp'" in sentence


@pytest.mark.parametrize("verb", ["sweep", "search"])
def test_an_output_folder_that_cannot_be_written_is_named(refused, tiny_toml, tmp_path, verb):
    (tmp_path / "file").write_text("kept")
    more = ["--controller", "gumbel", "--budget", "weight_bytes=0.5"] if verb == "search" else []
    sentence = refused(verb, tiny_toml, "--out", tmp_path / "file" / "run", *more)
    assert "cannot be written" in sentence and "--out" in sentence
    assert (tmp_path / "file").read_text() == "kept"


def test_the_run_folder_of_another_plan_names_the_difference(refused, tiny_toml, own_run):
    before = (own_run / "plan.json").read_bytes()
    sentence = refused("sweep", tiny_toml, "--out", own_run, "--set", "recipe.retrain.steps=7")
    assert "recipe.retrain.steps (6 there, 7 now)" in sentence
    assert (own_run / "plan.json").read_bytes() == before


def test_a_folder_that_is_no_run_is_left_alone(refused, tiny_toml, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    assert "no run of mpnas" in refused("sweep", tiny_toml, "--out", tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("verb", ["sweep", "resume"])
def test_a_folder_that_another_run_holds_is_refused(refused, tiny_toml, own_run, verb):
    arguments = ["sweep", tiny_toml, "--out", own_run] if verb == "sweep" else ["resume", own_run]
    with held(own_run):
        assert "held by a living run" in refused(*arguments)


@pytest.mark.parametrize("verb", ["show", "validate", "pick"])
def test_a_front_of_another_schema_version_is_refused(refused, own_run, verb):
    front = json.loads((own_run / "front.json").read_text())
    (own_run / "front.json").write_text(json.dumps(front | {"schema": "mpnas.pareto/9.0"}))
    more = ["--max-drop", "1%"] if verb == "pick" else []
    assert "schema version 'mpnas.pareto/9.0'" in refused("pareto", verb, own_run, *more)


@pytest.mark.parametrize("verb", [("eval",), ("retrain",)])
def test_a_point_that_does_not_exist_names_those_that_do(refused, own_run, verb):
    sentence = refused(*verb, own_run, "--point", "p777")
    assert "no point 'p777'" in sentence and "points p000" in sentence and "r000, r001" in sentence
    assert not (own_run / "retrained").exists()


@pytest.mark.parametrize(
    "arguments",
    [("resume", "gone"), ("pareto", "show", "gone"), ("retrain", "gone", "--point", "p000"),
     ("eval", "gone", "--point", "p000"), ("eval", "gone")],
    ids=" ".join,
)
def test_what_is_not_there_is_named(refused, tmp_path, arguments):
    assert "gone" in refused(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [("sweep",), ("sweep", "digits", "--cpus", "0"), ("search", "digits"), ("eval", "--part", "x", "y")],
    ids=" ".join,
)
def test_wrong_usage_ends_with_code_2(mpnas, arguments):
    result = mpnas(*arguments)
    assert result.exit_code == 2 and "Usage:" in result.stderr


@pytest.mark.parametrize("verb", [("resume",), ("pareto", "show"), ("eval",)])
def test_a_loop_of_links_is_named(refused, tmp_path, verb):
    (tmp_path / "loop").symlink_to("loop")
    assert "loop" in refused(*verb, tmp_path / "loop", *(["--point", "p000"] if verb == ("eval",) else []))
