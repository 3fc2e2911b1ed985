"""A fault to plant in a broker, to see that the comparison finds it: one that cannot fail proves nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tests.support.shared import REPOSITORY

STEPS_STAY: Final = "steps-stay"

_STAY: Final = """
from broker.registers import filing

filing.FILED = tuple(table for table in filing.FILED if table != "step")
"""


def steps_stay(folder: Path) -> dict[str, str]:
    """Settings of a broker whose merges leave the absorbed patient's steps behind."""
    place = folder / "planted"
    place.mkdir()
    (place / "sitecustomize.py").write_text(_STAY, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(place), str(REPOSITORY)])}
