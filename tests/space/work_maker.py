"""Two small works written by hand: a chain of three layers, and a residual net with a shared mask."""

import dataclasses

from mpnas.space import ChannelGroup, Lanes, Layer, Tensor, Work


def layer(path, shape, in_group, out_group, *, macs, kind="dense", tensor=None, **more):
    """A layer whose kernel ends with its input and output axes."""
    depthwise = kind == "depthwise"
    settings = dict(
        path=path,
        kernel=f"{path}/kernel",
        kernel_shape=shape,
        in_axis=None if depthwise else len(shape) - 2,
        out_axis=len(shape) - 1,
        kind=kind,
        macs=macs,
        reads=None if depthwise else Lanes.of(in_group, shape[-2]),
        writes=Lanes.of(out_group, shape[-1]),
        tensor=tensor or f"{path}/read",
        signed=False,
        bias=True,
        multiplier=False,
    )
    return Layer(**settings | more)


def group(name, size, producers, consumers, frozen=None, reasons=()):
    """A channel group."""
    return ChannelGroup(name, size, producers, consumers, frozen=frozen, reasons=reasons)


def chain():
    """`a` (3 -> 4), `b` (4 -> 5), `c` (5 -> 2): only the channels of `a` and `b` can go."""
    layers = (
        layer("a", (3, 3, 3, 4), "input/channels", "a/channels", macs=1080, tensor="input", signed=True),
        layer("b", (4, 5), "a/channels", "b/channels", macs=20),
        layer("c", (5, 2), "b/channels", "c/channels", macs=10),
    )
    groups = (
        group("input/channels", 3, (), ("a",), "they are the model's input"),
        group("a/channels", 4, ("a",), ("b",)),
        group("b/channels", 5, ("b",), ("c",)),
        group("c/channels", 2, ("c",), (), "they are the model's output"),
    )
    tensors = {"input": Tensor("input", 30, Lanes.of("input/channels", 3), ("a",))}
    return Work(layers, {g.name: g for g in groups}, tensors, timeline=(("input",),))


def residual():
    """`stem` and `conv` are added, so they share 4 channels; `conv` and `skip` read one tensor."""
    layers = (
        layer("stem", (3, 4), "input/channels", "stem/channels", macs=12, tensor="input"),
        layer("conv", (4, 4), "stem/channels", "stem/channels", macs=16, tensor="h"),
        layer("skip", (4, 6), "stem/channels", "skip/channels", macs=24, tensor="h"),
        layer("head", (6, 2), "skip/channels", "head/channels", macs=12, tensor="s"),
    )
    groups = (
        group("input/channels", 3, (), ("stem",), "they are the model's input"),
        group("stem/channels", 4, ("stem", "conv"), ("conv", "skip"), reasons=("added in f (net.py:1)",)),
        group("skip/channels", 6, ("skip",), ("head",)),
        group("head/channels", 2, ("head",), (), "they are the model's output"),
    )
    return Work(layers, {g.name: g for g in groups}, tensors={}, timeline=())


def changed(work, path, **more):
    """The same work with other settings of one layer."""
    layers = tuple(dataclasses.replace(one, **more) if one.path == path else one for one in work.layers)
    return dataclasses.replace(work, layers=layers)
