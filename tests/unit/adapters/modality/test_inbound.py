"""The worklist SCP without its socket: what it answers, and what it notes of each query."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread

from adapters.modality.inbound import WorklistScp, WorklistService
from broker.adapter import InboundContext, WorklistQuery, WorklistRow
from broker.device import Device, Window
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, WORKLIST_FIND
from broker.net.service import Answer, FindRequest, Peer

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
PEER = Peer(calling_aet="CT2_STO", called_aet="BROKER", host="127.0.0.1", port=104)


class Rows:
    """Three rows (`broker.adapter.WorklistReader`)."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def candidates(self, *, started_by: str, **_: Any) -> Iterator[WorklistRow]:
        self.asked.append(started_by)
        for number in "112":
            yield WorklistRow(key=number, status="SCHEDULED", attributes={"AccessionNumber": f"A{number}"})


def find(
    keys: Attributes, noted: list[WorklistQuery], rows: Rows | None = None, **options: Any
) -> Iterator[Answer]:
    context: Any = InboundContext(
        name="worklists",
        site="STO",
        bind="127.0.0.1",
        config_folder=Path(),
        spool=Path(),
        intake=None,  # type: ignore[arg-type]
        worklist=rows or Rows(),
        clock=lambda: NOW,
        register_dicom=lambda _service: None,
        known_aets=frozenset(),
        count=lambda _name, _labels: None,
        note_query=noted.append,
    )
    request = FindRequest(
        sop_class=WORKLIST_FIND,
        identifier=to_dataset(keys),
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        message_id=1,
        cancelled=lambda: False,
    )
    return WorklistScp(WorklistService(**options), context).find(request, PEER)


@pytest.mark.parametrize(("accession", "answers"), [("A1", 2), ("", 3), ("A9", 0)])
def test_a_query_is_noted_with_the_number_of_its_answers(accession: str, answers: int) -> None:
    noted: list[WorklistQuery] = []

    assert len(list(find({"AccessionNumber": accession}, noted))) == answers

    (query,) = noted
    assert (query.calling_aet, query.at, query.answers, query.whole) == ("CT2_STO", NOW, answers, True)
    assert query.query.attributes == {"AccessionNumber": accession}


def test_a_device_that_goes_is_noted_too() -> None:
    noted: list[WorklistQuery] = []
    answers = find({"AccessionNumber": ""}, noted)
    next(answers)
    next(answers)
    answers.close()  # type: ignore[attr-defined]

    assert [(query.answers, query.whole) for query in noted] == [(1, False)]


NAMES = ("Sørby^Áile", "Čuđi Ŋuorra^Ánde", f"{'Å' * 60}^Siv Siv")


def shown(device: Device | None, keys: Attributes) -> tuple[list[tuple[str, str]], list[Any]]:
    """(character set, name) of each answer, and what was counted and noted."""
    told: list[Any] = []
    rows: Any = SimpleNamespace(
        candidates=lambda **_: [
            WorklistRow(key=name, status="SCHEDULED", attributes={"PatientName": name}) for name in NAMES
        ]
    )
    context: Any = SimpleNamespace(
        worklist=rows,
        clock=lambda: NOW,
        known_aets=frozenset({PEER.calling_aet}),
        count=lambda name, labels, number=1: told.append((name, labels, number)),
        note_query=lambda query: told.append(query.lossy),
        device=lambda _aet: device,
        time_zone="Europe/Oslo",
    )
    request = FindRequest(
        sop_class=WORKLIST_FIND,
        identifier=to_dataset(keys, charset="ISO_IR 100"),
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        message_id=1,
        cancelled=lambda: False,
    )
    found = []
    for answer in WorklistScp(WorklistService(), context).find(request, PEER):
        assert isinstance(answer.identifier, bytes)
        read = dcmread(BytesIO(answer.identifier), force=True)
        found.append((read.SpecificCharacterSet, str(read.PatientName)))
    return found, told[1:]


def test_each_device_is_shown_what_it_can_show() -> None:
    latin, told = shown(Device(charsets=("ISO_IR 100",)), {"PatientName": ""})

    assert latin == [
        ("ISO_IR 100", NAMES[0]),
        ("ISO_IR 100", "Cudi Nuorra^Ánde"),
        ("ISO_IR 100", f"{'Å' * 60}^Siv"),
    ]
    assert told == [("broker_worklist_lossy_total", {"calling_aet": "CT2_STO"}, 2), 2]
    assert shown(Device(charsets=("ISO_IR 192",)), {"PatientName": ""})[0][1] == ("ISO_IR 192", NAMES[1])
    assert shown(None, {"PatientName": ""})[0][:2] == [("ISO_IR 100", NAMES[0]), ("ISO_IR 192", NAMES[1])]


def test_what_the_settings_say_of_a_device_goes_before_what_it_asks_in() -> None:
    asked = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": ""}

    found, _ = shown(Device(charsets=("ISO_IR 100",)), asked)

    assert {term for term, _ in found} == {"ISO_IR 100"}


