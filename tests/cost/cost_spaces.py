"""Small networks written by hand whose every cost can be counted on paper, and a count by loops."""

import dataclasses
import functools
from fractions import Fraction

from mpnas.quant import IntFormat, Quantizer
from mpnas.space import ChannelGroup, Lanes, Layer, Product, Rule, Tensor, Work, build_space

EVERYTHING = Rule(match="*", weights=(0, 2, 4, 8), activations=(4, 8), granularity="channel")
KEEPING = Rule(match="*", weights=(2, 4, 8), activations=(4, 8), granularity="channel")


def layer(path, shape, in_group, out_group, *, macs, tensor, kind="dense", bias=True, multiplier=False):
    """A layer whose kernel ends with its input and output axes."""
    return Layer(
        path=path,
        kernel=f"{path}/kernel",
        kernel_shape=shape,
        in_axis=None if kind == "depthwise" else len(shape) - 2,
        out_axis=len(shape) - 1,
        kind=kind,
        macs=macs,
        reads=None if kind == "depthwise" else Lanes.of(in_group, shape[-2]),
        writes=Lanes.of(out_group, shape[-1]),
        tensor=tensor,
        signed=False,
        bias=bias,
        multiplier=multiplier,
    )


def work(layers, tensors, timeline, *, frozen=(), products=(), loose=0):
    """The work of layers whose groups are named after their first producer, or `input`.

    Tensors come with the name of their group in place of their lanes.
    """
    ends = [(one, lanes) for one in layers for lanes in (one.reads, one.writes) if lanes is not None]
    sizes = {lanes.groups[0]: lanes.size for _, lanes in ends}
    groups = {}
    for name, size in sizes.items():
        producers = tuple(one.path for one in layers if name in one.writes.groups)
        consumers = tuple(one.path for one, lanes in ends if lanes is one.reads and name in lanes.groups)
        why = "it is an end of the model" if not producers or name in frozen else None
        groups[name] = ChannelGroup(name, size, producers, consumers, frozen=why)
    return Work(
        layers=tuple(layers),
        groups=groups,
        tensors={
            tensor.name: dataclasses.replace(tensor, lanes=Lanes.of(tensor.lanes, sizes[tensor.lanes]))
            for tensor in tensors
        },
        timeline=timeline,
        products=products,
        loose_parameters=loose,
    )


def chain():
    """A 3x3 convolution 2 -> 4 to 5x5 pixels with a folded normalisation, a mean, a product 4 -> 3."""
    layers = (
        layer("a", (3, 3, 2, 4), "input", "a/channels", macs=25 * 9 * 2 * 4, tensor="image", multiplier=True),
        layer("b", (4, 3), "a/channels", "b/channels", macs=12, tensor="pooled"),
    )
    tensors = (
        Tensor("image", 50, "input", ("a",)),
        Tensor("a/output", 100, "a/channels", ("b",)),
        Tensor("pooled", 4, "a/channels", ("b",)),
        Tensor("b/output", 3, "b/channels", ()),
    )
    timeline = (("image", "a/output"), ("a/output", "pooled"), ("pooled", "b/output"))
    return work(layers, tensors, timeline, frozen={"b/channels"}, products=(Product("scores", 7),), loose=5)


def residual():
    """`stem` and `conv` are added and share 4 channels; the sum is kept for `conv` and for `head`."""
    layers = (
        layer("stem", (2, 4), "input", "stem/channels", macs=2 * 4 * 9, tensor="image"),
        layer("inner", (4, 6), "stem/channels", "inner/channels", macs=4 * 6 * 9, tensor="h"),
        layer("conv", (6, 4), "inner/channels", "stem/channels", macs=6 * 4 * 9, tensor="g", bias=False),
        layer("head", (4, 3), "stem/channels", "head/channels", macs=4 * 3, tensor="sum"),
    )
    tensors = (
        Tensor("image", 18, "input", ("stem",)),
        Tensor("h", 36, "stem/channels", ("inner", "head")),
        Tensor("g", 54, "inner/channels", ("conv",)),
        Tensor("sum", 36, "stem/channels", ("head",)),
        Tensor("logits", 3, "head/channels", ()),
    )
    timeline = (("image", "h"), ("h", "g", "sum"), ("sum", "logits"))
    return work(layers, tensors, timeline, frozen={"head/channels"})


