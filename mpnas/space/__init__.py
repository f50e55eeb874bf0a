"""What may vary in a network, and one concrete choice of it."""

from mpnas.space.assignment import Assignment
from mpnas.space.choice import Choice, Presence
from mpnas.space.rules import Rule, build_space
from mpnas.space.space import Gates, Space
from mpnas.space.tie import Tie
from mpnas.space.usage import Usage, alive_channels, usage
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
    "alive_channels",
    "build_space",
    "usage",
]
