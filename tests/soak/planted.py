"""Faults to plant in a broker, to see that the soak finds them: one that cannot fail proves nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tests.support.shared import REPOSITORY

FAULTS: Final[Mapping[str, str]] = {
    "leak": """
import os, threading
from broker.net import accepted
run, kept = accepted.Association.run, []

def leaking(self):
    kept.append((os.open(os.devnull, os.O_RDONLY), bytearray(b"x" * 1_000_000)))
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    run(self)

accepted.Association.run = leaking
""",
    "lose": """
import itertools
from broker.dicom import status
from broker.net import serving
from broker.net.service import Answer
store, number = serving.Serving._store, itertools.count(1)

def losing(self, message, context):
    return store(self, message, context) if next(number) % 5 else Answer(status=status.SUCCESS)

serving.Serving._store = losing
""",
    "mix": """
from adapters.modality.asking import Asking
from broker.dicom.matching import Query

Query.matches = lambda self, row: True
Asking.stations = property(lambda self: ())
""",
}
"""What the broker's process runs first: each association leaves a file, a thread and memory; every fifth image is
acknowledged and dropped; a device is shown the rows of all."""


def settings(folder: Path, faults: Iterable[str]) -> dict[str, str]:
    """Variables of a broker with these faults."""
    text = "".join(FAULTS[fault] for fault in faults)
    if not text:
        return {}
    place = folder / "planted"
    place.mkdir()
    (place / "sitecustomize.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(place), str(REPOSITORY)])}
