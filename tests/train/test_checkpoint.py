"""Tests of mpnas/train/checkpoint.py."""

import json
import logging
import os
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from mpnas.errors import CheckpointError
from mpnas.train import Checkpoints
from mpnas.train.checkpoint import filled, load


def tree(value=0.0):
    return {
        "w": jnp.arange(6000, dtype=jnp.float32).reshape(60, 100) + value,
        "half": jnp.array([1.5, -2.25, 3e38], jnp.bfloat16),
        "codes": jnp.array([-128, 0, 127], jnp.int8),
        "step": jnp.int32(7),
        "key": jax.random.key(3),
        "nested": {"raw": jax.random.PRNGKey(5)},
    }


@pytest.fixture
def folder(tmp_path):
    """Steps 10 and 20 of a trial."""
    home = tmp_path / "trial" / "checkpoint"
    with Checkpoints(home) as checkpoints:
        checkpoints.save(10, tree(10.0), {"stage": "search", "limits": {"weight_bytes": 0.1}})
        checkpoints.save(20, tree(20.0), {"stage": "retrain"})
    return home


def newest(folder):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.latest()


def data_file(folder, step):
    """The file that holds the arrays of a step: the largest one."""
    files = [path for path in (folder / f"step_{step:08d}" / "state").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def meta_file(folder, step):
    return next(path for path in (folder / f"step_{step:08d}" / "meta").rglob("*") if path.is_file())


def flip(path, where):
    content = bytearray(path.read_bytes())
    content[where(len(content))] ^= 0x10
    path.write_bytes(content)


def test_every_kind_of_leaf_comes_back_in_every_bit(folder):
    step, arrays, meta = newest(folder)
    assert (step, meta) == (20, {"stage": "retrain"})
    found = filled(tree(), arrays, folder)
    original = tree(20.0)
    assert found["half"].dtype == jnp.bfloat16
    assert arrays["['half']"].dtype == np.dtype(ml_dtypes.bfloat16)
    assert jax.dtypes.issubdtype(found["key"].dtype, jax.dtypes.prng_key)
    for name in ("w", "half", "codes", "step"):
        assert found[name].dtype == original[name].dtype
        assert np.asarray(found[name]).tobytes() == np.asarray(original[name]).tobytes()
    np.testing.assert_array_equal(jax.random.bits(found["key"], (3,)), jax.random.bits(original["key"], (3,)))
    np.testing.assert_array_equal(found["nested"]["raw"], original["nested"]["raw"])


def test_only_the_last_two_steps_are_kept(folder):
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(30, tree(30.0), {})
    assert sorted(path.name for path in folder.iterdir()) == ["step_00000020", "step_00000030"]


@pytest.mark.parametrize("step", [20, 19, 0])
def test_step_that_does_not_grow_is_refused_aloud(folder, step):
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(CheckpointError, match=rf"step {step} cannot be saved .* holds step 20"):
            checkpoints.save(step, tree(), {})
    assert newest(folder)[0] == 20


@pytest.mark.parametrize("after, left", [(0, []), (10, [10]), (15, [10]), (20, [10, 20])])
def test_run_that_goes_back_forgets_the_steps_behind_and_writes_them_again(folder, after, left):
    with Checkpoints(folder) as checkpoints:
        checkpoints.forget(after)
        found = checkpoints.latest()
        assert (found[0] if found else None) == (left[-1] if left else None)
        if after < 20:
            checkpoints.save(after + 1, tree(7.0), {"again": True})
            assert checkpoints.latest()[0] == after + 1
    assert sorted(int(path.name[5:]) for path in folder.iterdir()) == left + [after + 1] * (after < 20)


def assert_older_is_taken(folder, caplog):
    with caplog.at_level(logging.WARNING, "mpnas.train.checkpoint"):
        step, arrays, meta = newest(folder)
    assert step == 10
    assert meta == {"stage": "search", "limits": {"weight_bytes": 0.1}}
    assert arrays["['w']"][0, 1] == 11.0
    assert "checkpoint 20 in" in caplog.text and "is damaged" in caplog.text
    assert (folder.parent / "damaged-step_00000020-0").is_dir()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_flipped_bit_in_array_data_is_noticed_and_an_older_step_taken(folder, caplog, share):
    flip(data_file(folder, 20), lambda size: int(share * size))
    assert_older_is_taken(folder, caplog)


def test_changed_description_is_noticed(folder, caplog):
    path = meta_file(folder, 20)
    path.write_text(path.read_text().replace('"retrain"', '"search"'))
    assert_older_is_taken(folder, caplog)


@pytest.mark.parametrize("keep", [0, 40])
def test_truncated_description_is_noticed(folder, caplog, keep):
    path = meta_file(folder, 20)
    path.write_bytes(path.read_bytes()[:keep])
    assert_older_is_taken(folder, caplog)


@pytest.mark.parametrize("keep", [0, 100])
def test_truncated_array_data_is_noticed(folder, caplog, keep):
    path = data_file(folder, 20)
    path.write_bytes(path.read_bytes()[:keep])
    assert_older_is_taken(folder, caplog)


@pytest.mark.parametrize("item", ["state", "meta"])
def test_half_deleted_step_is_set_aside(folder, caplog, item):
    shutil.rmtree(folder / "step_00000020" / item)
    assert_older_is_taken(folder, caplog)


def test_leaf_of_another_type_is_noticed(folder, caplog):
    path = meta_file(folder, 20)
    path.write_text(path.read_text().replace('"bfloat16"', '"float16"'))
    assert_older_is_taken(folder, caplog)


def test_unfinished_save_is_not_a_checkpoint(folder):
    shutil.copytree(folder / "step_00000020", folder / "step_00000030.orbax-checkpoint-tmp")
    assert newest(folder)[0] == 20
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(30, tree(30.0), {})
        assert checkpoints.latest()[0] == 30


def test_after_falling_back_the_same_step_can_be_written_again(folder):
    flip(data_file(folder, 20), lambda size: size // 2)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.latest()[0] == 10
        checkpoints.save(20, tree(21.0), {"again": True})
    step, arrays, meta = newest(folder)
    assert (step, meta, arrays["['w']"][0, 0]) == (20, {"again": True}, 21.0)


def test_damage_found_twice_gets_two_names(folder):
    for _ in range(2):
        flip(data_file(folder, 20), lambda size: size // 2)
        with Checkpoints(folder) as checkpoints:
            checkpoints.latest()
            checkpoints.save(20, tree(20.0), {})
    names = {path.name for path in folder.parent.iterdir() if path.name.startswith("damaged")}
    assert names == {"damaged-step_00000020-0", "damaged-step_00000020-1"}


def test_everything_damaged_is_nothing(folder):
    for step in (10, 20):
        flip(data_file(folder, step), lambda size: size // 2)
    assert newest(folder) is None
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be read. Run the trial again"):
        load(folder)


def test_trouble_of_the_machine_is_no_damage(folder, monkeypatch):
    def no_files_left(self, step):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Checkpoints, "_read", no_files_left)
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(OSError, match="Too many open files"):
            checkpoints.latest()
    assert (folder / "step_00000020").is_dir()


def test_reading_changes_nothing(folder):
    def listing():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = listing()
    load(folder)
    assert listing() == before


def test_reading_leaves_a_half_written_save_of_a_living_trial_and_damage_where_they_are(folder, caplog):
    shutil.copytree(folder / "step_00000020", folder / "step_00000030.orbax-checkpoint-tmp")
    flip(data_file(folder, 20), lambda size: size // 2)
    before = sorted(folder.parent.rglob("*"))
    caplog.clear()
    step, arrays, meta = load(folder)
    assert ["checkpoint 20" in one.getMessage() for one in caplog.records] == [True]
    assert (step, meta["stage"], arrays["['w']"][0, 0]) == (10, "search", 10.0)
    assert sorted(folder.parent.rglob("*")) == before


def test_missing_folder_is_a_sentence_and_is_not_made(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint folder .*nowhere. Check the path."):
        load(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("change, words", [
    (lambda t: t | {"w": jnp.zeros((60, 9))}, r"'\['w'\]' is float32\[60, 100\], expected float32\[60, 9\]"),
    (lambda t: t | {"half": jnp.zeros(3)}, r"leaf '\['half'\]' is bfloat16\[3\], expected float32\[3\]"),
    (lambda t: t | {"new": jnp.zeros(3)}, r"leaf '\['new'\]' is missing, expected float32\[3\]"),
    (lambda t: {k: v for k, v in t.items() if k != "codes"}, r"leaf '\['codes'\]' is not expected"),
], ids=["shape", "type", "missing", "surplus"])
def test_checkpoint_of_another_configuration_names_the_leaf(folder, change, words):
    _, arrays, _ = load(folder)
    with pytest.raises(CheckpointError, match=words + ".*written by another configuration"):
        filled(change(tree()), arrays, folder)


def test_restored_arrays_are_committed_to_one_device(folder):
    _, arrays, _ = load(folder)
    found = filled(tree(), arrays, folder)
    assert all(leaf.committed for leaf in jax.tree.leaves(found))


def test_nothing_is_pickled(folder):
    names = [path.name for path in folder.rglob("*")]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".npy"))]
    assert "leaves" in json.loads(meta_file(folder, 20).read_text())
    assert os.path.isabs(Checkpoints(folder).folder)
