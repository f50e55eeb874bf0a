"""The digits, with batches that take a moment: a trial can be caught in the middle of a stage."""

import dataclasses
import time

from mpnas.data import DATASETS

SECONDS = 0.05


def wait(x, rng):
    time.sleep(SECONDS)
    return x


def batches():
    return dataclasses.replace(DATASETS["digits"](None), name="slow", augment=wait)
