"""Tests of mpnas/sweep/teaching.py."""

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
import tiny_run  # noqa: E402

from mpnas.errors import CheckpointError, ConfigError  # noqa: E402
from mpnas.pareto import load  # noqa: E402
from mpnas.space import Assignment  # noqa: E402
from mpnas.sweep.bench import bench_of  # noqa: E402
from mpnas.sweep.made_from import made_from  # noqa: E402
from mpnas.sweep.plan import load_plan, save_plan  # noqa: E402
from mpnas.sweep.retraining import retrain_point  # noqa: E402
from mpnas.sweep.teaching import teacher_named  # noqa: E402
from mpnas.train import Checkpoints, Teacher, one_hot_gates  # noqa: E402
from mpnas.train.checkpoint import filled  # noqa: E402
from mpnas.train.checkpoint import load as load_checkpoint  # noqa: E402

OWN = '''
import jax.numpy as jnp
import numpy as np
from flax import nnx

NOT_CALLED = 3


def logits(x):
    return jnp.reshape(x, (x.shape[0], -1))[:, :10] * 2


def five(x):
    return jnp.zeros((x.shape[0], 5))


def nothing(x):
    return None


def with_numpy(x):
    return jnp.asarray(np.asarray(x).reshape(len(x), -1)[:, :10])


class Net(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.layer(jnp.reshape(x, (x.shape[0], -1)))


def build(*, rngs):
    return Net(rngs)


def built():
    return Net(nnx.Rngs(3))


def wrong_kind():
    return "a teacher"


def fails(*, rngs):
    raise RuntimeError("no such file")


net = Net(nnx.Rngs(3))
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A copy of the finished tiny run."""
    return Path(shutil.copytree(tiny_run.finished(), tmp_path_factory.mktemp("teaching") / "run"))


@pytest.fixture(scope="module")
def bench(run):
    return bench_of(load_plan(run))


@pytest.fixture(scope="module")
def floats(run, bench):
    home = run / "trials" / "float-s0" / "checkpoint"
    return Teacher(bench.plain, filled(bench.plain.parts, load_checkpoint(home)[1], home))


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_teacher.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_teacher", None)


def outputs(teacher, x):
    return np.asarray(teacher.net.apply(teacher.parts, {}, x, train=False)[0])


def test_the_float_network_is_the_one_of_the_run(bench, floats):
    assert teacher_named("float", bench, floats, 0) is floats


@pytest.mark.parametrize("text", ["trials/float-s0/checkpoint", "trials/float-s0"])
def test_a_float_checkpoint_answers_as_the_float_network(run, bench, floats, text):
    x = bench.data.example(5)
    found = teacher_named(str(run / text), bench, floats, 0)
    np.testing.assert_array_equal(outputs(found, x), outputs(floats, x))


def test_a_checkpoint_of_an_assignment_answers_as_that_network(run, bench, floats):
    point = load(run / "front.json")["points"][0]
    home = run / point["artifacts"]["checkpoint"]
    found = teacher_named(str(home), bench, floats, 0)
    gates = one_hot_gates(bench.net, Assignment.from_json(point["assignment"]))
    x = bench.data.example(5)
    parts = filled(bench.net.parts, load_checkpoint(home)[1], home)
    expected = np.asarray(bench.net.apply(parts, gates, x, train=False)[0])
    np.testing.assert_array_equal(outputs(found, x), expected)
    assert not np.array_equal(expected, outputs(floats, x))


def test_a_function_a_module_and_builders_can_teach(bench, floats, own):
    x = bench.data.example(5)
    wanted = 2 * x.reshape(5, -1)[:, :10]
    np.testing.assert_allclose(outputs(teacher_named("own_teacher:logits", bench, floats, 0), x), wanted)
    net = outputs(teacher_named("own_teacher:net", bench, floats, 0), x)
    np.testing.assert_array_equal(net, outputs(teacher_named("own_teacher:built", bench, floats, 0), x))
    seeded = outputs(teacher_named("own_teacher:build", bench, floats, 3), x)
    np.testing.assert_array_equal(net, seeded)


@pytest.mark.parametrize("name, words", [
    ("five", r"answers 7 inputs with shape \(7, 5\), but the network that learns has logits"),
    ("nothing", "answers 7 inputs with NoneType"),
    ("with_numpy", "must be written with jax"),
    ("wrong_kind", "takes no inputs and built a str"),
    ("fails", "cannot be built: RuntimeError: no such file"),
    ("NOT_CALLED", "has no callable 'NOT_CALLED'"),
    ("logit", "nearest: 'logits'"),
])
def test_a_callable_that_cannot_teach_is_refused_in_a_sentence(bench, floats, own, name, words):
    with pytest.raises(ConfigError, match=words):
        teacher_named(f"own_teacher:{name}", bench, floats, 0)


def test_a_name_of_nothing_says_what_there_is(bench, floats):
    with pytest.raises(ConfigError, match="neither 'float', nor a checkpoint folder, nor of the form"):
        teacher_named("flaot", bench, floats, 0)


def test_a_folder_without_checkpoints_is_refused(bench, floats, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        teacher_named(str(tmp_path), bench, floats, 0)


def test_a_training_that_is_not_over_cannot_teach(bench, floats, tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(3, floats.parts, {"stage": "retrain"})
    with pytest.raises(CheckpointError, match="of stage 'retrain', a training that is not over"):
        teacher_named(str(tmp_path / "c"), bench, floats, 0)


def test_a_checkpoint_of_another_network_is_refused(bench, floats, tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(3, {"kernel": np.ones((3, 3), np.float32)}, {"stage": "final"})
    with pytest.raises(CheckpointError, match="does not fit"):
        teacher_named(str(tmp_path / "c"), bench, floats, 0)


def test_a_checkpoint_in_another_run_is_of_the_network_of_that_run(bench, floats, tmp_path):
    plan = tiny_run.planned(tmp_path, 'model={ name = "mlp", features = [64, 24, 10] }')
    other = bench_of(plan)
    assert jax.tree.map(np.shape, other.plain.parts) != jax.tree.map(np.shape, bench.plain.parts)
    save_plan(plan, tmp_path / "other", made_from(plan, other))
    home = tmp_path / "other" / "trials" / "float-s0" / "checkpoint"
    with Checkpoints(home) as checkpoints:
        checkpoints.save(1, other.plain.parts, {"stage": "final"})
    x = bench.data.example(5)
    found = teacher_named(str(home), bench, floats, 0)
    expected = np.asarray(other.plain.apply(other.plain.parts, {}, x, train=False)[0])
    np.testing.assert_array_equal(outputs(found, x), expected)


def test_a_point_learns_from_a_function_of_ones_own(run, own):
    front = load(run / "front.json")
    short = ["recipe.retrain.steps=3"]
    taught = retrain_point(run, front, "p000", short, recipe="distil", teacher="own_teacher:logits")
    assert taught.document["teacher"] == "own_teacher:logits"
    arrays = load_checkpoint(taught.folder / "seed0" / "checkpoint")[1]
    plain = retrain_point(run, front, "p000", short, recipe="distil")
    others = load_checkpoint(plain.folder / "seed0" / "checkpoint")[1]
    assert any(not np.array_equal(arrays[name], others[name]) for name in arrays)
    with pytest.raises(ConfigError, match="answers with logits only"):
        retrain_point(run, front, "p000", short, recipe="one-to-one", teacher="own_teacher:logits")
    told = [json.loads((one.folder / "result.json").read_text())["teacher"] for one in (taught, plain)]
    assert told == ["own_teacher:logits", "float"]
