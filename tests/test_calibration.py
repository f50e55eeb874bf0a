"""Story on real images: the published ResNet-8, quantised by calibration alone."""

import os
from pathlib import Path

import pytest
from flax import nnx

from mpnas.data import cifar10
from mpnas.models import ResNet8, load_mlperf_tiny
from mpnas.space import Rule
from mpnas.supernet import attach
from mpnas.train import accuracy, calibrate, one_hot_gates

DATA = Path(os.environ.get("MPNAS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
WEIGHTS = DATA / "mlperf_tiny" / "resnet8.npz"


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"needs {WEIGHTS}; name its folder with MPNAS_DATA")
@pytest.mark.parametrize("ranges", [("learned", "learned"), ("minmax", "moving")], ids="-".join)
def test_uniform_8_bit_resnet8_stays_within_half_a_point_after_calibration_on_training_images(ranges):
    data = cifar10.load(DATA)
    model = load_mlperf_tiny(ResNet8(rngs=nnx.Rngs(0)), WEIGHTS)
    rule = Rule(
        match="*", weights=(8,), activations=(8,), weight_range=ranges[0], activation_range=ranges[1]
    )
    net = attach(model, data.example(), [rule], input_low=data.input_low)
    parts = calibrate(net, net.parts, data)
    gates = one_hot_gates(net, net.space.uniform(8))
    assert accuracy(net, parts, gates, data, "test") == pytest.approx(0.8719, abs=0.005)
