"""The Patient Root SCP without its socket: limits, who may ask, character sets, and the audit before the answer."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.pdq.find import FIND, PatientRoot, PatientRootScp
from broker.dicom import status
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import from_dataset, to_dataset
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN, PATIENT_ROOT_FIND
from broker.errors import StoreError
from broker.net.service import Answer, FindRequest, Peer
from tests.support.dimse import decoded
from tests.unit.adapters.pdq.conftest import Rig

PEER = Peer(calling_aet="CT1_STO", called_aet="BROKER", host="127.0.0.1", port=104)
ISSUERS = ("STO&2.999.7001&ISO", "NNNOR&2.16.578.1.12.4.1.4.1&ISO")
WANTED: Attributes = {"QueryRetrieveLevel": "PATIENT", "PatientName": "", "PatientID": ""}


def ask(rig: Rig, keys: Attributes, **options: Any) -> list[Answer]:
    request = FindRequest(
        sop_class=PATIENT_ROOT_FIND,
        identifier=to_dataset({**WANTED, **keys}),
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
        message_id=1,
        cancelled=lambda: False,
    )
    scp = PatientRootScp(PatientRoot(issuers=ISSUERS, **options), rig.context())
    return list(scp.find(request, PEER))


def rows(answers: list[Answer]) -> list[Attributes]:
    return [from_dataset(decoded(a.identifier)) for a in answers if isinstance(a.identifier, bytes)]


def test_more_matches_than_the_limit_end_with_a_status_that_says_so(rig: Rig) -> None:
    answers = ask(rig, {"PatientName": "HANSEN"}, max_hits=3)

    assert [a.status for a in answers] == [status.PENDING] * 3 + [status.RESPONSE_LIMIT]
    assert [len(rig.people.told_of(f"70000{n}")) for n in range(1, 6)] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"QueryRetrieveLevel": "STUDY", "PatientID": "700001"}, status.DATA_SET_MISMATCH),
        ({"QueryRetrieveLevel": "", "PatientID": "700001"}, status.DATA_SET_MISMATCH),
        ({}, status.CANNOT_UNDERSTAND),
        ({"PatientID": "*", "PatientName": "*"}, status.CANNOT_UNDERSTAND),
        ({"PatientName": "HA*"}, status.CANNOT_UNDERSTAND),
        ({"PatientName": "?ANSEN"}, status.CANNOT_UNDERSTAND),
        ({"PatientID": "70000?"}, status.CANNOT_UNDERSTAND),
        ({"PatientBirthDate": "1980-"}, status.CANNOT_UNDERSTAND),
        ({"PatientSex": "F"}, status.CANNOT_UNDERSTAND),
    ],
)
def test_what_is_too_broad_is_refused_and_says_why(rig: Rig, keys: Attributes, code: int) -> None:
    (answer,) = ask(rig, keys)

    assert (answer.status, answer.identifier) == (code, None)
    assert 0 < len(answer.comment) <= 64
    assert rig.counted == [("broker_patient_queries_total", "asked", "refused")]


def test_whom_the_settings_do_not_name_is_told_nothing(rig: Rig) -> None:
    (answer,) = ask(rig, {"PatientID": "700001"}, askers=("MR1_STO",))

    assert answer.status == status.NOT_AUTHORISED
    assert rows(ask(rig, {"PatientID": "700001"}, askers=("CT1_STO",)))


def test_nothing_is_told_while_the_audit_cannot_be_written(rig: Rig) -> None:
    rig.people.broken = True

    with pytest.raises(StoreError):
        ask(rig, {"PatientID": "700001"})


@pytest.mark.parametrize(
    ("charset", "name", "lossy"),
    [("ISO_IR 192", "Čuđi Ŋuorra^Áile", 0), ("ISO_IR 100", "Cudi Nuorra^Áile", 1)],
)
def test_the_name_is_shown_as_the_peer_can_read_it(rig: Rig, charset: str, name: str, lossy: int) -> None:
    (row,) = rows(ask(rig, {"PatientID": "800001"}, charsets=(charset,)))

    assert row["PatientName"] == name
    assert len([c for c in rig.counted if "lossy" in c[0]]) == lossy


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"PatientID": "30908299902", "IssuerOfPatientIDQualifiersSequence": (
            {"UniversalEntityID": "2.16.578.1.12.4.1.4.1"},)}, ["30908299902"]),
        ({"PatientID": "30908299902", "IssuerOfPatientIDQualifiersSequence": (
            {"UniversalEntityID": "2.999.7001"},)}, []),
        ({"OtherPatientIDsSequence": ({"PatientID": "800001"},)}, ["800001"]),
        ({"PatientID": "30908299902", "OtherPatientIDsSequence": ({"PatientID": "800001"},)}, ["30908299902"]),
        ({"PatientID": "700001", "OtherPatientIDsSequence": ({"PatientID": "800001"},)}, []),
        ({"PatientName": "hans?n^*e"}, ["700001", "700002", "700003", "700004", "700005"]),
        ({"PatientName": "hans?n^*x"}, []),
        ({"PatientName": "HANSEN", "PatientBirthDate": "-19800102"}, ["700001", "700002"]),
    ],
)  # fmt: skip
def test_keys_together(rig: Rig, keys: Attributes, found: list[str]) -> None:
    assert [row["PatientID"] for row in rows(ask(rig, keys))] == found


def test_an_answer_holds_what_was_asked_for_and_nothing_else(rig: Rig) -> None:
    (row,) = rows(ask(rig, {"PatientID": "700001", "PatientAddress": "", "PatientTelephoneNumbers": ""}))

    assert set(row) - {"SpecificCharacterSet"} == {
        *WANTED, "PatientAddress", "PatientTelephoneNumbers",
    }  # fmt: skip
    assert (row["PatientAddress"], row["PatientTelephoneNumbers"]) == ("", "")


def test_it_lives_on_the_shared_association_server(rig: Rig) -> None:
    FIND.factory(PatientRoot(issuers=ISSUERS), rig.context())

    assert [service.sop_classes for service in rig.services] == [(PATIENT_ROOT_FIND,)]
