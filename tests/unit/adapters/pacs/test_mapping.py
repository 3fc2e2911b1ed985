"""The head of a received object to its event: the identity that it states, under every form of an issuer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.pacs.inbound import StorageService, profile
from adapters.pacs.mapping import HEAD, Arrived, Profile, map_instance, receive, refused
from broker.adapter import ListenerPlace, Verdict
from broker.dicom import uid
from broker.event import Code, Identifier, Patient, PersonName
from broker.hl7.demographics import Issuers, read_issuer
from tests.support.golden import MESSAGE_ID, NOW
from tests.support.numbers import valid

STO = read_issuer("STO&2.999.7001&ISO")
NATIONAL = tuple(
    read_issuer(f"{name}&2.16.578.1.12.4.1.4.{n}&ISO")
    for n, name in enumerate(("NNNOR", "DNNOR", "FHNOR"), 1)
)
PROFILE = Profile(name="images", site="STO", issuers=Issuers(default=STO, known=NATIONAL), national=NATIONAL)
ARRIVED = Arrived(
    path="instances/ab/abc.dcm",
    size=7,
    sha256="abc",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    calling_aet="CT1",
)
HEADS: dict[str, Any] = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "SOPInstanceUID": "2.25.3",
    "StudyInstanceUID": "2.25.1",
    "SeriesInstanceUID": "2.25.2",
    "AccessionNumber": " A1 ",
    "Modality": "CT",
    "PatientName": "Čoahkkin-Æsøy^Ole^Šuvvá^dr^jr=IDEO^GRAPHIC",
    "PatientID": "700124",
    "PatientBirthDate": "19821030",
    "PatientSex": "m",
}


def oid(value: str) -> dict[str, Any]:
    return {
        "IssuerOfPatientIDQualifiersSequence": ({"UniversalEntityID": value, "UniversalEntityIDType": "ISO"},)
    }


def patient(**head: Any) -> Patient:
    found = map_instance({**HEADS, **head}, ARRIVED, PROFILE).data.patient
    assert found is not None
    return found


def known(issuer: Identifier, value: str = "700124") -> Identifier:
    return issuer.model_copy(update={"value": value})


def test_a_whole_head() -> None:
    draft = map_instance(HEADS, ARRIVED, PROFILE)

    assert draft.type == "instance.received"
    assert patient() == Patient(
        identifiers=(known(STO),),
        name=PersonName(family="Čoahkkin-Æsøy", given="Ole", middle="Šuvvá", prefix="dr", suffix="jr"),
        birth_date="19821030",
        sex="M",
    )
    assert draft.data.instance is not None
    assert draft.data.instance.model_dump() == {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "sop_instance_uid": "2.25.3",
        "study_uid": "2.25.1",
        "series_uid": "2.25.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "accession_number": "A1",
        "modality": "CT",
        "path": "instances/ab/abc.dcm",
        "size": 7,
        "sha256": "abc",
        "calling_aet": "CT1",
        "issuer_stated": False,
        "neonatal": False,
    }


@pytest.mark.parametrize(
    ("head", "issuer"),
    [
        ({}, STO),
        ({"IssuerOfPatientID": "STO"}, STO),
        ({"IssuerOfPatientID": "2.999.7001"}, STO),
        ({"IssuerOfPatientID": "NNNOR"}, NATIONAL[0]),
        ({"IssuerOfPatientID": "2.16.578.1.12.4.1.4.2"}, NATIONAL[1]),
        (oid("2.16.578.1.12.4.1.4.3"), NATIONAL[2]),
        ({"IssuerOfPatientID": "ANYTHING", **oid("2.999.7001")}, STO),
        ({"IssuerOfPatientID": "LHL"}, Identifier(value="", namespace="LHL")),
        (oid("2.999.1"), Identifier(value="", oid="2.999.1", oid_type="ISO")),
        ({"IssuerOfPatientIDQualifiersSequence": ()}, STO),
        ({"IssuerOfPatientIDQualifiersSequence": ""}, STO),
    ],
)
def test_the_issuer_in_every_form(head: dict[str, Any], issuer: Identifier) -> None:
    assert patient(**head).identifiers == (known(issuer),)


def test_eleven_digits_without_an_issuer_may_be_anybodys() -> None:
    """Whose it is the registers say, by asking for each in turn: the site's own domain first."""
    number = "41819077906"

    assert patient(PatientID=number).identifiers == tuple(
        known(issuer, number) for issuer in (STO, *NATIONAL)
    )
    assert patient(PatientID=number, IssuerOfPatientID="STO").identifiers == (known(STO, number),)
    assert patient(PatientID="4181907790").identifiers == (known(STO, "4181907790"),)
    assert patient(PatientID="٤١٨١٩٠٧٧٩٠٦").identifiers == (known(STO, "٤١٨١٩٠٧٧٩٠٦"),)


