"""Tests of mpnas/models/resnet8.py."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mpnas.data.cifar10 import decode
from mpnas.models import ResNet8, load_mlperf_tiny
from mpnas.models.resnet8 import KERAS_LAYERS, KERAS_VARIABLES

NUMBERS = 78_666  # MLPerf Tiny's count, running statistics included
DATA = Path(os.environ.get("MPNAS_DATA", Path(__file__).parents[2] / "../shared/data"))


def leaves(model):
    return jax.tree.leaves(nnx.state(model))


def archive_of(model):
    """An archive as MLPerf Tiny's, in which every array holds another constant."""
    arrays = {}
    layers = {".".join(map(str, path)): layer for path, layer in nnx.iter_modules(model)}
    for number, (ours, keras) in enumerate(KERAS_LAYERS.items()):
        names = KERAS_VARIABLES if "bn" in ours else {"kernel": "kernel", "bias": "bias"}
        for place, (variable, keras_variable) in enumerate(names.items()):
            shape = getattr(layers[ours], variable).shape
            value = np.full(shape, 10 * number + place, np.float32)
            arrays[f"resnet8_keras/{keras}/{keras_variable}"] = value
    return arrays


def test_size_is_mlperf_tinys(flax_mode):
    assert sum(leaf.size for leaf in leaves(ResNet8(rngs=nnx.Rngs(0)))) == NUMBERS


def test_image_is_halved_twice():
    model = ResNet8(classes=5, rngs=nnx.Rngs(0))
    model.eval()
    seen = jax.eval_shape(
        lambda x: model.block3(model.block2(model.block1(model.stem(x)))), jnp.zeros((2, 32, 32, 3))
    )
    assert seen.shape == (2, 8, 8, 64)
    assert jax.eval_shape(model, jnp.zeros((2, 32, 32, 3))).shape == (2, 5)


def test_loading_fills_every_number_from_the_layer_of_its_name(tmp_path, flax_mode):
    model = ResNet8(rngs=nnx.Rngs(0))
    np.savez(tmp_path / "weights.npz", **archive_of(model))
    assert load_mlperf_tiny(model, tmp_path / "weights.npz") is model
    assert len({float(leaf.ravel()[0]) for leaf in leaves(model)}) == len(leaves(model))
    names = list(KERAS_LAYERS)
    assert float(model.block2.shortcut.kernel[0, 0, 0, 0]) == 10 * names.index("block2.shortcut")
    assert float(model.block3.bn2.var[0]) == 10 * names.index("block3.bn2") + 3


def test_absent_array_is_named_and_nothing_is_changed(tmp_path):
    model = ResNet8(rngs=nnx.Rngs(0))
    before = [np.asarray(leaf) for leaf in leaves(model)]
    arrays = archive_of(model)
    del arrays["resnet8_keras/dense/bias"]
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(ValueError, match="no array 'resnet8_keras/dense/bias'"):
        load_mlperf_tiny(model, tmp_path / "weights.npz")
    for old, new in zip(before, leaves(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_network_of_other_classes_is_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", **archive_of(ResNet8(rngs=nnx.Rngs(0))))
    with pytest.raises(ValueError, match=r"shape \(64, 10\), but the network needs \(64, 3\)"):
        load_mlperf_tiny(ResNet8(classes=3, rngs=nnx.Rngs(0)), tmp_path / "weights.npz")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        load_mlperf_tiny(ResNet8(rngs=nnx.Rngs(0)), tmp_path / "nowhere.npz")


@pytest.mark.slow
@pytest.mark.skipif(
    not (DATA / "mlperf_tiny/resnet8.npz").is_file() or not (DATA / "cifar10.npz").is_file(),
    reason="needs cifar10.npz and mlperf_tiny/resnet8.npz",
)
def test_published_weights_reach_the_published_accuracy():
    model = load_mlperf_tiny(ResNet8(rngs=nnx.Rngs(0)), DATA / "mlperf_tiny/resnet8.npz")
    model.eval()
    graphdef, state = nnx.split(model)
    predict = jax.jit(lambda x: jax.nn.softmax(nnx.merge(graphdef, state)(x)))
    with np.load(DATA / "cifar10.npz", allow_pickle=False) as archive:
        x, y = decode(archive["test_images_delta"]), archive["test_labels"]
    probabilities = np.concatenate(
        [predict(x[start : start + 500].astype(np.float32)) for start in range(0, len(x), 500)]
    )
    accuracy = 100 * (probabilities.argmax(axis=1) == y).mean()
    assert accuracy == pytest.approx(87.19, abs=0.05)
    with np.load(DATA / "mlperf_tiny/ic01.npz", allow_pickle=False) as archive:
        np.testing.assert_allclose(probabilities, archive["fp32_prob"], atol=1e-4)
