"""Sweeps: experiments, plans, trials that own their folders, and Ray Tune to place them."""
