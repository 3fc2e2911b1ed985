"""What the settings of a device make of its query and of its answers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.modality.asking import Asking, nearest
from broker.adapter import WorklistRow
from broker.device import Device, Window
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.matching import STEPS, Query

NOW = datetime(2026, 3, 9, 23, 30, tzinfo=ZoneInfo("Europe/Oslo"))


def row(
    station: str | tuple[str, ...] = "CT1", day: str = "20260309", time: str = "2330", **more: str
) -> Attributes:
    step: Attributes = {
        "Modality": "CT",
        "ScheduledStationAETitle": station,
        "ScheduledProcedureStepStartDate": day,
        "ScheduledProcedureStepStartTime": time,
    }
    return {"AccessionNumber": "A1", "PatientID": "T1", **more, STEPS: (step,)}


def asking(device: Device, keys: Attributes | None = None, aet: str = "CT1", **step: str) -> Asking:
    asked = {**(keys or {}), **({STEPS: (step,)} if step else {})}
    return Asking.read(device, aet, Query.read(to_dataset(asked))).at(NOW)


def seen(device: Device, keys: Attributes | None = None, **step: str) -> list[str]:
    """Stations whose row the device CT1 is shown, of the rows that the index is asked for."""
    found = asking(device, keys, **step)
    if found.nobody:
        return []
    stations = [
        name for name in ("CT1", "CT1_OLD", "CT2", "MR1") if name in found.stations or not found.stations
    ]
    return [name for name in stations if found.matches(row(name))]


OWN = Device(worklist="own", aliases=("CT1_OLD",))
STATION = "ScheduledStationAETitle"


@pytest.mark.parametrize(
    ("device", "step", "expected"),
    [
        (Device(), {}, ["CT1", "CT1_OLD", "CT2", "MR1"]),
        (Device(), {STATION: "CT2"}, ["CT2"]),
        (OWN, {}, ["CT1", "CT1_OLD"]),
        (OWN, {STATION: ""}, ["CT1", "CT1_OLD"]),
        (OWN, {STATION: "*"}, ["CT1", "CT1_OLD"]),
        (OWN, {STATION: "CT*"}, ["CT1", "CT1_OLD"]),
        (OWN, {STATION: "CT2"}, []),
        (OWN, {STATION: "CT1"}, ["CT1", "CT1_OLD"]),
        (OWN, {STATION: "CT1_OLD"}, ["CT1", "CT1_OLD"]),
        (Device(worklist="own", stations=("CT*",)), {}, ["CT1", "CT1_OLD", "CT2"]),
        (Device(worklist="own", stations=("MR1",)), {STATION: "MR1"}, ["MR1"]),
        (Device(aliases=("CT1_OLD",)), {STATION: "CT1_OLD"}, ["CT1", "CT1_OLD"]),
        (Device(aliases=("CT1_OLD",)), {STATION: "CT2"}, ["CT2"]),
    ],
)
def test_whose_rows_a_device_is_shown(device: Device, step: dict[str, str], expected: list[str]) -> None:
    assert seen(device, **step) == expected


@given(
    st.sampled_from(["", "*", "CT1", "CT2", "CT*", "?T1", "CT1_OLD", "MR1"]),
    st.sampled_from(["", "T1", "A1"]),
)
def test_what_a_device_asks_never_shows_it_anothers_row(station: str, patient: str) -> None:
    assert set(seen(OWN, {"PatientID": patient}, ScheduledStationAETitle=station)) <= {"CT1", "CT1_OLD"}


def test_a_row_stands_under_the_title_that_was_asked_for() -> None:
    device = Device(aliases=("CT1_OLD",))
    by_alias = asking(device, ScheduledStationAETitle="CT1_OLD").answer(row(("CT1", "CT2")))
    by_title = asking(device, ScheduledStationAETitle="CT1").answer(row(("CT1", "CT1_OLD")))
    any_title = asking(device, ScheduledStationAETitle="").answer(row("CT1_OLD"))

    stations = [answer[STEPS][0]["ScheduledStationAETitle"] for answer in (by_alias, by_title, any_title)]  # type: ignore[index]
    assert stations == [("CT1_OLD", "CT2"), "CT1", "CT1_OLD"]


@pytest.mark.parametrize(
    ("day", "time", "shown"),
    [
        ("20260309", "1929", False),
        ("20260309", "1930", True),
        ("20260310", "0100", True),
        ("20260310", "2330", True),
        ("20260310", "2331", False),
        ("20260308", "2330", False),
        ("20260310", "", True),
    ],
)
def test_a_query_without_a_day_gets_the_steps_around_now(day: str, time: str, shown: bool) -> None:
    device = Device(window=Window())

    assert asking(device).matches(row(day=day, time=time)) is shown
    assert asking(device).dates == ("20260309", "20260310")


@pytest.mark.parametrize(
    ("keys", "step"),
    [
        ({"PatientID": "T1"}, {}),
        ({"AccessionNumber": "A*"}, {}),
        ({}, {"ScheduledProcedureStepStartDate": "20260101-"}),
    ],
)
def test_who_asks_for_a_day_or_a_number_gets_it_whenever_it_is(
    keys: Attributes, step: dict[str, str]
) -> None:
    assert asking(Device(window=Window()), keys, **step).matches(row(day="20260401"))


def test_a_universal_day_is_none() -> None:
    found = asking(Device(window=Window()), ScheduledProcedureStepStartDate="*", Modality="CT")

    assert not found.matches(row(day="20260401"))


@given(st.lists(st.integers(-90, 90), max_size=12), st.integers(1, 8))
def test_the_nearest_come_first(hours: list[int], most: int) -> None:
    starts = [NOW.replace(tzinfo=None) + timedelta(hours=number) for number in hours]
    rows = [
        WorklistRow(
            key=str(number), status="SCHEDULED", attributes=row(day=f"{start:%Y%m%d}", time=f"{start:%H%M}")
        )
        for number, start in zip(hours, starts, strict=True)
    ]

    found, more = nearest(rows, most, NOW)

    assert [abs(int(one.key)) for one in found] == sorted(map(abs, hours))[:most]
    assert more is (len(hours) > most)


def test_a_row_without_a_day_is_the_farthest() -> None:
    rows = [
        WorklistRow(key=day, status="SCHEDULED", attributes=row(day=day))
        for day in ("", "20200101", "20260309")
    ]

    assert [one.key for one in nearest(rows, 3, NOW)[0]] == ["20260309", "20200101", ""]


def shape(device: Device, keys: Attributes, of: Attributes) -> tuple[Attributes, int]:
    found = asking(device, keys)
    return found.fitted(found.answer(of))


def test_attributes_are_left_out_and_put_in() -> None:
    device = Device(
        drop=("MedicalAlerts",),
        drop_empty=("PregnancyStatus", "PatientWeight"),
        always=("RequestedProcedureID", "ScheduledStationName", "ReferencedStudySequence"),
    )
    asked: Attributes = {
        "MedicalAlerts": "",
        "PregnancyStatus": "",
        "PatientWeight": "",
        STEPS: ({"Modality": ""},),
    }

    answer, lost = shape(device, asked, {**row(), "MedicalAlerts": "MRSA", "PatientWeight": "70"})

    assert lost == 0
    assert answer == {
        "PatientWeight": "70",
        "RequestedProcedureID": "",
        "ReferencedStudySequence": (),
        "StudyInstanceUID": answer["StudyInstanceUID"],
        STEPS: ({"Modality": "CT", "ScheduledStationName": ""},),
    }


def test_a_step_that_is_asked_for_whole_stays_whole() -> None:
    answer, _ = shape(Device(always=("ScheduledStationName",)), {STEPS: ()}, row())

    assert answer[STEPS] == row()[STEPS]


def test_a_description_comes_from_where_there_is_one() -> None:
    device = Device(
        fill={"RequestedProcedureDescription": ("ScheduledProcedureStepDescription", "StudyDescription")}
    )
    keys: Attributes = {"RequestedProcedureDescription": ""}
    step: Attributes = {"ScheduledProcedureStepDescription": "Caput"}

    def told(of: Attributes) -> Any:
        return shape(device, keys, of)[0]["RequestedProcedureDescription"]

    assert told({STEPS: (step,)}) == "Caput"
    assert told({"StudyDescription": "CT", STEPS: ({},)}) == "CT"
    assert told({"RequestedProcedureDescription": "CT caput", STEPS: (step,)}) == "CT caput"
    assert told({}) == ""


def test_names_and_descriptions_are_cut_to_what_it_takes_and_counted() -> None:
    device = Device(
        lengths={"RequestedProcedureDescription": 8}, name_components=2, upper_names=True, name_length=12
    )
    keys: Attributes = {"PatientName": "", "RequestedProcedureDescription": "", "AccessionNumber": ""}
    of: Attributes = {
        "PatientName": "Hansen^Kari^Marie",
        "RequestedProcedureDescription": "CT caput og hals",
        "AccessionNumber": "A" * 16,
    }

    answer, lost = shape(device, keys, of)

    assert (answer["PatientName"], answer["RequestedProcedureDescription"]) == ("HANSEN^KARI", "CT caput")
    assert (answer["AccessionNumber"], lost) == ("A" * 16, 2)
