"""What modalities are shown is what stands: whatever became of a row is seen by the next query, on every node.

The query is the same each time, so that everything that could be kept of its last answers is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import Dataset

from adapters.modality.inbound import WorklistScp, WorklistService
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN, WORKLIST_FIND
from broker.net.service import FindRequest, Peer
from broker.registers.worklist import Reader
from broker.runtime.configured import Configured
from broker.store.database import Database
from tests.support.dcmtk import worklist_query
from tests.support.dimse import decoded, encoded
from tests.support.shared import REPOSITORY
from tests.unit.runtime.conftest import House

PEER = Peer(calling_aet="CT1_STO", called_aet="BROKER", host="127.0.0.1", port=104)
SAID = ("PatientID", "PatientName", "AccessionNumber", "ScheduledProcedureStepStartDate")

TESTS = REPOSITORY / "routes" / "tests"
OTHER = "PID|1||700999^^^STO&2.999.7001&ISO^PI||Feil^Navn||19821030|F"

Ask = Callable[[], list[tuple[str, ...]]]


def modality(database: Database) -> Ask:
    """Asks a worklist SCP for everything, again and again."""
    context: Any = SimpleNamespace(
        worklist=Reader(database.read),
        clock=lambda: datetime(2026, 3, 9, 8, tzinfo=UTC),
        known_aets=frozenset(),
        count=lambda *_: None,
        note_query=lambda _query: None,
        device=lambda _aet: None,
        time_zone="Europe/Oslo",
    )
    scp, identifier = WorklistScp(WorklistService(), context), encoded(worklist_query())

    def ask() -> list[tuple[str, ...]]:
        request = FindRequest(
            sop_class=WORKLIST_FIND,
            identifier=decoded(identifier),
            encoded=identifier,
            transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
            message_id=1,
            cancelled=lambda: False,
        )
        return [_said(decoded(answer.identifier)) for answer in scp.find(request, PEER)]  # type: ignore[arg-type]

    return ask


def _said(row: Dataset) -> tuple[str, ...]:
    (step,) = row.ScheduledProcedureStepSequence
    return tuple(str(row.get(key) or step.get(key)) for key in SAID)


@pytest.fixture
def house(configured: Configured, new_database: Callable[[], Database]) -> House:
    database = new_database()
    database.open()
    return House(configured, database)


@pytest.fixture
def nodes(house: House, new_database: Callable[[], Database]) -> tuple[Ask, Ask]:
    """A worklist in the process that writes, and one in another."""
    return modality(house.database), modality(new_database())


def test_what_became_of_a_row_is_seen_at_once(house: House, nodes: tuple[Ask, Ask]) -> None:
    def seen() -> list[tuple[str, ...]]:
        house.route()
        first, other = nodes[0](), nodes[1]()
        assert first == other == nodes[0]() == nodes[1]()
        return first

    def order(name: str, **changed: str) -> None:
        text = (TESTS / name).read_bytes().decode()
        lines = [OTHER if line.startswith("PID") else line for line in text.replace("\n", "\r").split("\r")]
        text = "\r".join(lines)
        for old, new in changed.items():
            text = text.replace(old, new)
        house.receive("orders", text.encode())

    assert seen() == []
    house.receive("pas", (TESTS / "adt_a04_registered.hl7").read_bytes())
    order("orm_ct.hl7")
    (scheduled,) = seen()
    order("orm_ct_rescheduled.hl7")
    (moved,) = seen()
    assert moved[3] != scheduled[3]
    house.receive("pas", (TESTS / "adt_a40_merge.hl7").read_bytes())
    (merged,) = seen()
    assert (moved[:2], merged[:2]) == (("700999", "Feil^Navn"), ("30908299902", "Sørby^Áile^Lájla"))
    house.receive("pas", (TESTS / "adt_a08_new_name.hl7").read_bytes())
    (renamed,) = seen()
    assert renamed[1] == "Sørby Čoahkkin^Áile^Lájla"
    order("orm_ct_cancelled.hl7")
    assert seen() == []
    order("orm_ct_rescheduled.hl7", R000202="R000301")
    assert seen() == [renamed]
    order("orm_ct.hl7", R000201="R000302", A2026000201="A2026000202", **{"88201": "88202", "77201": "77202"})
    assert [row[2] for row in seen()] == ["A2026000202", "A2026000201"], "as they start"
