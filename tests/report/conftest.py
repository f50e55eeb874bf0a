"""Makes the hand-made front of tests/pareto importable here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "pareto"))