def test_a_name_is_cut_to_what_the_device_takes() -> None:
    found, _ = shown(Device(name_length=10), {"PatientName": "Sørby*"})

    assert found == [("ISO_IR 100", "Sørby^Áile")]
    assert shown(Device(name_length=8), {"PatientName": "Sørby*"})[0] == [("ISO_IR 100", "Sørby^Ái")]


@pytest.mark.parametrize("key", ["Cudi Nuorra^Ánde", "CUDI*", "cudi nuorra^ande"])
def test_a_name_is_found_as_the_device_was_shown_it(key: str) -> None:
    found, _ = shown(Device(charsets=("ISO_IR 192",)), {"PatientName": key})

    assert [name for _, name in found] == [NAMES[1]]


@pytest.mark.parametrize(("started", "asked"), [(False, ""), (True, "CT2_STO")])
def test_a_device_is_shown_what_it_has_in_progress_where_settings_say_so(started: bool, asked: str) -> None:
    rows = Rows()
    list(find({"AccessionNumber": ""}, [], rows, started=started))

    assert rows.asked == [asked]


DAYS = ("20260301", "20260309", "20260311")


def ended(device: Device, keys: Attributes | None = None) -> tuple[list[int], str, Any, list[str]]:
    """Statuses, the last one's comment, what is noted and what is counted, of three rows of three days."""
    noted: list[Any] = []
    counted: list[str] = []
    rows = [
        WorklistRow(
            key=day,
            status="SCHEDULED",
            attributes={
                "AccessionNumber": day,
                "ScheduledProcedureStepSequence": (
                    {"ScheduledProcedureStepStartDate": day, "ScheduledStationAETitle": "CT2_STO"},
                ),
            },
        )
        for day in DAYS
    ]
    context: Any = SimpleNamespace(
        worklist=SimpleNamespace(candidates=lambda **_: rows),
        clock=lambda: NOW,
        known_aets=frozenset({PEER.calling_aet}),
        count=lambda name, _labels, _number=1: counted.append(name),
        note_query=noted.append,
        device=lambda _aet: device,
        time_zone="Europe/Oslo",
    )
    identifier = to_dataset(keys or {"AccessionNumber": ""})
    identifier.add_new(0x80011001, "LO", "X")
    request = FindRequest(
        sop_class=WORKLIST_FIND,
        identifier=identifier,
        transfer_syntax_uid=IMPLICIT_LITTLE_ENDIAN,
        message_id=1,
        cancelled=lambda: False,
    )
    answers = list(WorklistScp(WorklistService(), context).find(request, PEER))
    return [answer.status for answer in answers], answers[-1].comment, noted[0], counted


def test_a_list_that_is_cut_says_so_at_its_end() -> None:
    statuses, comment, noted, counted = ended(Device(max_answers=2))

    assert statuses == [0xFF01, 0xFF01, 0xA700]
    assert comment == "more than 2 rows match: ask for less"
    assert (noted.answers, noted.whole, noted.limited) == (2, False, True)
    assert "broker_worklist_limited_total" in counted
    whole = ended(Device(max_answers=3))
    assert (whole[0], whole[2].whole, whole[2].limited) == ([0xFF01] * 3, True, False)


def test_a_device_that_knows_no_other_status_is_told_none() -> None:
    statuses, _, noted, _ = ended(Device(max_answers=2, hide_limit=True, hide_unsupported=True))

    assert (statuses, noted.limited) == ([0xFF00, 0xFF00], True)


def test_what_the_settings_add_to_a_query_is_noted_beside_it() -> None:
    statuses, _, noted, _ = ended(Device(worklist="own", stations=("MR1",), window=Window()))

    assert (statuses, noted.query.stations) == ([0xFF01], ())
    step = noted.narrowed.attributes["ScheduledProcedureStepSequence"][0]
    assert step["ScheduledStationAETitle"] == ("CT2_STO", "MR1")
    assert step["ScheduledProcedureStepStartDate"] == "20260309-20260310"


def test_a_device_that_cancels_ends_the_search_too() -> None:
    looked: list[int] = []
    rows: Any = SimpleNamespace(
        candidates=lambda **_: (
            looked.append(number)
            or WorklistRow(key="", status="SCHEDULED", attributes={"AccessionNumber": "B"})
            for number in range(900)
        )
    )
    context: Any = SimpleNamespace(
        worklist=rows,
        clock=lambda: NOW,
        known_aets=frozenset(),
        count=lambda *_: None,
        note_query=lambda _query: None,
        device=lambda _aet: None,
        time_zone="Europe/Oslo",
    )
    request = FindRequest(
        sop_class=WORKLIST_FIND,
        identifier=to_dataset({"AccessionNumber": "A"}),
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        message_id=1,
        cancelled=lambda: len(looked) > 100,
    )

    assert [a.status for a in WorklistScp(WorklistService(), context).find(request, PEER)] == [0xFE00]
    assert len(looked) < 200
