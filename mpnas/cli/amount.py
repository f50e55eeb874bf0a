"""Amounts and shares as people write them, read without JAX: `5kB`, `1.5 MiB`, `3e6`, `1%`."""

import math
import re

from mpnas.errors import ConfigError

# The units of `mpnas.cost.budget`, which cannot be imported without JAX; a test holds them together.
UNITS = {
    "": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30,
    "k": 1e3, "m": 1e6, "g": 1e9,
    "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "j": 1, "mj": 1e-3, "uj": 1e-6, "nj": 1e-9, "pj": 1e-12,
}
_AMOUNT = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)")


def amount(name: str, text: str) -> float:
    """The number that a text such as `5kB` means, in the unit of its cost.

    Raises:
      ConfigError: it is no positive, finite amount.

    >>> amount("weight_bytes", "5kB"), amount("bops", "3e6")
    (5000.0, 3000000.0)
    """
    found = _AMOUNT.fullmatch(text.strip())
    try:
        number = float(found[1]) * UNITS[found[2].lower()] if found else math.nan
    except (KeyError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ConfigError(
            f"{name}={text} is no amount. Write a number with or without a unit: 5kB, 1.5MB, 3e6."
        )
    return number


def fraction(option: str, text: str) -> float:
    """A share in [0, 1] from a percentage or a fraction.

    Raises:
      ConfigError: it is neither, or outside of [0, 1].

    >>> fraction("--max-drop", "1%"), fraction("--max-drop", "0.01")
    (0.01, 0.01)
    """
    try:
        share = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ConfigError(f"{option} {text} is no share. Write a percentage or a fraction: 1% or 0.01.")
    return share