@pytest.mark.parametrize("value", ["", " ", ("1", "2")])
def test_an_object_without_an_id(value: Any) -> None:
    assert patient(PatientID=value).identifiers == ()


@pytest.mark.parametrize(("sex", "expected"), [("F", "F"), ("O", "O"), ("X", ""), ("", None)])
def test_sex(sex: str, expected: str | None) -> None:
    assert patient(PatientSex=sex).sex == expected


def test_an_empty_head_gives_an_empty_event() -> None:
    draft = map_instance({}, ARRIVED, PROFILE)

    assert draft.data.patient == Patient(identifiers=())
    assert draft.data.instance is not None
    assert (draft.data.instance.sop_instance_uid, draft.data.instance.study_uid) == ("", "")


def test_nothing_is_read_that_the_event_has_no_place_for() -> None:
    assert "PatientAddress" not in HEAD
    assert set(HEADS) <= set(HEAD)


def test_the_reception() -> None:
    reception = receive(HEADS, ARRIVED, PROFILE, message_id=MESSAGE_ID, now=NOW)

    assert (reception.verdict, reception.answer_code, reception.blob) == (
        Verdict.ACCEPTED,
        "0000",
        ARRIVED.path,
    )
    assert (reception.message_type, reception.sender, reception.peer, reception.protocol) == (
        "C-STORE",
        "CT1",
        "CT1",
        "dicom",
    )
    assert reception.keys == (
        ("patient", "700124"),
        ("accession", "A1"),
        ("study", "2.25.1"),
        ("instance", "2.25.3"),
    )
    (event,) = reception.events
    assert (event.id, event.source, event.site, event.time) == (f"{MESSAGE_ID}.0", "images", "STO", NOW)
    assert receive(HEADS, ARRIVED, PROFILE, message_id=MESSAGE_ID, now=NOW) == reception


@pytest.mark.parametrize(
    ("head", "flags"),
    [
        ({"PatientID": "700123"}, ()),
        ({"PatientID": valid("309082")}, ("synthetic-number",)),
        ({"PatientID": valid("309082"), "PatientBirthDate": "19821031"}, ("synthetic-number", "birth-date-differs")),
        ({"PatientID": valid("301082")}, ("real-looking-number",)),
        ({"PatientID": valid("812345")}, ()),
        ({"PatientID": "30908299999"}, ()),
        ({"PatientID": valid("305082")}, ("h-number-issuer",)),
        ({"PatientID": "20036914712", "IssuerOfPatientID": "NNNOR"}, ("check-digit",)),
        ({"PatientID": valid("812345"), "IssuerOfPatientID": "NNNOR"}, ("id-kind-differs",)),
        ({"PatientID": valid("309082"), "IssuerOfPatientID": "STO"}, ("bare-national-number", "synthetic-number")),
        ({"PatientID": ""}, ()),
    ],
)  # fmt: skip
def test_an_object_is_taken_whatever_its_id_and_what_is_odd_of_it_is_remarked(
    head: dict[str, Any], flags: tuple[str, ...]
) -> None:
    reception = receive(
        {**HEADS, "PatientBirthDate": "", **head}, ARRIVED, PROFILE, message_id=MESSAGE_ID, now=NOW
    )

    assert (reception.verdict, reception.flags) == (Verdict.ACCEPTED, flags)


