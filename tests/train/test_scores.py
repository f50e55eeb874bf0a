"""Tests of mpnas/train/scores.py."""

import dataclasses

import curvature_nets as nets
import jax
import numpy as np
import pytest

import mpnas.train.scores as module
from mpnas.control import Importance, Sensitivity
from mpnas.errors import NonFiniteLossError
from mpnas.train import scores_of

ASKER = Sensitivity(measure="loss", batches=2, batch=30)


@pytest.fixture(scope="module")
def net():
    return nets.net_of(nets.Two, {"weights": (2, 4, 8), "activations": (4, 8)})


@pytest.fixture
def measured(monkeypatch):
    """Counts how often anything is measured."""
    calls = []
    for name, measure in list(module.MEASURES.items()):
        def counted(*arguments, measure=measure):
            calls.append(1)
            return measure(*arguments)

        monkeypatch.setitem(module.MEASURES, name, counted)
    return calls


def same(one, other):
    assert list(one) == list(other)
    for site in one:
        np.testing.assert_array_equal(one[site], other[site])


def test_scores_are_measured_once_and_read_after_that(net, tmp_path, measured):
    first = scores_of(ASKER, *net, nets.rows(), folder=tmp_path / "scores")
    second = scores_of(ASKER, *net, nets.rows(), folder=tmp_path / "scores")
    same(first, second)
    assert len(measured) == 1
    assert len(list((tmp_path / "scores").iterdir())) == 1


def test_without_a_folder_nothing_is_kept(net, tmp_path, monkeypatch, measured):
    monkeypatch.chdir(tmp_path)
    same(scores_of(ASKER, *net, nets.rows()), scores_of(ASKER, *net, nets.rows()))
    assert len(measured) == 2 and not list(tmp_path.iterdir())


def test_anything_that_scores_depend_on_is_measured_again(net, tmp_path, measured):
    whole, parts = net
    heavier = dataclasses.replace(parts, params=jax.tree.map(lambda a: a * 1.01, parts.params))
    wider = dataclasses.replace(parts, ranges=jax.tree.map(lambda a: a * 1.01, parts.ranges))
    x, y = nets.rows().train
    other_rows = dataclasses.replace(nets.rows(), train=(np.flip(x, 1).copy(), y))
    variants = [
        (ASKER, whole, parts, nets.rows(), 0), (ASKER, whole, heavier, nets.rows(), 0),
        (ASKER, whole, wider, nets.rows(), 0), (ASKER, whole, parts, other_rows, 0),
        (ASKER, whole, parts, nets.rows(), 1),
        (Importance(batches=2, batch=30), whole, parts, nets.rows(), 0),
        *((dataclasses.replace(ASKER, **change), whole, parts, nets.rows(), 0)
          for change in ({"measure": "flips"}, {"batches": 3}, {"batch": 31})),
        (ASKER, *nets.net_of(nets.Two, {"weights": (2, 8), "activations": (4, 8)}), nets.rows(), 0),
    ]
    for asker, network, weights, data, seed in variants * 2:
        scores_of(asker, network, weights, data, seed=seed, folder=tmp_path)
    assert len(measured) == len(list(tmp_path.iterdir())) == len(variants)


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def pickled(path):
    np.savez(path, sites=np.array(["body/kernel"]), **{"00000": np.array([print], dtype=object)})


def negative(path):
    np.savez(path, sites=np.array(["body/kernel"]), **{"00000": np.full((1, 3), -1.0)})


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"no scores at all"),
    lambda path: path.write_bytes(path.read_bytes()[:-40]),
    lambda path: path.write_bytes(flipped(path.read_bytes())),
    lambda path: np.savez(path, other=np.zeros(3)),
    pickled,
    negative,
], ids=["empty", "garbage", "cut", "flipped", "other_keys", "pickled", "negative"])
def test_damaged_file_is_measured_again_and_replaced(net, tmp_path, measured, damage, caplog):
    first = scores_of(ASKER, *net, nets.rows(), folder=tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    same(first, scores_of(ASKER, *net, nets.rows(), folder=tmp_path))
    assert len(measured) == 2 and "is damaged" in caplog.text
    same(first, scores_of(ASKER, *net, nets.rows(), folder=tmp_path))
    assert len(measured) == 2 and len(list(tmp_path.iterdir())) == 1


def test_network_of_broken_weights_is_refused_and_not_kept(net, tmp_path):
    whole, parts = net
    broken = dataclasses.replace(parts, params=jax.tree.map(lambda a: a * np.nan, parts.params))
    with pytest.raises(NonFiniteLossError):
        scores_of(Sensitivity(batches=1, batch=10), whole, broken, nets.rows(), folder=tmp_path)
    assert not list(tmp_path.iterdir())
