"""Tests of mpnas/export/stablehlo.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from shipped_nets import (
    Net,
    calibrated,
    depthwise_net,
    images,
    linear,
    outputs,
    random_assignment,
    residual_net,
)

from mpnas.errors import ExportError, UnsupportedOperationError
from mpnas.export.stablehlo import read_stablehlo, write_stablehlo
from mpnas.supernet import discretize


@pytest.mark.parametrize("build", [residual_net, depthwise_net])
def test_the_file_computes_what_the_network_computes_for_any_batch(build, tmp_path):
    net, parts = calibrated(build)
    assignment, path = random_assignment(net, 3), tmp_path / "net.stablehlo"
    write_stablehlo(net, parts, assignment, images(1), path)
    network, exported = discretize(net, parts, assignment), read_stablehlo(path)
    for batch in (1, 5):
        x = images(batch, seed=batch)
        np.testing.assert_array_equal(exported(x), outputs(network, x))
    assert np.std(exported(images(5))) > 0.01, "a lost permutation would hide in a constant output"


def test_another_assignment_is_another_file(tmp_path):
    net, parts = calibrated(residual_net)
    found = []
    for seed in (1, 2):
        write_stablehlo(net, parts, random_assignment(net, seed), images(), tmp_path / f"{seed}")
        found.append(read_stablehlo(tmp_path / f"{seed}")(images()))
    assert np.abs(found[0] - found[1]).max() > 0.01


def rows(batch=3):
    return jnp.asarray(np.random.default_rng(7).normal(size=(batch, 4)), jnp.float32)


def needs_its_batch(net, x):
    return net.head(jnp.concatenate([x] * (2 if x.shape[0] > 3 else 1), axis=-1)[:, :4])


def test_a_network_that_asks_for_its_batch_size_is_exported_for_one(tmp_path):
    net = calibrated(lambda: Net(needs_its_batch, head=linear(4, 2)), rows)
    assignment = random_assignment(net[0], 0)
    with pytest.raises(UnsupportedOperationError, match="batch=1"):
        write_stablehlo(*net, assignment, rows(), tmp_path / "any")
    write_stablehlo(*net, assignment, rows(), tmp_path / "two", batch=2)
    expected = outputs(discretize(*net, assignment), rows(2))
    np.testing.assert_array_equal(read_stablehlo(tmp_path / "two")(rows(2)), expected)


def test_a_file_that_is_cut_off_or_foreign_is_refused_with_its_name(tmp_path):
    net, parts = calibrated(residual_net)
    path = tmp_path / "net.stablehlo"
    write_stablehlo(net, parts, random_assignment(net, 3), images(), path)
    data = path.read_bytes()
    for bad in (b"", b"no network", data[: len(data) // 2], data[:-200], data[::-1]):
        path.write_bytes(bad)
        with pytest.raises(ExportError, match="net.stablehlo is no StableHLO file"):
            read_stablehlo(path)


def test_a_file_for_another_platform_says_so(tmp_path):
    net, parts = calibrated(residual_net)
    path = tmp_path / "net.stablehlo"
    other = "tpu" if jax.default_backend() == "cpu" else "cpu"
    write_stablehlo(net, parts, random_assignment(net, 3), images(), path, platforms=(other,))
    with pytest.raises(ExportError, match=f"runs on {other}, not on"):
        read_stablehlo(path)


def test_the_file_holds_the_network_without_its_python(tmp_path):
    net, parts = calibrated(residual_net)
    path = tmp_path / "net.stablehlo"
    write_stablehlo(net, parts, random_assignment(net, 3), images(), path)
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert len(jax.tree.leaves(exported.in_avals)) == 1, "weights are in the file, not arguments"