def test_the_profile_knows_which_devices_examine_newborns_only() -> None:
    config = StorageService(issuer="STO&2.999.7001&ISO", neonatal_aets=("CT1",))
    place = ListenerPlace(name="images", site="STO", config_folder=Path())
    instances = [
        map_instance(HEADS, replace(ARRIVED, calling_aet=aet), profile(config, place)).data.instance
        for aet in ("CT1", "CT2")
    ]

    assert [instance and instance.neonatal for instance in instances] == [True, False]


def test_the_profile_knows_who_gives_h_numbers() -> None:
    config = StorageService(issuer="STO&2.999.7001&ISO", h_issuers=("STO&2.999.7001&ISO",))
    reception = receive(
        {**HEADS, "PatientID": valid("305082"), "PatientBirthDate": "", "IssuerOfPatientID": "STO"},
        ARRIVED,
        profile(config, ListenerPlace(name="images", site="STO", config_folder=Path())),
        message_id=MESSAGE_ID,
        now=NOW,
    )

    assert reception.flags == ()


def test_a_refusal_is_counted_too() -> None:
    reception = refused("no preamble", PROFILE, message_id=MESSAGE_ID, now=NOW, peer="CT1")

    assert (reception.verdict, reception.answer_code, reception.reason) == (
        Verdict.REJECTED,
        "A900",
        "no preamble",
    )
    assert (reception.events, reception.keys, reception.blob) == ((), (), "")


# --- rejection notes ---


def note(code: str = "113037", system: str = "DCM", **head: Any) -> dict[str, Any]:
    referenced = {"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "ReferencedSOPInstanceUID": "2.25.3"}
    series = {"SeriesInstanceUID": "2.25.2", "ReferencedSOPSequence": (referenced,)}
    return {
        **HEADS,
        "SOPClassUID": uid.KEY_OBJECT_SELECTION,
        "SOPInstanceUID": "2.25.4",
        "ConceptNameCodeSequence": (
            {"CodeValue": code, "CodingSchemeDesignator": system, "CodeMeaning": "Title"},
        ),
        "CurrentRequestedProcedureEvidenceSequence": (
            {"StudyInstanceUID": "2.25.1", "ReferencedSeriesSequence": (series,)},
        ),
        **head,
    }


def test_a_rejection_note_is_an_object_and_what_it_rejects() -> None:
    reception = receive(note(), ARRIVED, PROFILE, message_id=MESSAGE_ID, now=NOW)

    assert [(event.id, event.type) for event in reception.events] == [
        (f"{MESSAGE_ID}.0", "instance.received"),
        (f"{MESSAGE_ID}.1", "study.rejected"),
    ]
    said = reception.events[1].data
    assert said.patient == patient()
    assert said.study is not None
    assert (said.study.study_uid, said.study.accession_number, said.study.note) == ("2.25.1", "A1", "2.25.4")
    assert said.study.reason == Code(code="113037", text="Title", system="DCM")
    assert [one.sop_instance_uid for one in said.study.instances] == ["2.25.3"]
    assert ("study", "2.25.1") in reception.keys


@pytest.mark.parametrize("head", [note("113000"), note(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"), HEADS])
def test_other_objects_reject_nothing(head: dict[str, Any]) -> None:
    reception = receive(head, ARRIVED, PROFILE, message_id=MESSAGE_ID, now=NOW)
    assert [event.type for event in reception.events] == ["instance.received"]


def test_the_title_that_takes_rejections_back_is_an_option() -> None:
    config = StorageService(issuer="STO&2.999.7001&ISO", revocation="TAKEN^Taken back^99SITE")
    assert config.restore == Code(code="TAKEN", text="Taken back", system="99SITE")
    for title, types in (("TAKEN", ["study.restored"]), ("REVOKE_REJECTION", [])):
        reception = receive(
            note(title, "99SITE"), ARRIVED, PROFILE, message_id=MESSAGE_ID, now=NOW, restore=config.restore
        )
        assert [event.type for event in reception.events[1:]] == types
