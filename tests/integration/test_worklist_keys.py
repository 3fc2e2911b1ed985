"""Every kind of key that a worklist query may hold, from DCMTK's findscu and from pynetdicom, beside a running broker.

Rows are imported, because those carry every attribute; what orders and visits make of rows has its own tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind  # type: ignore[attr-defined]

from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from tests.support.broker import Broker
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, decoded, encoded
from tests.support.flows import accepted, wait_until_routed
from tests.support.messages import Person, adt

pytestmark = pytest.mark.integration

STEPS = "ScheduledProcedureStepSequence"
AILE = Person(number="700123", family="Sørby", given="Áile")


def code(value: str, meaning: str) -> Attributes:
    return {"CodeValue": value, "CodingSchemeDesignator": "NCRP", "CodeMeaning": meaning}


def row(step: str, **fields: str) -> Dataset:
    """One of the steps of one order."""
    item = {
        "ScheduledStationAETitle": "CT1_STO",
        "ScheduledStationName": "CT en",
        "ScheduledProcedureStepLocation": "Rom 3",
        "ScheduledProcedureStepStartDate": "20260310",
        "ScheduledProcedureStepStartTime": "0930",
        "ScheduledPerformingPhysicianName": "Lege^Kåre",
        "ScheduledProcedureStepID": step,
        "ScheduledProtocolCodeSequence": (code("P1", "Lavdose"), code("P2", "Kontrast")),
        "Modality": "CT",
    }
    found = to_dataset(
        {
            "PatientName": AILE.name,
            "PatientID": AILE.number,
            "AccessionNumber": "A901",
            "StudyInstanceUID": "1.2.901",
            "RequestedProcedureID": "R901",
            "RequestedProcedureCodeSequence": (code("SPC0AK", "CT thorax"),),
            STEPS: (item | fields,),
        }
    )
    found.add_new(0x80010010, "LO", "ACME")
    found.add_new(0x80011001, "LO", f"Plan {step}")
    return found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Three steps of one order, the last one late in the evening, in another room."""
    folder = tmp_path_factory.mktemp("keys")
    broker = Broker(folder)
    broker.start()
    rows = folder / "rows"
    rows.mkdir()
    late = {
        "ScheduledProcedureStepStartTime": "2330",
        "ScheduledProcedureStepLocation": "Rom 4",
        "ScheduledStationName": "CT to",
    }
    for step in (row("S1"), row("S2"), row("S3", **late)):
        name = f"{step[STEPS].value[0].ScheduledProcedureStepID}.wl"
        dcmwrite(rows / name, step, implicit_vr=False, little_endian=True)
    with broker.pas() as pas:
        accepted(pas, adt("A04", "K1", AILE))
    broker.command_json("worklist", "import", rows, "--reason", "keys")
    wait_until_routed(broker)
    yield broker
    broker.kill()


def query(keys: Attributes, step: Attributes) -> Dataset:
    return to_dataset({"PatientName": "", **keys, STEPS: ({"ScheduledProcedureStepID": "", **step},)})


def by_findscu(broker: Broker, identifier: Dataset) -> list[Dataset]:
    return broker.modality("CT1_STO").worklist(broker.dicom_port, identifier)


