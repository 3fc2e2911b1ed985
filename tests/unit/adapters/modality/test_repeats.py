"""What is kept of a device's queries changes no byte of an answer, and does not grow without end."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.modality.asking import Asking
from adapters.modality.inbound import WorklistScp, WorklistService
from adapters.modality.repeats import Key, Made, Repeated, Repeats
from broker.adapter import WorklistRow
from broker.device import Device, Window
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.matching import STEPS, Query
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, WORKLIST_FIND
from broker.net.service import Answer, FindRequest, Peer
from broker.registers.kept import Wording, number
from tests.support.dimse import decoded, encoded

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
PEER = Peer(calling_aet="CT1", called_aet="BROKER", host="127.0.0.1", port=104)

NAMES = st.sampled_from(("Hansen^Kari", "Sørby^Áile", "Čuđi Ŋuorra^Ánde", f"{'Å' * 60}^Siv Siv", ""))
STATIONS = st.sampled_from((("CT1",), ("CT1_OLD", "CT1"), ("MR1",)))


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """A row's body: one or two steps, text of all kinds, one attribute that is seldom there."""
    steps = [
        {
            "Modality": draw(st.sampled_from(("CT", "MR"))),
            "ScheduledStationAETitle": draw(STATIONS),
            "ScheduledProcedureStepStartDate": draw(st.sampled_from(("20260309", "20260310"))),
            "ScheduledProcedureStepStartTime": draw(st.sampled_from(("083000", "1000", "235959"))),
            "ScheduledProcedureStepDescription": draw(st.sampled_from(("CT thorax", "Øye", ""))),
        }
        for _ in range(draw(st.integers(1, 2)))
    ]
    row: dict[str, Any] = {
        "PatientName": draw(NAMES),
        "PatientID": draw(st.sampled_from(("T1", "T2"))),
        STEPS: steps,
    }
    if draw(st.booleans()):
        row["StudyInstanceUID"] = "2.25.7"
    return json.dumps(row, ensure_ascii=False)


QUERIES = st.fixed_dictionaries(
    {
        "PatientName": st.sampled_from(("", "HAN*", "*a*", "SØRBY")),
        "PatientID": st.sampled_from(("", "T1")),
        STEPS: st.fixed_dictionaries(
            {
                "Modality": st.sampled_from(("", "CT", "*")),
                "ScheduledStationAETitle": st.sampled_from(("", "CT1", "MR1")),
                "ScheduledProcedureStepStartDate": st.sampled_from(("", "20260309", "20260309-20260310")),
                "ScheduledProcedureStepDescription": st.just(""),
            }
        ).map(lambda step: (step,)),
    },
    optional={
        "SpecificCharacterSet": st.sampled_from(("ISO_IR 100", "ISO_IR 192")),
        "StudyInstanceUID": st.just(""),
        "RequestedProcedureDescription": st.just(""),
    },
)
DEVICES = st.sampled_from(
    (
        Device(),
        Device(charsets=("ISO_IR 100",), name_length=10),
        Device(aliases=("CT1_OLD",), worklist="own"),
        Device(window=Window(), upper_names=True, drop=("PatientID",)),
        Device(
            always=("AccessionNumber", "Modality"),
            fill={"RequestedProcedureDescription": ("ScheduledProcedureStepDescription",)},
        ),
        Device(max_answers=1, name_components=1, drop_empty=("StudyInstanceUID",)),
    )
)


