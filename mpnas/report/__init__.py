"""A front for people: tables and a verdict in plain words; pictures are in `mpnas.report.plots`.

Pictures are not re-exported, so that printing a table does not load Matplotlib.
"""

from mpnas.report.gap import gap_warnings
from mpnas.report.tables import (
    bits_table, front_table, reference_table, rejected_table, text_of, volume_text,
)
from mpnas.report.verdict import verdict

__all__ = [
    "bits_table", "front_table", "gap_warnings", "reference_table", "rejected_table", "text_of",
    "verdict", "volume_text",
]
