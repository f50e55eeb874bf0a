"""Tests of mpnas/train/evaluate.py."""

import numpy as np
import pytest
from flax import nnx
from tiny_train import NormNet, blobs

from mpnas.data import Dataset
from mpnas.supernet import attach
from mpnas.train import accuracy, module_accuracy, module_outputs, one_hot_gates, teacher


class Echo(nnx.Module):
    """Logits are the inputs, through an identity kernel: right answers can be counted by hand."""

    def __init__(self):
        self.layer = nnx.Linear(2, 2, use_bias=False, rngs=nnx.Rngs(0))
        self.layer.kernel[...] = np.eye(2, dtype=np.float32)

    def __call__(self, x):
        return self.layer(x)


def echo_data():
    x = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    y = np.array([0, 1, 1, 1, 0], np.int32)  # three of five
    return Dataset("echo", (x, y), (x[:2], y[:2]), (x, y), classes=2)


@pytest.mark.parametrize("batch", [1, 2, 5, 500])
def test_accuracy_counts_every_row_once_and_no_filling(batch):
    data = echo_data()
    net = attach(Echo(), data.example(), [])
    assert accuracy(net, net.parts, {}, data, "train", batch=batch) == 0.6
    assert accuracy(net, net.parts, {}, data, "select", batch=batch) == 0.5


def test_accuracy_of_a_module_is_that_of_its_network():
    data = echo_data()
    assert module_accuracy(Echo(), data, "test") == 0.6
    np.testing.assert_array_equal(module_outputs(Echo(), data, "test"), data.test[0])


def test_module_is_measured_in_evaluation_mode_and_left_as_it_was():
    data = blobs()
    model = NormNet(rngs=nnx.Rngs(0, dropout=1))
    model.train()
    outputs = module_outputs(model, data, "select")
    np.testing.assert_array_equal(outputs, module_outputs(model, data, "select"))
    assert not model.norm.use_running_average
    assert not model.drop.deterministic
    assert not np.any(model.norm.mean[...])
    plain = teacher(model, data)
    assert accuracy(plain.net, plain.parts, {}, data, "select") == module_accuracy(model, data, "select")


def test_one_hot_gates_pick_the_candidates_of_an_assignment(net):
    assignment = net.space.uniform(8)
    for site, gates in one_hot_gates(net, assignment).items():
        choice = net.space.choices[site]
        assert gates.shape == (choice.decisions, len(choice.bits))
        np.testing.assert_array_equal(np.asarray(gates).argmax(axis=1), choice.bits.index(8))
        np.testing.assert_array_equal(np.asarray(gates).sum(axis=1), 1.0)
