"""`broker.dicom.matching`: PS3.4 C.2.2.2 by example, and against an oracle that knows nothing of its code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from broker.dicom import uid
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.matching import STEPS, Query

ROW: Attributes = {
    "PatientName": "Hansen^Kåre",
    "PatientID": "T1",
    "PatientBirthDate": "19690213",
    "StudyInstanceUID": "1.2.3",
    "AccessionNumber": "A1",
    "OtherPatientIDs": ("X1", "X2"),
    "RequestedProcedureCodeSequence": (
        {"CodeValue": "F1", "CodingSchemeDesignator": "L"},
        {"CodeValue": "F2", "CodingSchemeDesignator": "L", "CodeMeaning": "Fundus"},
    ),
    STEPS: (
        {
            "Modality": "OP",
            "ScheduledStationAETitle": ("FUNDUS1", "FUNDUS2"),
            "ScheduledProcedureStepStartDate": "20260105",
            "ScheduledProcedureStepStartTime": "0930",
            "ScheduledProcedureStepID": "S1",
        },
    ),
}


def query(keys: Attributes | None = None, **step: str | tuple[str, ...]) -> Query:
    attributes = dict(keys or {})
    if step:
        attributes[STEPS] = (step,)
    return Query.read(to_dataset(attributes))


@pytest.mark.parametrize(
    "keys",
    [
        {"PatientName": ""},
        {"PatientName": "*"},
        {"PatientName": "**"},
        {"PatientBirthDate": "*"},
        {"StudyInstanceUID": "*"},
        {"PatientName": "HANSEN^KÅRE"},
        {"PatientName": "hansen^kare"},
        {"PatientName": "HANSEN^KAARE"},
        {"PatientName": "HANSEN"},
        {"PatientName": "HANSEN^"},
        {"PatientName": "HAN*"},
        {"PatientName": "HAN*^K*"},
        {"PatientName": "*KAR*"},
        {"PatientName": "H?NS?N"},
        {"PatientName": "^KARE"},
        {"PatientName": "Hansen ^ Kare "},
        {"PatientID": "T1"},
        {"PatientID": " T1 "},
        {"PatientID": "T?"},
        {"PatientID": ("T0", "T1")},
        {"PatientBirthDate": "19690213"},
        {"PatientBirthDate": "1969.02.13"},
        {"PatientBirthDate": "19690101-"},
        {"PatientBirthDate": "-19690213"},
        {"PatientBirthDate": "19690213-19690213"},
        {"StudyInstanceUID": ("1.2.4", "1.2.3")},
        {"OtherPatientIDs": "X2"},
        {"AccessionNumber": "", "SpecificCharacterSet": "ISO_IR 100"},
        {"TimezoneOffsetFromUTC": "+0100"},
        {"QueryRetrieveLevel": "STUDY"},
        {"RequestedProcedureCodeSequence": ()},
        {"RequestedProcedureCodeSequence": ({},)},
        {"RequestedProcedureCodeSequence": ({"CodeValue": ""},)},
        {"RequestedProcedureCodeSequence": ({"CodeValue": "F2", "CodingSchemeDesignator": "L"},)},
        {"ReferencedStudySequence": ({"ReferencedSOPInstanceUID": ""},)},
        {STEPS: ()},
        {STEPS: ({},)},
        {STEPS: ({}, {"Modality": "OP"})},
    ],
)
def test_found(keys: Attributes) -> None:
    assert query(keys).excluded_by(ROW) == ""
    assert query(keys).matches(ROW)


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"PatientName": "HANSE"}, "PatientName"),
        ({"PatientName": "HANSEN^OLA"}, "PatientName"),
        ({"PatientName": "H?NSEN?^K*"}, "PatientName"),
        ({"PatientName": "KARE"}, "PatientName"),
        ({"PatientID": "t1"}, "PatientID"),
        ({"PatientID": "T"}, "PatientID"),
        ({"PatientID": "T[1]"}, "PatientID"),
        ({"PatientBirthDate": "1969*"}, "PatientBirthDate"),
        ({"PatientBirthDate": "-19690212"}, "PatientBirthDate"),
        ({"PatientBirthDate": "19690214-"}, "PatientBirthDate"),
        ({"StudyInstanceUID": "1.2.*"}, "StudyInstanceUID"),
        ({"StudyInstanceUID": ("1.2.4", "1.2.5")}, "StudyInstanceUID"),
        ({"AdmissionID": "1"}, "AdmissionID"),
        (
            {"RequestedProcedureCodeSequence": ({"CodeValue": "F1", "CodeMeaning": "Fundus"},)},
            "RequestedProcedureCodeSequence.CodeMeaning",
        ),
        (
            {"ReferencedStudySequence": ({"ReferencedSOPInstanceUID": "1.2"},)},
            "ReferencedStudySequence",
        ),
        ({"PatientID": "T2", STEPS: ({"Modality": "CT"},)}, "PatientID"),
        ({"PatientID": "T1", STEPS: ({"Modality": "CT"},)}, f"{STEPS}.Modality"),
    ],
)
def test_not_found_and_why(keys: Attributes, place: str) -> None:
    assert query(keys).excluded_by(ROW) == place
    assert not query(keys).matches(ROW)


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ({"ScheduledStationAETitle": "FUNDUS2"}, True),
        ({"ScheduledStationAETitle": "FUNDUS*"}, True),
        ({"ScheduledStationAETitle": "fundus1"}, False),
        ({"ScheduledStationAETitle": "FUNDUS"}, False),
        ({"ScheduledProcedureStepStartTime": "0930"}, True),
        ({"ScheduledProcedureStepStartTime": "093000"}, True),
        ({"ScheduledProcedureStepStartTime": "09:30:00"}, True),
        ({"ScheduledProcedureStepStartTime": "0931"}, False),
        ({"ScheduledProcedureStepStartTime": "09"}, False),
        ({"ScheduledProcedureStepStartTime": "09-09"}, True),
        ({"ScheduledProcedureStepStartTime": "-0930"}, True),
        ({"ScheduledProcedureStepStartTime": "-0929"}, False),
        ({"ScheduledProcedureStepStartTime": "0930-"}, True),
        ({"ScheduledProcedureStepStartTime": "093001-"}, False),
        ({"ScheduledProcedureStepStartTime": "22-06"}, False),
        ({"ScheduledProcedureStepStartTime": "22-10"}, True),
        ({"ScheduledProcedureStepStartTime": "-"}, True),
        ({"ScheduledProcedureStepStartDate": "20260105", "ScheduledProcedureStepStartTime": "10-12"}, False),
        # Both as ranges: one period (the first day from 10, the last day until 08).
        (
            {
                "ScheduledProcedureStepStartDate": "20260104-20260106",
                "ScheduledProcedureStepStartTime": "10-08",
            },
            True,
        ),
        (
            {
                "ScheduledProcedureStepStartDate": "20260105-20260106",
                "ScheduledProcedureStepStartTime": "10-08",
            },
            False,
        ),
        (
            {
                "ScheduledProcedureStepStartDate": "20260104-20260105",
                "ScheduledProcedureStepStartTime": "22-0929",
            },
            False,
        ),
        (
            {
                "ScheduledProcedureStepStartDate": "20260104-20260105",
                "ScheduledProcedureStepStartTime": "22-0930",
            },
            True,
        ),
        ({"ScheduledProcedureStepStartDate": "20260105-", "ScheduledProcedureStepStartTime": "0931-"}, False),
        ({"ScheduledProcedureStepStartDate": "20260104-", "ScheduledProcedureStepStartTime": "0931-"}, True),
        ({"ScheduledProcedureStepStartDate": "-20260105", "ScheduledProcedureStepStartTime": "-0929"}, False),
    ],
)
def test_keys_of_the_step(step: dict[str, str], found: bool) -> None:
    assert query(**step).matches(ROW) is found


WIDE: Attributes = {
    "AccessionNumber": "A1",
    "AdmissionID": "V1",
    "IssuerOfAccessionNumberSequence": ({"LocalNamespaceEntityID": "RIS"},),
    "IssuerOfAdmissionIDSequence": ({"UniversalEntityID": "1.2.9", "UniversalEntityIDType": "ISO"},),
    "InstitutionName": "Øyeavdelingen",
    "InstitutionCodeSequence": ({"CodeValue": "4204082", "CodingSchemeDesignator": "99RESH"},),
    "InstitutionalDepartmentName": "OYE",
    "InstitutionalDepartmentTypeCodeSequence": ({"CodeValue": "309988001", "CodingSchemeDesignator": "SCT"},),
    "PatientID": "T1",
    "IssuerOfPatientID": "STO",
    "PatientSex": "F",
    "PatientWeight": "70",
    "PregnancyStatus": "4",
    "ResponsiblePerson": "Hansen^Mor",
    "ResponsiblePersonRole": "MOTHER",
    "ReferringPhysicianName": "Berg^Ås",
    "RequestingPhysician": "Lund^Per",
    "RequestedProcedureID": "P1",
    "RequestedProcedurePriority": "STAT",
    "RequestedProcedureCodeSequence": ({"CodeValue": "F1", "CodingSchemeDesignator": "NCRP"},),
    "StudyInstanceUID": "1.2.3",
    "CurrentPatientLocation": "5A^501",
    "WorklistLabel": "eye",
    STEPS: (
        {
            "Modality": "OP",
            "ScheduledStationAETitle": "FUNDUS1",
            "ScheduledStationName": "OYE-LAB1",
            "ScheduledProcedureStepLocation": "Øye 2. etg",
            "ScheduledProcedureStepStatus": "ARRIVED",
            "ScheduledPerformingPhysicianName": "Moe^Eli",
            "ScheduledProtocolCodeSequence": ({"CodeValue": "FU2", "CodingSchemeDesignator": "99LOCAL"},),
        },
    ),
}
"""A row with every attribute that other worklist servers match, and those that they do not."""


def leaves(attributes: Attributes) -> list[Attributes]:
    """A query for each value of the row: that value as its only key."""
    found: list[Attributes] = []
    for key, value in attributes.items():
        if isinstance(value, str):
            found.append({key: value})
        else:
            found += [{key: (leaf,)} for item in value if not isinstance(item, str) for leaf in leaves(item)]
    return found


def other(attributes: Attributes) -> Attributes:
    """The query with another value, of the same kind."""
    ((key, value),) = attributes.items()
    if not isinstance(value, str):
        return {key: tuple(other(item) for item in value if not isinstance(item, str))}
    return {key: "9" if value.isdigit() else "1.9" if value[0] == "1" else "NOBODY"}


@pytest.mark.parametrize("key", leaves(WIDE), ids=str)
def test_whatever_a_row_holds_can_be_asked_for(key: Attributes) -> None:
    assert query(key).matches(WIDE)
    assert not query(other(key)).matches(WIDE)


# --- what devices send --------------------------------------------------------------------------------------


def test_a_device_s_usual_disorder_is_read() -> None:
    """Group lengths, a private matching key, an unknown tag, an empty item, an empty sequence."""
    identifier = to_dataset(
        {"PatientName": "*", "PregnancyStatus": "", "RequestedProcedureCodeSequence": ({},)}
    )
    identifier.add_new(0x00080000, "UL", 18)
    identifier.add_new(0x80010010, "LO", "ACME")
    identifier.add_new(0x80011001, "LO", "X")
    identifier.add_new(0x00101F00, "LO", "Y")
    identifier.add_new(0x00091001, "UN", b"\x01\x02")
    step = Dataset()
    step.add_new(0x00400000, "UL", 4)
    step.add_new(0x80031001, "SH", "Z")
    step.Modality = "OP"
    identifier.ScheduledProcedureStepSequence = [step]
    asked = Query.read(identifier)
    assert asked.matches(ROW)
    assert asked.unsupported == ("0010,1F00", f"{STEPS}.8003,1001", "8001,1001")
    answer = asked.answer(ROW)
    assert set(answer) == {
        "PatientName", "PregnancyStatus", "RequestedProcedureCodeSequence", "StudyInstanceUID", STEPS,
    }  # fmt: skip
    to_dataset(answer)


def test_a_number_of_zero_is_an_empty_one() -> None:
    """dcmjs writes an empty Pregnancy Status as zero, and asks for it in every worklist query."""
    asked = query({"PatientID": "T1", "PregnancyStatus": "0"})
    assert asked.matches(ROW)
    assert asked.matches({**ROW, "PregnancyStatus": "2"})
    assert asked.verdicts(ROW) == query({"PatientID": "T1"}).verdicts(ROW)
    assert not query({"PregnancyStatus": "3"}).matches({**ROW, "PregnancyStatus": "2"})


def private(vr: str, value: str | bytes) -> Query:
    identifier = to_dataset({"PatientID": ""})
    identifier.add_new(0x80010010, "LO", "LIAC")
    identifier.add_new(0x80011001, vr, value)
    return Query.read(identifier)


@pytest.mark.parametrize(("vr", "value"), [("LO", "Plan"), ("UN", b"Plan"), ("UN", b"Plan ")])
def test_a_private_key_says_something_of_rows_that_have_it_only(vr: str, value: str | bytes) -> None:
    """Explicit VR says what it is; over Implicit VR nobody knows."""
    asked = private(vr, value)
    same: Attributes = {"PatientID": "T1", "8001,0010": "LIAC", "8001,1001": "Plan"}
    other = {**same, "8001,1001": "Other"}

    assert asked.unsupported == ("8001,1001",)
    assert (asked.matches(same), asked.matches(other), asked.matches({"PatientID": "T1"})) == (
        True,
        False,
        True,
    )
    assert asked.excluded_by(other) == "8001,1001"
    assert [verdict.matches for verdict in asked.verdicts(other)] == [False]
    assert asked.answer(same)["8001,1001"] == "Plan"
    assert "8001,1001" not in asked.answer({"PatientID": "T1"})
    assert asked.matches({**other, "8001,0010": "ANOTHER"}), (
        "the same tag of another maker is another attribute"
    )


def test_a_private_key_in_a_sequence_says_nothing_of_rows_without_the_sequence() -> None:
    item = Dataset()
    item.add_new(0x80011001, "LO", "Plan")
    identifier = to_dataset({"PatientID": "T1"})
    identifier.ReferencedStudySequence = [item]
    asked = Query.read(identifier)
    assert asked.matches({"PatientID": "T1"})
    assert [verdict.path for verdict in asked.verdicts({"PatientID": "T1"})] == ["PatientID"]


def test_the_query_s_own_character_set_counts() -> None:
    identifier = to_dataset({"PatientName": "Kåre*"}, charset="ISO_IR 100")
    assert Query.read(identifier).matches({"PatientName": "KÅRE^X"})


# --- the answer ---------------------------------------------------------------------------------------------


def test_every_requested_key_is_answered_and_no_other() -> None:
    asked = query(
        {
            "SpecificCharacterSet": "ISO_IR 192",
            "PatientName": "",
            "PatientWeight": "",
            "AdmissionID": "",
            "ReferencedStudySequence": ({"ReferencedSOPInstanceUID": ""},),
        },
        Modality="OP",
        ScheduledProcedureStepStatus="",
    )
    assert asked.answer(ROW) == {
        "SpecificCharacterSet": "",
        "PatientName": "Hansen^Kåre",
        "PatientWeight": "",
        "AdmissionID": "",
        "ReferencedStudySequence": (),
        "StudyInstanceUID": "1.2.3",
        STEPS: ({"Modality": "OP", "ScheduledProcedureStepStatus": ""},),
    }


def test_an_answer_is_in_tag_order() -> None:
    assert list(query({STEPS: ()}).answer(ROW)) == ["StudyInstanceUID", STEPS]


@pytest.mark.parametrize("empty", [(), ({},)])
def test_a_sequence_requested_whole_is_answered_whole(empty: tuple[Attributes, ...]) -> None:
    answer = query({STEPS: empty, "RequestedProcedureCodeSequence": empty}).answer(ROW)
    assert answer[STEPS] == ROW[STEPS]
    assert answer["RequestedProcedureCodeSequence"] == ROW["RequestedProcedureCodeSequence"]


def test_of_several_items_those_that_match_are_answered() -> None:
    answer = query({"RequestedProcedureCodeSequence": ({"CodeValue": "F2", "CodeMeaning": ""},)}).answer(ROW)
    assert answer["RequestedProcedureCodeSequence"] == ({"CodeValue": "F2", "CodeMeaning": "Fundus"},)


@pytest.mark.parametrize("study", ["", "not a uid", "1.02", ("1.2", "1.3")])
def test_the_study_instance_uid_is_always_well_formed(study: str) -> None:
    row = {**ROW, "StudyInstanceUID": study}
    answer = query({"PatientID": ""}).answer(row)
    assert uid.valid(str(answer["StudyInstanceUID"]))
    assert answer == query({"PatientID": ""}).answer(row)
    assert answer != query({"PatientID": ""}).answer({**row, "AccessionNumber": "A2"})


# --- what an index may use ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "stations", "patient_id", "dates"),
    [
        (query(), (), "", ("", "")),
        (query({"PatientID": "T1"}), (), "T1", ("", "")),
        (query({"PatientID": "T*"}), (), "", ("", "")),
        (query({"PatientID": ("T1", "T2")}), (), "", ("", "")),
        (query(ScheduledStationAETitle="A"), ("A",), "", ("", "")),
        (query(ScheduledStationAETitle=("A", "B")), ("A", "B"), "", ("", "")),
        (query(ScheduledStationAETitle="A*"), (), "", ("", "")),
        (query(ScheduledProcedureStepStartDate="20260105"), (), "", ("20260105", "20260105")),
        (query(ScheduledProcedureStepStartDate="2026.01.05"), (), "", ("20260105", "20260105")),
        (query(ScheduledProcedureStepStartDate="20260105-"), (), "", ("20260105", "")),
        (query(ScheduledProcedureStepStartDate="-20260105"), (), "", ("", "20260105")),
        (query(ScheduledProcedureStepStartDate="20260105-20260112"), (), "", ("20260105", "20260112")),
        (query(ScheduledProcedureStepStartDate="*"), (), "", ("", "")),
        (query(ScheduledProcedureStepStartDate="2026"), (), "", ("", "")),
    ],
)
def test_read_outs(asked: Query, stations: tuple[str, ...], patient_id: str, dates: tuple[str, str]) -> None:
    assert (asked.stations, asked.patient_id, asked.dates) == (stations, patient_id, dates)


# --- against an oracle --------------------------------------------------------------------------------------

SMALL = st.text("ab1", max_size=4)
PATTERNS = st.text("ab1*?", max_size=5)


def oracle_wildcard(pattern: str, text: str) -> bool:
    """By recursion over both strings, as one would explain it."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return oracle_wildcard(pattern[1:], text) or (bool(text) and oracle_wildcard(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and oracle_wildcard(pattern[1:], text[1:])