def separable():
    """A product 3 -> 5, a depthwise 3x3 convolution over its channels, a product 5 -> 2."""
    layers = (
        layer("wide", (3, 5), "input", "wide/channels", macs=3 * 5 * 4, tensor="image"),
        layer("each", (3, 3, 1, 5), None, "wide/channels", macs=9 * 5 * 4, tensor="w", kind="depthwise"),
        layer("last", (5, 2), "wide/channels", "last/channels", macs=10 * 4, tensor="e"),
    )
    tensors = (
        Tensor("image", 12, "input", ("wide",)),
        Tensor("w", 20, "wide/channels", ("each",)),
        Tensor("e", 20, "wide/channels", ("last",)),
        Tensor("out", 8, "last/channels", ()),
    )
    timeline = (("image", "w"), ("w", "e"), ("e", "out"))
    return work(layers, tensors, timeline, frozen={"last/channels"})


@functools.cache
def space_of(net, *rules):
    """One space per network and rules, so that what is compiled for it is compiled once."""
    return build_space(net(), rules or (EVERYTHING,))


def random_assignment(space, rng, *, most=None):
    """Any assignment that is a network: at least one decision of every group stays."""
    indices = {
        site: rng.integers(len(choice.bits) if most is None else most, size=choice.decisions)
        for site, choice in space.choices.items()
    }
    for site in space.remover.values():
        if not indices[site].any():
            indices[site][rng.integers(len(indices[site]))] = 1
    return space.from_indices(indices)


def counted(space, assignment):
    """All costs of an assignment by loops over single channels and moments, as fractions."""
    bits_of = assignment.bits
    exists = {name: [True] * group.size for name, group in space.work.groups.items()}
    for group, site in space.remover.items():
        exists[group] = [bits_of[site][d] > 0 for d in space.channel_decision[site]]
    total = {
        "macs": sum(Fraction(product.macs) for product in space.work.products),
        "bops": sum(Fraction(product.macs) * 32 * 32 for product in space.work.products),
        "weight_bytes": Fraction(32 * space.work.loose_parameters, 8),
    }
    for one in space.work.layers:
        site, act = space.weight_site.get(one.path), space.act_site.get(one.path)
        act_bits = bits_of[act][0] if act else 32
        dense = one.kind == "dense"
        for o in range(one.out_channels):
            if not exists[one.writes.groups[0]][o]:
                continue
            width = bits_of[site][space.channel_decision[site][o]] if site else 32
            for i in range(one.in_channels):
                if dense and not exists[one.reads.groups[0]][i]:
                    continue
                macs = Fraction(one.macs, one.out_channels * one.in_channels)
                total["macs"] += macs
                total["bops"] += macs * width * act_bits
                area = one.parameters // (one.out_channels * one.in_channels)
                total["weight_bytes"] += Fraction(area * width, 8)
        channels = sum(exists[one.writes.groups[0]])
        total["weight_bytes"] += 4 * one.bias * channels + scale_bytes(space, one, exists)
        total["weight_bytes"] += Fraction(4 * space.choices[site].decisions, 8) if site else 0
    acts = [choice for choice in space.choices.values() if choice.kind == "act"]
    total["weight_bytes"] += sum(Fraction(4, 8) + 4 * offers_integers(choice) for choice in acts)
    total["peak_act_bytes"] = max(
        sum(tensor_bytes(space, assignment, space.work.tensors[name], exists) for name in moment)
        for moment in space.work.timeline
    )
    return total


def offers_integers(choice):
    return any(isinstance(c, Quantizer) and isinstance(c.format, IntFormat) for c in choice.candidates)


def scale_bytes(space, one, exists):
    """4 bytes per channel that exists, or per group of `scale` channels of which one exists."""
    site = space.weight_site.get(one.path)
    if site is None or not offers_integers(space.choices[site]):
        return 0
    shared = space.choices[site].candidates[-1].granularity.index(one.out_channels)
    groups = range(one.out_channels) if one.multiplier else shared
    return 4 * len({g for g, there in zip(groups, exists[one.writes.groups[0]], strict=True) if there})


def tensor_bytes(space, assignment, tensor, exists):
    widths = [assignment.bits[space.act_site[r]][0] if r in space.act_site else 32 for r in tensor.readers]
    channels = exists[tensor.lanes.groups[0]] if tensor.lanes else [True]
    return Fraction(tensor.elements * sum(channels) * max(widths, default=32), len(channels) * 8)
