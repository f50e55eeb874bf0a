"""Experiments that are installed with mpnas, one folder a claim: a config, what to expect, a result."""