def by_pynetdicom(broker: Broker, identifier: Dataset, cancel_after: int = 0) -> tuple[list[Dataset], int]:
    """The answers and the last status, in Implicit VR."""
    ae = AE("CT1_STO")
    ae.add_requested_context(ModalityWorklistInformationFind, ImplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", broker.dicom_port, ae_title="BROKER")
    assert association.is_established
    rows, last = [], -1
    for status, dataset in association.send_c_find(identifier, ModalityWorklistInformationFind, msg_id=7):
        last = int(status.Status)
        if dataset is not None:
            rows.append(dataset)
            if len(rows) == cancel_after:
                association.send_c_cancel(7, query_model=ModalityWorklistInformationFind)
    association.release()
    return rows, last


def steps_of(rows: list[Dataset]) -> list[str]:
    return [str(row[STEPS].value[0].ScheduledProcedureStepID) for row in rows]


@pytest.mark.parametrize(
    ("keys", "step", "found"),
    [
        ({}, {}, ["S1", "S2", "S3"]),
        ({"AccessionNumber": "A901"}, {}, ["S1", "S2", "S3"]),
        ({"RequestedProcedureID": "R901"}, {"ScheduledProcedureStepID": "S2"}, ["S2"]),
        ({}, {"ScheduledStationName": "CT t*"}, ["S3"]),
        ({}, {"ScheduledStationName": "ct t*"}, []),
        ({}, {"ScheduledProcedureStepLocation": "Rom ?", "Modality": "CT"}, ["S1", "S2", "S3"]),
        ({}, {"ScheduledProcedureStepLocation": "Rom 3"}, ["S1", "S2"]),
        ({}, {"ScheduledPerformingPhysicianName": "LEGE^KARE"}, ["S1", "S2", "S3"]),
        ({"PatientName": "sorby^aile"}, {}, ["S1", "S2", "S3"]),
        ({"PatientID": "70012?"}, {}, ["S1", "S2", "S3"]),
        ({"RequestedProcedureCodeSequence": ({"CodeValue": "SPC0AK"},)}, {}, ["S1", "S2", "S3"]),
        ({"RequestedProcedureCodeSequence": ({"CodeValue": "OTHER"},)}, {}, []),
        ({}, {"ScheduledProtocolCodeSequence": ({"CodeValue": "P2"},)}, ["S1", "S2", "S3"]),
        ({}, {"ScheduledProtocolCodeSequence": ({"CodeValue": "P2", "CodeMeaning": "Lavdose"},)}, []),
        (
            {},
            {
                "ScheduledProcedureStepStartDate": "20260310-20260311",
                "ScheduledProcedureStepStartTime": "2200-0600",
            },
            ["S3"],
        ),
    ],
)
def test_what_two_clients_find(broker: Broker, keys: Attributes, step: Attributes, found: list[str]) -> None:
    identifier = query(keys, step)
    rows, last = by_pynetdicom(broker, identifier)
    assert sorted(steps_of(by_findscu(broker, identifier))) == sorted(steps_of(rows)) == found
    assert last == 0


def test_a_sequence_of_zero_length_gives_its_whole_items_and_an_expanded_one_its_keys(broker: Broker) -> None:
    whole = query({"RequestedProcedureCodeSequence": ()}, {"ScheduledProtocolCodeSequence": ()})
    expanded = query(
        {"RequestedProcedureCodeSequence": ({"CodeMeaning": ""},)},
        {"ScheduledProtocolCodeSequence": ({"CodeValue": "P2"},)},
    )
    for ask in (by_findscu, lambda *args: by_pynetdicom(*args)[0]):
        first = ask(broker, whole)[0]
        assert [item.dir() for item in first.RequestedProcedureCodeSequence] == [
            ["CodeMeaning", "CodeValue", "CodingSchemeDesignator"]
        ]
        assert [item.CodeValue for item in first[STEPS].value[0].ScheduledProtocolCodeSequence] == [
            "P1",
            "P2",
        ]
        second = ask(broker, expanded)[0]
        assert [item.dir() for item in second.RequestedProcedureCodeSequence] == [["CodeMeaning"]]
        assert [item.CodeValue for item in second[STEPS].value[0].ScheduledProtocolCodeSequence] == ["P2"]


def test_group_lengths_empty_items_and_private_keys_disturb_nothing(broker: Broker, tmp_path: Path) -> None:
    """Group lengths by our own client: other toolkits leave them out, or make them right."""
    odd = query({"QueryRetrieveLevel": "", "PregnancyStatus": "0"}, {})
    odd[STEPS].value.insert(0, Dataset())
    odd.add_new(0x80010010, "LO", "ACME")
    odd.add_new(0x80011001, "LO", "Plan S2")
    odd.add_new(0x80031001, "LO", "nobody knows")
    lying = b"\x08\0\0\0UL\4\0\xff\xff\0\0"

    assert steps_of(by_findscu(broker, odd)) == ["S2"]
    rows, last = by_pynetdicom(broker, odd)
    assert (steps_of(rows), last) == (["S2"], 0)
    with Scu(broker.dicom_port, [(WORKLIST, EXPLICIT)], calling="CT1_STO") as scu:
        assert steps_of([decoded(answer) for answer in scu.find(lying + encoded(odd))]) == ["S2"]


def test_a_client_may_cancel(broker: Broker) -> None:
    """What is on its way still comes; then Cancel, or Success where nothing was left to cancel."""
    rows, last = by_pynetdicom(broker, query({}, {}), cancel_after=1)
    assert len(rows) <= 3
    assert last in (0xFE00, 0x0000)
    outcome = broker.modality("CT1_STO").find(broker.dicom_port, query({}, {}), "-W", "--cancel", "1")
    assert outcome.returncode == 0
    assert steps_of(by_pynetdicom(broker, query({}, {}))[0]) == ["S1", "S2", "S3"]
