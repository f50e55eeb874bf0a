"""The executors on a network and on outputs that nobody here made: MLPerf Tiny's int8 ResNet-8.

Over all 10,000 test images of CIFAR-10 the class of every output is that of TFLite's reference kernels; the
suite, which compiles without optimisation, takes the first 2,000.
"""

import numpy as np
import pytest
from mlperf_tiny import Importer

from mpnas.data.cifar10 import decode
from mpnas.export import compiled, integer

CLASSES, IMAGES = 2000, 500


@pytest.fixture(scope="module")
def graph(data_folder):
    return Importer(data_folder / "mlperf_tiny/resnet8.npz").graph()


@pytest.fixture(scope="module")
def everything(data_folder):
    with np.load(data_folder / "cifar10.npz", allow_pickle=False) as archive:
        return decode(archive["test_images_delta"]).astype(np.float32)


@pytest.fixture(scope="module")
def images(everything):
    return everything[:IMAGES]


def agreement(logits, stored):
    """Share of images whose largest logit is a largest one of the stored softmax outputs."""
    picked = np.take_along_axis(stored, np.argmax(logits, axis=1)[:, None], axis=1)[:, 0]
    return np.mean(picked == stored.max(axis=1))


@pytest.mark.slow
def test_classes_are_those_of_the_reference_kernels(graph, everything, data_folder):
    with np.load(data_folder / "mlperf_tiny/ic01.npz", allow_pickle=False) as archive:
        stored = archive["int8_out"]
    run = compiled.compiled(graph)
    assert len(everything) == len(stored) == 10_000
    parts = [np.asarray(run(everything[at: at + IMAGES])) for at in range(0, CLASSES, IMAGES)]
    logits = np.concatenate(parts)
    assert agreement(logits, stored[:CLASSES]) == 1.0
    assert len(set(np.argmax(logits, axis=1))) == 10


def test_softmax_of_the_logits_is_the_stored_output(graph, images, data_folder):
    """Within one of 256 steps: TFLite's softmax is an integer approximation of the real one.

    A logit that is one step off moves a share of a half by 11 steps.
    """
    with np.load(data_folder / "mlperf_tiny/ic01.npz", allow_pickle=False) as archive:
        stored = archive["int8_out"][:IMAGES]
    logits = np.asarray(compiled.compiled(graph)(images), np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = odds / odds.sum(axis=1, keepdims=True)
    assert np.abs(np.clip(np.rint(shares * 256) - 128, -128, 127) - stored).max() <= 1


def test_both_executors_give_the_same_integers_everywhere(graph, images):
    expected = integer.every_tensor(graph, images[:4])
    found = compiled.every_tensor(graph)(images[:4])
    for name, values in expected.items():
        np.testing.assert_array_equal(values, np.asarray(found[name]), err_msg=name)