class Site:
    """Rows, one device, its clock, and what was counted."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.device, self.now = Device(), NOW
        self.told: list[Any] = []

    def candidates(self, *, unwanted: Any = (), **_: Any) -> list[WorklistRow]:
        read = [
            Wording.read(number("w", str(n), body, ""), "w", str(n), body, "")
            for n, body in enumerate(self.bodies)
        ]
        return [
            WorklistRow(key=row.key, status="SCHEDULED", attributes=row.attributes, number=row.number)
            for row in read
            if row.number not in unwanted
        ]

    def scp(self) -> WorklistScp:
        context: Any = SimpleNamespace(
            worklist=self,
            clock=lambda: self.now,
            known_aets=frozenset({"CT1"}),
            count=lambda *counted: self.told.append(counted),
            note_query=lambda query: self.told.append(
                (query.answers, query.whole, query.lossy, query.limited)
            ),
            device=lambda _aet: self.device,
            time_zone="Europe/Oslo",
        )
        return WorklistScp(WorklistService(), context)

    def ask(self, scp: WorklistScp, query: Attributes, syntax: str = EXPLICIT_LITTLE_ENDIAN) -> list[Any]:
        """Statuses and identifiers of the answers, and what was told of them."""
        self.told.clear()
        identifier = encoded(
            to_dataset(query, charset=str(query.get("SpecificCharacterSet") or "ISO_IR 192"))
        )
        request = FindRequest(
            sop_class=WORKLIST_FIND,
            identifier=decoded(identifier),
            encoded=identifier,
            transfer_syntax_uid=syntax,
            message_id=1,
            cancelled=lambda: False,
        )
        answers = [(answer.status, answer.identifier) for answer in scp.find(request, PEER)]
        return [*answers, *self.told]


@given(
    st.lists(QUERIES, min_size=1, max_size=2),
    st.lists(DEVICES, min_size=1, max_size=2),
    st.lists(
        st.tuples(
            st.lists(bodies(), max_size=4),
            st.integers(0, 1),
            st.integers(0, 1),
            st.sampled_from((EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)),
            st.sampled_from((0, 12, 30)),
        ),
        min_size=2,
        max_size=6,
    ),
)
def test_what_is_kept_changes_no_byte(
    queries: list[Attributes],
    devices: list[Device],
    asked: list[tuple[list[str], int, int, str, int]],
) -> None:
    """One listener that has been asked before, beside one that never was, while rows, device and time change."""
    site = Site()
    used = site.scp()
    for rows, query, device, syntax, hours in asked:
        site.bodies = [*rows, *site.bodies[len(rows) :]]
        site.device, site.now = devices[device % len(devices)], NOW + timedelta(hours=hours)
        wanted = queries[query % len(queries)]

        assert site.ask(used, wanted, syntax) == site.ask(site.scp(), wanted, syntax)


def test_what_was_answered_is_not_made_again() -> None:
    site = Site()
    site.bodies = [f'{{"PatientID":"T1","{STEPS}":[{{"Modality":"CT"}}]}}']
    scp, query = site.scp(), {"PatientID": "T1"}
    first, again = site.ask(scp, query), site.ask(scp, query)

    assert first[0][1] is again[0][1]


def repeated(answers: int = 0, unwanted: int = 0) -> Repeated:
    made = Made(Answer(status=0xFF00, identifier=bytes(1000)), lossy=False)
    return Repeated(
        asking=Asking.read(Device(), "CT1", Query({})),
        terms=("ISO_IR 192",),
        pending=0xFF00,
        answers=dict.fromkeys(range(answers), made),
        unwanted=set(range(unwanted)),
    )


def key(identifier: bytes, day: int = 9) -> Key:
    return Key("CT1", EXPLICIT_LITTLE_ENDIAN, identifier, date(2026, 3, day))


def test_the_query_that_was_not_asked_longest_goes() -> None:
    repeats = Repeats(most=30_000)
    one = repeated()
    repeats.keep(key(b"1"), one)
    repeats.keep(key(b"2"), repeated())
    assert repeats.get(key(b"1")) is one
    repeats.keep(key(b"3"), repeated(answers=5))

    assert repeats.get(key(b"2")) is None
    assert repeats.get(key(b"1")) is one
    assert repeats.get(key(b"1", day=10)) is None, "tomorrow it is read anew"


@pytest.mark.parametrize("large", [repeated(answers=100), repeated(unwanted=1000)])
def test_a_query_that_grew_too_large_is_forgotten_itself(large: Repeated) -> None:
    repeats = Repeats(most=50_000)
    repeats.keep(key(b"1"), large)
    assert repeats.get(key(b"1")) is None
    large.answers, large.unwanted = {}, set()
    repeats.keep(key(b"1"), large)
    assert repeats.get(key(b"1")) is large, "what it was counted with is given back"
