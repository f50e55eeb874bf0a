"""What may vary in a network, and one concrete choice of it."""

from mpnas.space.assignment import Assignment
from mpnas.space.choice import Choice, Presence
from mpnas.space.rules import Rule, build_space
from mpnas.space.space import Gates, Space
from mpnas.space.tie import Tie
from mpnas.space.usage import Usage, act_widths, alive_channels, usage, weight_widths
from mpnas.space.work import ChannelGroup, Layer, Tensor, Work

__all__ = [
    "Assignment",
    "ChannelGroup",
    "Choice",
    "Gates",
    "Layer",
    "Presence",
    "Rule",
    "Space",
    "Tensor",
    "Tie",
    "Usage",
    "Work",
    "act_widths",
    "alive_channels",
    "build_space",
    "usage",
    "weight_widths",
]
