"""Choices without a network, for controllers, which never see one."""

import numpy as np

from mpnas.quant import PerChannel, Quantizer, format_of
from mpnas.space import ChannelGroup, Choice, Lanes, Layer, Presence, Rule, Work, build_space


def choice(site, decisions, bits):
    """One site with `decisions` channels that choose among `bits`."""
    return Choice(
        site=site,
        kind="weight",
        layers=(site,),
        candidates=tuple(Quantizer(format=format_of(b)) for b in bits),
        granularity=PerChannel(),
        shape=(decisions,),
    )


def mask(site, channels):
    return Choice(site, "mask", (site,), (Presence(0), Presence(1)), PerChannel(), (channels,))


def chain(widths=(3, 6, 5, 2), rule=Rule(match="*", weights=(0, 2, 4, 8), activations=(4, 8),
                                         granularity="channel")):
    """The space of linear layers `l0`, `l1`, ... of these widths; the outputs of the last must stay."""
    last = len(widths) - 2
    names = ["input", *(f"l{k}/channels" for k in range(last + 1))]
    layers, groups = [], {}
    for k in range(last + 1):
        layers.append(
            Layer(
                path=f"l{k}", kernel=f"l{k}/kernel", kernel_shape=(widths[k], widths[k + 1]), in_axis=0,
                out_axis=1, kind="dense", macs=widths[k] * widths[k + 1],
                reads=Lanes.of(names[k], widths[k]), writes=Lanes.of(names[k + 1], widths[k + 1]),
                tensor=f"x{k}", signed=False, bias=False, multiplier=False,
            )
        )
    for k, name in enumerate(names):
        frozen = "it is an end of the model" if k in (0, last + 1) else None
        made = (f"l{k - 1}",) if k else ()
        read = (f"l{k}",) if k <= last else ()
        groups[name] = ChannelGroup(name, widths[k], made, read, frozen=frozen)
    return build_space(Work(tuple(layers), groups, tensors={}, timeline=()), [rule])


def bit_sum(assignment):
    """A price that no cost model is needed for: all bits of an assignment, added."""
    return {"bits": float(sum(np.sum(bits) for bits in assignment.bits.values()))}
