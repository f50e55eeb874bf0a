"""Sweeps: experiments, plans, trials that own their folders, and Ray Tune to place them."""

from mpnas.sweep.collect import front, record, reference

__all__ = ["front", "record", "reference"]