@given(PATTERNS, st.lists(SMALL, max_size=3))
def test_wildcards(pattern: str, values: list[str]) -> None:
    present = [value for value in values if value]
    expected = not pattern.strip("*") or any(oracle_wildcard(pattern, value) for value in present)
    row: Attributes = {"OtherPatientIDs": tuple(present)}
    assert query({"OtherPatientIDs": pattern}).matches(row) is expected


@given(PATTERNS, PATTERNS, SMALL, SMALL)
def test_names_by_component_or_whole(family: str, given_name: str, row_family: str, row_given: str) -> None:
    wanted = f"{family.upper()}^{given_name}".rstrip("^")
    value = f"{row_family}^{row_given}".rstrip("^")
    by_component = all(
        not pattern or oracle_wildcard(pattern, text)
        for pattern, text in ((family, row_family), (given_name, row_given))
    )
    whole = oracle_wildcard(wanted.lower(), value)
    expected = not wanted.strip("*") or (bool(value) and (by_component or whole))
    assert query({"PatientName": wanted}).matches({"PatientName": value}) is expected


@given(
    st.sampled_from(["", "1.2", "1.3", "1.4"]), st.lists(st.sampled_from(["1.2", "1.3", "1.5"]), max_size=3)
)
def test_lists_of_uid(row_uid: str, wanted: list[str]) -> None:
    value: str | tuple[str, ...] = tuple(wanted) if len(wanted) > 1 else "".join(wanted)
    expected = not wanted or row_uid in wanted
    assert query({"StudyInstanceUID": value}).matches({"StudyInstanceUID": row_uid}) is expected


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "PatientID": PATTERNS,
            "PatientName": PATTERNS,
            "AccessionNumber": PATTERNS,
            "RequestedProcedureCodeSequence": st.lists(
                st.fixed_dictionaries({}, optional={"CodeValue": PATTERNS, "CodeMeaning": PATTERNS}),
                max_size=2,
            ).map(tuple),
        },
    )
)
def test_a_row_matches_exactly_when_no_key_excludes_it_and_every_answer_can_be_sent(keys: Attributes) -> None:
    asked = query(keys)
    assert asked.matches(ROW) is (asked.excluded_by(ROW) == "")
    assert asked.matches(ROW) is all(verdict.matches for verdict in asked.verdicts(ROW))
    answer = asked.answer(ROW)
    assert set(asked.attributes) <= set(answer)
    to_dataset(answer, charset="ISO_IR 6")


def test_every_key_that_narrows_has_its_verdict() -> None:
    asked = query(
        {"PatientID": "T1", "PatientName": "*", "AccessionNumber": ""},
        Modality="CT",
        ScheduledStationAETitle="FUNDUS2",
        ScheduledProcedureStepStartDate="20260106-",
        ScheduledProcedureStepStartTime="0800-",
    )

    assert [tuple(verdict) for verdict in asked.verdicts(ROW)] == [
        ("PatientID", ("T1",), True),
        (f"{STEPS}.Modality", ("CT",), False),
        (f"{STEPS}.ScheduledStationAETitle", ("FUNDUS2",), True),
        (f"{STEPS}.ScheduledProcedureStepStartDate", ("20260106-", "0800-"), False),
    ]


def test_of_several_items_the_nearest_one_is_judged() -> None:
    sequence = "RequestedProcedureCodeSequence"
    asked = query({sequence: ({"CodeValue": "F2", "CodeMeaning": "Lung"},)})

    found = {verdict.path: verdict.matches for verdict in asked.verdicts(ROW)}

    assert found == {f"{sequence}.CodeValue": True, f"{sequence}.CodeMeaning": False}
    assert [verdict.matches for verdict in asked.verdicts({})] == [False, False]
