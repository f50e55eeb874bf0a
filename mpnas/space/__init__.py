"""What may vary in a network, and one concrete choice of it."""

from mpnas.space.assignment import Assignment
from mpnas.space.build import build_space
from mpnas.space.choice import Choice, Presence, Width
from mpnas.space.lanes import Lanes
from mpnas.space.resolve import resolve
from mpnas.space.rules import Rule
from mpnas.space.space import Gates, Space
from mpnas.space.tie import Tie
from mpnas.space.usage import Usage, act_widths, alive_channels, product_widths, usage, weight_widths
from mpnas.space.widths import asked_widths, channel_counts
from mpnas.space.work import ChannelGroup, Layer, Product, Tensor, Work

__all__ = [
    "Assignment",
    "ChannelGroup",
    "Choice",
    "Gates",
    "Lanes",
    "Layer",
    "Presence",
    "Product",
    "Rule",
    "Space",
    "Tensor",
    "Tie",
    "Usage",
    "Width",
    "Work",
    "act_widths",
    "alive_channels",
    "asked_widths",
    "build_space",
    "channel_counts",
    "product_widths",
    "resolve",
    "usage",
    "weight_widths",
]
