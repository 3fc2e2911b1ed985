"""An instance on its way to the PACS: what PAS says of its patient, or nothing at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.pacs.mapping import receive
from adapters.pacs.render import render_hl7, render_instance, repeatable
from adapters.pas import INBOUND as PAS
from broker.dicom.uid import KEY_OBJECT_SELECTION
from broker.errors import UnmappableError
from broker.event import Identifier, Patient, PersonName
from broker.view import View
from tests.support import golden
from tests.unit.adapters.pacs.test_mapping import ARRIVED, HEADS, PROFILE, STO

NATIONAL = Identifier(value="30908299902", namespace="NNNOR", oid="2.16.578.1.12.4.1.4.1", oid_type="ISO")
LOCAL = STO.model_copy(update={"value": "700124"})


def view(patient: Patient | None, *, verified: bool = True, **head: Any) -> View:
    reception = receive({**HEADS, **head}, ARRIVED, PROFILE, message_id=golden.MESSAGE_ID, now=golden.NOW)
    return View(event=reception.events[0], patient=patient, verified=verified)


def coerced(seen: View) -> dict[str, Any]:
    found = json.loads(render_instance(seen, golden.target("dicom")).payload)
    assert found["path"] == ARRIVED.path
    assert found["sop_instance_uid"] == "2.25.3"
    assert found["source"] == "images"
    return dict(found["coerce"])


def test_the_object_keeps_its_id_where_that_is_one_of_the_patients() -> None:
    patient = Patient(
        identifiers=(NATIONAL, LOCAL),
        name=PersonName(family="Sørby", given="Áile"),
        birth_date="20190718",
        sex="F",
    )

    assert coerced(view(patient)) == {
        "PatientID": "700124",
        "IssuerOfPatientID": "STO",
        "IssuerOfPatientIDQualifiersSequence": [
            {"UniversalEntityID": "2.999.7001", "UniversalEntityIDType": "ISO"}
        ],
        "PatientName": "Sørby^Áile",
        "PatientBirthDate": "20190718",
        "PatientSex": "F",
    }


def test_an_id_that_ended_becomes_the_patients_first() -> None:
    assert (
        coerced(view(Patient(identifiers=(NATIONAL, LOCAL)), PatientID="700999"))["PatientID"]
        == "30908299902"
    )


def test_what_pas_did_not_say_is_not_touched_and_what_it_cleared_is() -> None:
    silent = coerced(view(Patient(identifiers=(LOCAL,))))
    cleared = coerced(view(Patient(identifiers=(LOCAL,), name=PersonName(), birth_date="", sex="")))

    assert not {"PatientName", "PatientBirthDate", "PatientSex"} & set(silent)
    assert (cleared["PatientName"], cleared["PatientBirthDate"], cleared["PatientSex"]) == ("", "", "")


def test_half_a_birth_date_is_not_written() -> None:
    assert "PatientBirthDate" not in coerced(view(Patient(identifiers=(LOCAL,), birth_date="2019")))


@pytest.mark.parametrize("patient", [None, Patient(identifiers=(LOCAL,), name=PersonName(family="Sørby"))])
def test_an_unknown_patients_object_leaves_unchanged(patient: Patient | None) -> None:
    rendered = render_instance(view(patient, verified=False), golden.target("dicom"))

    assert json.loads(rendered.payload)["coerce"] is None
    assert rendered.summary == "instance, unverified, unchanged"


def test_an_object_may_be_sent_again_behind_others_and_a_key_object_may_not() -> None:
    patient = Patient(identifiers=(LOCAL,))
    image, note = (
        render_instance(view(patient, **head), golden.target("dicom")).payload
        for head in ({}, {"SOPClassUID": KEY_OBJECT_SELECTION})
    )

    assert repeatable(image)
    assert not repeatable(note), "what it rejects must not come behind it"


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"{}", b'{"path": "instances/a.dcm"}'])
def test_what_an_older_broker_or_a_person_wrote_waits_for_its_turn(payload: bytes) -> None:
    assert not repeatable(payload)


def test_it_is_the_same_every_time_and_tells_no_values() -> None:
    seen = view(Patient(identifiers=(LOCAL,), name=PersonName(family="Sørby")))
    first, second = (render_instance(seen, golden.target("dicom")) for _ in range(2))

    assert first == second
    assert (first.summary, first.keys) == ("instance, demographics from PAS", ())


def adt() -> View:
    return golden.views(golden.receive(PAS, golden.load(golden.FOLDER / "pas" / "a01_admit.hl7")))[0]


def test_what_holds_no_instance_cannot_be_sent() -> None:
    with pytest.raises(
        UnmappableError, match=r"^routes/a-route.yaml:7: a patient.registered holds no instance"
    ):
        render_instance(adt(), golden.target("dicom"))


def test_adt_for_the_pacs_has_no_contact_data() -> None:
    rendered = render_hl7(adt(), golden.target(send="source"))

    assert "Sørby^Áile".encode() in rendered.payload
    for token in (b"NK1", "Prøvegata".encode(), b"73000001"):
        assert token not in rendered.payload
    assert rendered.summary == "ADT^A01 control id C1"


def test_the_pacs_takes_no_built_messages() -> None:
    with pytest.raises(UnmappableError, match="send: source"):
        render_hl7(adt(), golden.target(send="ORM^O01"))
