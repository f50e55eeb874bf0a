"""Tests of mpnas/sweep/named.py."""

import sys

import numpy as np
import pytest
import tiny_plan
from flax import nnx

from mpnas.errors import ConfigError, DataError, SearchSpaceError
from mpnas.models import DigitsCNN
from mpnas.sweep.bench import bench_of
from mpnas.sweep.config import read_experiment
from mpnas.sweep.named import data_of, model_of, own_callable


def test_model_has_the_weights_that_the_seed_draws():
    experiment = read_experiment(tiny_plan.table(model={"name": "digits_cnn", "width": 4}), "my.toml")
    one, same, other = (model_of(experiment, seed) for seed in (0, 0, 1))
    assert isinstance(one, DigitsCNN)
    assert one.stem.kernel[...].shape == (3, 3, 1, 4)
    np.testing.assert_array_equal(one.stem.kernel[...], same.stem.kernel[...])
    assert np.any(one.stem.kernel[...] != other.stem.kernel[...])


@pytest.mark.parametrize("model, words", [
    ("mpl", "unknown model 'mpl'; nearest: 'mlp'"),
    ({"name": "mlp", "width": 3}, "model 'mlp' cannot be built with {'width': 3}"),
    ({"name": "mlp", "features": [3]}, "cannot be built with .*at least an input and an output width"),
])
def test_wrong_model_is_a_sentence(model, words):
    experiment = read_experiment(tiny_plan.table(model=model), "my.toml")
    with pytest.raises(ConfigError, match=words):
        model_of(experiment, 0)


def test_unknown_data_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown data 'digit'; nearest: .*'digits'"):
        data_of(read_experiment(tiny_plan.table(data="digit"), "my.toml"), None)


OWN = """
import numpy as np
from flax import nnx

number = 3


class Net(nnx.Module):
    def __init__(self, width, rngs):
        self.dense = nnx.Linear(4, width, rngs=rngs)

    def __call__(self, x):
        return self.dense(x)


def build(*, rngs, width=2):
    return Net(width, rngs)


def without_seed():
    return Net(2, nnx.Rngs(0))


def nothing(*, rngs):
    return None


def batches():
    x = np.arange(80, dtype=np.float32).reshape(20, 4)
    return x, np.arange(20) % 2


def no_batches():
    return 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module of one's own, in which mpnas is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"own_net_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / "needs_more.py").write_text("import a_package_that_nobody_has\n")
    return name


def test_model_and_data_of_ones_own(own):
    experiment = read_experiment(
        tiny_plan.table(model={"name": f"{own}:build", "width": 3}, data=f"{own}:batches"), "my.toml"
    )
    model = model_of(experiment, 0)
    assert isinstance(model, nnx.Module)
    assert model.dense.kernel[...].shape == (4, 3)
    data = data_of(experiment, None)
    assert (data.classes, data.rows("train"), data.rows("select"), data.rows("test")) == (2, 12, 4, 4)
    assert data.name == f"{own}:batches"


@pytest.mark.parametrize("attribute, words", [
    ("without_seed", "takes no argument 'rngs'. Write it as def build"),
    ("nothing", "built a NoneType. Return a flax.nnx.Module"),
    ("biuld", "has no callable 'biuld'; nearest: 'build'"),
    ("number", "has no callable 'number'"),
    ("", 'is not of the form "module:callable"'),
])
def test_wrong_callable_of_ones_own_is_a_sentence(own, attribute, words):
    experiment = read_experiment(tiny_plan.table(model=f"{own}:{attribute}"), "my.toml")
    with pytest.raises(ConfigError, match=words):
        model_of(experiment, 0)


def test_missing_module_names_the_folder(own, tmp_path):
    with pytest.raises(ConfigError, match=f"there is no module 'own_nte' here .{tmp_path}"):
        own_callable("own_nte:build", "model")
    with pytest.raises(ConfigError, match="there is no module 'own_nte.net'"):
        own_callable("own_nte.net:build", "model")


@pytest.mark.parametrize("name", [":build", "net:", ".net:build", ":"])
def test_half_a_callable_is_a_sentence(own, name):
    with pytest.raises(ConfigError, match='is not of the form "module:callable"'):
        own_callable(name, "model")


def test_module_that_misses_one_of_its_own_is_named_with_what_it_misses(own):
    with pytest.raises(ConfigError, match="'needs_more' fails: .*a_package_that_nobody_has"):
        own_callable("needs_more:build", "model")


def test_data_of_ones_own_that_is_no_data_is_a_sentence(own):
    with pytest.raises(DataError, match="needs a Dataset, a mapping with 'train' or a tuple"):
        data_of(read_experiment(tiny_plan.table(data=f"{own}:no_batches"), "my.toml"), None)


ODD = """
from flax import nnx
import numpy as np


class Net(nnx.Module):
    def __init__(self, rngs, answer):
        self.head, self.answer = nnx.Linear(4, 3, rngs=rngs), answer

    def __call__(self, x):
        return self.answer(self.head(x))


def pair(*, rngs): return Net(rngs, lambda y: (y, y))
def cut(*, rngs): return Net(rngs, lambda y: y[:4])
def picks(*, rngs): return Net(rngs, lambda y: y.argmax(1))
def narrow(*, rngs): return Net(rngs, lambda y: y[:, :2])
def two_rows(*, rngs): return Net(rngs, lambda y: y.reshape(2, -1))
def breaks(*, rngs): return Net(rngs, lambda y: {}["gone"])
def unbuilt(*, rngs): raise RuntimeError("no plan")
def leaves(*, rngs): raise SystemExit(7)


def rows(): return np.ones((40, 4)), np.arange(40) % 3
def broken_rows(): return 1 / 0
"""


@pytest.mark.parametrize(
    "key, name, words",
    [
        ("model", "pair", "answers 7 inputs with tuple"),
        ("model", "cut", r"with float32 of shape \(4, 3\)"),
        ("model", "picks", r"with int32 of shape \(7,\)"),
        ("model", "narrow", "has 2 outputs, but data set 'own_net:rows' has labels up to 2"),
        ("model", "two_rows", "cannot be called on a batch of 7 rows"),
        ("model", "breaks", "cannot be called on inputs of shape .*KeyError: 'gone'"),
        ("model", "unbuilt", r"cannot be built with {}: RuntimeError: no plan \(.*own_net.py, line \d+\)"),
        ("model", "leaves", "SystemExit: 7"),
        ("data", "broken_rows", r"cannot be made: ZeroDivisionError: .* \(.*own_net.py, line \d+\)"),
    ],
)
def test_what_own_code_raises_or_returns_is_a_sentence(tmp_path, monkeypatch, key, name, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_net", raising=False)
    (tmp_path / "own_net.py").write_text(ODD)
    own = {"model": "own_net:pair", "data": "own_net:rows"} | {key: f"own_net:{name}"}
    with pytest.raises((ConfigError, SearchSpaceError), match=words):
        bench_of(tiny_plan.plan(name=name, **own))


@pytest.mark.parametrize("text", ["raise RuntimeError('at import')", "def f(:", "import no_such_thing"])
def test_a_module_that_fails_is_a_sentence(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_net.py").write_text(text)
    with pytest.raises(ConfigError, match="module 'failing_net' fails: "):
        own_callable("failing_net:build", "model")
