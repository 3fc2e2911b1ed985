"""Worklist rows. Whole rows stand in tests/golden/ris; here is what must hold for all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.modality.render import STEP_KEYWORDS, render_row
from adapters.ris import INBOUND as ORDERS
from broker.contact import KEYWORDS
from broker.dicom.attributes import from_json
from broker.dicom.fit import with_short_names
from broker.dicom.vr_faults import vr_faults
from broker.errors import UnmappableError
from broker.event import Code, Encounter, Identifier, Order, Patient, PersonName, Step
from broker.view import View
from tests.support import golden

# PS3.4 table K.6-1: return keys of type 1 and 2 that the broker has a source for.
REQUIRED = {
    *(
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "ReferringPhysicianName",
    ),
    *("RequestingPhysician", "StudyInstanceUID", "RequestedProcedureID", "RequestedProcedureDescription"),
    *("RequestedProcedurePriority", "ReferencedStudySequence", "ReferencedPatientSequence"),
}
REQUIRED_OF_STEP = {
    *(
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
    ),
    *("ScheduledPerformingPhysicianName", "ScheduledProcedureStepDescription", "ScheduledProcedureStepID"),
    *("ScheduledStationName", "ScheduledProcedureStepLocation", "ScheduledProcedureStepStatus"),
}
EMPTY = Patient(identifiers=(Identifier(value="7"),))
STEP = Step(key="k", step_id="S1", study_uid="2.25.1")
LONG = "æøå" * 40


def whole() -> View:
    case = golden.FOLDER / "ris" / "orm_zds.hl7"
    return golden.views(golden.receive(ORDERS, golden.load(case)))[-1]


def view(
    step: Step = STEP,
    patient: Patient = EMPTY,
    order: Order | None = None,
    encounter: Encounter | None = None,
) -> View:
    return replace(whole(), step=step, patient=patient, order=order, encounter=encounter, message=None)


def row(seen: View, **changes: Any) -> dict[str, Any]:
    rendered = render_row(seen, golden.target("worklist", set=changes))
    # Names are cut for whoever is answered.
    assert vr_faults(with_short_names(from_json(rendered.payload.decode()))[0]) == []
    found: dict[str, Any] = json.loads(rendered.payload)
    return found


def item(seen: View, **changes: Any) -> dict[str, Any]:
    (found,) = row(seen, **changes)["ScheduledProcedureStepSequence"]
    return dict(found)


@pytest.mark.parametrize("seen", [whole(), view()], ids=["whole", "bare"])
def test_every_required_attribute_stands_empty_where_it_is_unknown(seen: View) -> None:
    assert row(seen).keys() >= REQUIRED
    assert item(seen).keys() >= REQUIRED_OF_STEP


def test_nothing_is_invented() -> None:
    found = item(view())

    assert {keyword for keyword, value in found.items() if value} == {"ScheduledProcedureStepID"}
    assert (
        row(view())["PatientName"] == row(view())["PatientBirthDate"] == row(view())["AccessionNumber"] == ""
    )


def test_the_first_identifier_is_the_patient_id_and_the_others_stand_beside_it() -> None:
    first = Identifier(value="30908299902", namespace="NNNOR", oid="2.16.578.1.12.4.1.4.1", oid_type="ISO")
    others = (Identifier(value="700124", namespace="STO"), Identifier(value="8", oid="2.999.1"))
    found = row(view(patient=Patient(identifiers=(first, *others))))

    assert (found["PatientID"], found["IssuerOfPatientID"]) == ("30908299902", "NNNOR")
    assert found["IssuerOfPatientIDQualifiersSequence"] == [
        {"UniversalEntityID": "2.16.578.1.12.4.1.4.1", "UniversalEntityIDType": "ISO"}
    ]
    assert found["OtherPatientIDsSequence"] == [
        {"PatientID": "700124", "IssuerOfPatientID": "STO", "TypeOfPatientID": "TEXT"},
        {
            "PatientID": "8",
            "IssuerOfPatientIDQualifiersSequence": [
                {"UniversalEntityID": "2.999.1", "UniversalEntityIDType": "ISO"}
            ],
            "TypeOfPatientID": "TEXT",
        },
    ]
    assert "OtherPatientIDsSequence" not in row(view())


@pytest.mark.parametrize(("known", "shown"), [("20190718", "20190718"), ("2019", ""), ("", ""), (None, "")])
def test_a_birth_date_is_whole_or_empty(known: str | None, shown: str) -> None:
    assert row(view(patient=EMPTY.model_copy(update={"birth_date": known})))["PatientBirthDate"] == shown


def test_codes() -> None:
    step = STEP.model_copy(
        update={
            "protocol": Code(code="SPC0AK", text="CT thorax", system="NCRP"),
            "procedure": Code(code="1.2.826.0.1.3680043.8", text="", system="a scheme with a long name"),
        }
    )
    found = row(view(step))

    assert found["ScheduledProcedureStepSequence"][0]["ScheduledProtocolCodeSequence"] == [
        {"CodeValue": "SPC0AK", "CodingSchemeDesignator": "NCRP", "CodeMeaning": "CT thorax"}
    ]
    assert found["RequestedProcedureCodeSequence"] == [
        {
            "LongCodeValue": "1.2.826.0.1.3680043.8",
            "CodingSchemeDesignator": "99LOCAL",
            "CodeMeaning": "1.2.826.0.1.3680043.8",
        }
    ]
    assert "RequestedProcedureCodeSequence" not in row(
        view(STEP.model_copy(update={"procedure": Code(text="X")}))
    )


def test_what_is_for_reading_is_shortened_and_noted() -> None:
    step = STEP.model_copy(update={"description": LONG, "procedure": Code(code="X", text=LONG, system="L")})
    name = PersonName(family=LONG, given="Siv")
    seen = view(
        step, EMPTY.model_copy(update={"name": name}), Order(requester=name), Encounter(referring=name)
    )
    rendered = render_row(seen, golden.target("worklist"))
    found = row(seen)

    whole = f"{LONG}^Siv"
    assert found["PatientName"] == found["RequestingPhysician"] == found["ReferringPhysicianName"] == whole
    assert found["RequestedProcedureDescription"] == LONG[:64]
    assert item(seen)["ScheduledProcedureStepDescription"] == LONG[:64]
    told = rendered.summary.partition("; shortened to fit: ")[2].split(", ")
    assert sorted(told) == [
        "CodeMeaning",
        "RequestedProcedureDescription",
        "ScheduledProcedureStepDescription",
    ]
    assert "æøå" not in rendered.summary


def test_a_name_stays_whole_in_the_row() -> None:
    name = PersonName(family="A" * 63, given="Siv")

    assert row(view(patient=EMPTY.model_copy(update={"name": name})))["PatientName"] == "A" * 63 + "^Siv"


def test_signs_that_dicom_cannot_hold_in_text_for_reading() -> None:
    step = STEP.model_copy(update={"protocol": Code(code="X", text="CT 4\\5\nmed kontrast", system="L")})
    found = item(view(step))

    assert found["ScheduledProcedureStepDescription"] == "CT 4/5 med kontrast"
    assert found["ScheduledProtocolCodeSequence"][0]["CodeMeaning"] == "CT 4/5 med kontrast"


@pytest.mark.parametrize(
    ("step", "keyword"),
    [
        ({"accession_number": "A" * 17}, "AccessionNumber"),
        ({"modality": "Computed"}, "Modality"),
        ({"station_aets": ("A" * 17,)}, "ScheduledStationAETitle"),
        ({"start_date": "tomorrow"}, "ScheduledProcedureStepStartDate"),
        ({"study_uid": "1.02"}, "StudyInstanceUID"),
    ],
)
def test_what_breaks_dicom_is_refused_by_its_keyword(step: dict[str, Any], keyword: str) -> None:
    with pytest.raises(UnmappableError, match=rf"^routes/a-route.yaml:7: .*{keyword}") as raised:
        render_row(view(STEP.model_copy(update=step)), golden.target("worklist"))
    assert "AAAA" not in str(raised.value)


def test_a_routes_changes_find_their_level() -> None:
    seen = whole()
    found = row(seen, ScheduledStationAETitle=("CT1", "CT2"), PatientComments="X", Modality="MR")

    assert found["PatientComments"] == "X"
    assert found["ScheduledProcedureStepSequence"][0]["ScheduledStationAETitle"] == ["CT1", "CT2"]
    assert found["ScheduledProcedureStepSequence"][0]["Modality"] == "MR"
    assert "Modality" not in found
    assert set(item(seen)) - {"ScheduledProtocolCodeSequence"} <= STEP_KEYWORDS


def test_a_routes_change_is_checked_too() -> None:
    with pytest.raises(UnmappableError, match="ScheduledStationAETitle"):
        row(whole(), ScheduledStationAETitle="A" * 17)


def test_no_contact_data_for_anyone() -> None:
    found = row(whole())

    assert not KEYWORDS & {*found, *found["ScheduledProcedureStepSequence"][0]}


def test_what_is_no_step_has_no_row() -> None:
    with pytest.raises(UnmappableError, match=r"^routes/a-route.yaml:7: a .* has no step"):
        render_row(replace(whole(), step=None), golden.target("worklist"))


def test_no_mother_stands_on_a_row() -> None:
    mother = Identifier(value="41819077906", oid="2.16.578.1.12.4.1.4.2")
    child = EMPTY.model_copy(update={"name": PersonName(family="Hansen", given="Jente")})
    told = child.model_copy(update={"mother": mother, "multiple_birth": "Y", "birth_order": "2"})

    assert row(view(patient=told)) == row(view(patient=child))
