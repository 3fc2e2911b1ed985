"""Images through the broker to a PACS: what PAS says is written into them, and not a byte else is touched.

The PACS is a real Orthanc, or DCMTK's storescp where the very bytes that arrive are compared. The sender is
DCMTK's storescu, or a bare socket where the very bytes that leave must be known.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk
from tests.support.dimse import Scu
from tests.support.flows import accepted, delivered, exceptions, status, wait_until_idle, wait_until_routed
from tests.support.images import dataset_bytes, differing_tags, write_image
from tests.support.messages import NATIONAL_OID, Person, adt, merge, orm, study_uid
from tests.support.orthanc import Orthanc
from tests.support.processes import wait_until
from tests.support.storescp import Storescp

pytestmark = pytest.mark.integration

REAL = (
    "charsets/chrFren.dcm",
    "charsets/chrGreek.dcm",
    "charsets/chrJapMulti.dcm",
    "dcm4che/YBR_FULL-RLE.dcm",
    "ecg/ecgtoolkit_Example.dcm",
    "made-by-peers/ko_highdicom_of_sample-op.dcm",
    "made-by-peers/pdf_pdf2dcm_cardiosoft.dcm",
    "op/sample-op.dcm",
    "orthanc/KarstenHilbertRF.dcm",
    "orthanc/MarekLatin2.dcm",
    "pydicom/MR_small_implicit.dcm",
    "pydicom/SC_rgb_jpeg_dcmtk.dcm",
    "sr/dx_image.dcm",
    "sr/sr_document.dcm",
    "us/US1_J2KI.dcm",
    "us/parametric_map_float.dcm",
)
"""Objects of other makers: seven transfer syntaxes, several character sets, images, reports, a waveform, a PDF."""

COERCED = {
    tag_for_keyword(keyword)
    for keyword in (
        *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
        *("PatientBirthDate", "PatientSex", "SpecificCharacterSet", "OriginalAttributesSequence"),
        # contact data, which one of the real objects has (invariant 11)
        *("PatientAddress", "CountryOfResidence", "PatientTelephoneNumbers", "PatientTelecomInformation"),
        "PatientInstitutionResidence",
    )
}


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Storescp]:
    server = Storescp(tmp_path / "stored")
    server.start()
    yield server
    server.stop()


def register(broker: Broker, *messages: bytes) -> None:
    """PAS says it, and the registers know it."""
    with broker.pas() as pas:
        accepted(pas, *messages)
    wait_until_routed(broker)


def original_attributes(image: pydicom.Dataset) -> pydicom.Dataset:
    """The one item of Modified Attributes in the one item of Original Attributes."""
    (entry,) = image.OriginalAttributesSequence
    (modified,) = entry.ModifiedAttributesSequence
    assert entry.ModifyingSystem == "BROKER"
    assert entry.ReasonForTheAttributeModification == "COERCE"
    return modified


def send_raw(broker: Broker, path: Path) -> bytes:
    """The file's data set, byte for byte, as one C-STORE; returns what a PACS shall get of it."""
    content = dataset_bytes(path.read_bytes())
    head = pydicom.dcmread(path, stop_before_pixels=True)
    context = (str(head.SOPClassUID), str(head.file_meta.TransferSyntaxUID))
    with Scu(broker.dicom_port, [context]) as scu:
        assert scu.store(context, str(head.SOPInstanceUID), content) == 0, path.name
    return content + b"\0" * (len(content) % 2)  # PS3.5 7.1.1: no fragment of odd length leaves us


# Some of the real objects hold values that pydicom, which only reads them here, warns of.


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_real_objects_of_known_patients_differ_in_the_demographics_only(
    broker: Broker, orthanc: Orthanc, shared_data: Path
) -> None:
    paths = [shared_data / "dicom" / name for name in REAL]
    heads = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in paths}
    people = {str(head.PatientID): person(head) for head in heads.values()}
    register(broker, *(adt("A04", f"I{n}", person) for n, person in enumerate(people.values())))

    for path in paths:
        outcome = Dcmtk().store(broker.dicom_port, path, options=["-R"])
        assert outcome.succeeded, f"{path.name}\n{outcome.output}"
    orthanc.wait_for_instances(len(paths))

    by_uid = {str(orthanc.dataset(i).SOPInstanceUID): orthanc.file(i) for i in orthanc.instances()}
    for path, head in heads.items():
        arrived = by_uid[str(head.SOPInstanceUID)]
        image = pydicom.dcmread(BytesIO(arrived))
        wanted = people[str(head.PatientID)]
        assert differing_tags(path.read_bytes(), arrived) - COERCED == set(), path.name
        assert (str(image.PatientName), image.PatientID) == (wanted.name, wanted.number), path.name
        assert image.file_meta.TransferSyntaxUID == head.file_meta.TransferSyntaxUID, path.name
        assert str(original_attributes(image).PatientName) == str(head.PatientName), path.name
    assert set(exceptions(broker).values()) <= {"demographics-differ"}


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_real_objects_of_unknown_patients_are_passed_on_bit_for_bit(
    start_broker: StartBroker, storescp: Storescp, shared_data: Path
) -> None:
    broker = start_broker(pacs_port=storescp.port, pacs_aet="STORESCP")
    sent = {}
    for name in REAL:
        path = shared_data / "dicom" / name
        sent[str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = send_raw(broker, path)
    wait_until_idle(broker)

    arrived = {uid: dataset_bytes(storescp.wait_for_file(uid)) for uid in sent}

    assert arrived == sent
    assert exceptions(broker) == dict.fromkeys(sent, "instance-unverified")
    said = broker.command("status").stdout
    assert all(uid in said for uid in sent), "a person finds them in `broker status`"


# whose image it is


def test_pas_owns_the_demographics_and_the_image_keeps_its_own_in_0400_0561(
    broker: Broker, orthanc: Orthanc, tmp_path: Path
) -> None:
    sami = Person(
        number="700123", national="30908299902", family="Sørby Čoahkkin", given="Áile", birth_date="19821030"
    )
    register(broker, adt("A04", "I1", sami))
    image = write_image(
        tmp_path / "a.dcm",
        SpecificCharacterSet="ISO_IR 100",
        PatientName="SØRBY^AILE",
        PatientID="30908299902",
        IssuerOfPatientID=NATIONAL_OID,
        PatientBirthDate="19821031",
        PatientComments="blåbær",
    )

    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    orthanc.wait_for_instances(1)
    arrived = orthanc.by_uid(image.SOPInstanceUID)

    assert str(arrived.PatientName) == "Sørby Čoahkkin^Áile"
    assert (arrived.PatientID, arrived.IssuerOfPatientID) == ("30908299902", "NNNOR")
    assert (arrived.PatientBirthDate, arrived.PatientSex) == ("19821030", "F")
    assert (arrived.SpecificCharacterSet, arrived.PatientComments) == ("ISO_IR 192", "blåbær")
    kept = original_attributes(arrived)
    assert (str(kept.PatientName), kept.PatientBirthDate) == ("SØRBY^AILE", "19821031")
    assert arrived.PixelData == image.PixelData
    assert exceptions(broker) == {str(image.SOPInstanceUID): "demographics-differ"}, "name and birth date"


def test_an_image_that_says_what_pas_says_is_not_touched(
    start_broker: StartBroker, storescp: Storescp, tmp_path: Path
) -> None:
    broker = start_broker(pacs_port=storescp.port, pacs_aet="STORESCP")
    register(broker, adt("A04", "I2", Person(number="700200", family="Li", given="Bo")))
    image = write_image(
        tmp_path / "a.dcm",
        PatientID="700200",
        PatientName="Li^Bo",
        PatientBirthDate="19821030",
        PatientSex="F",
        IssuerOfPatientID="STO",
        IssuerOfPatientIDQualifiersSequence=[qualifier("2.999.7001")],
    )

    sent = send_raw(broker, tmp_path / "a.dcm")
    wait_until(lambda: delivered(broker, "pacs") == 1, "the PACS answered: its file is written")

    assert dataset_bytes(storescp.wait_for_file(image.SOPInstanceUID)) == sent
    assert exceptions(broker) == {}


def test_the_same_number_of_another_issuer_is_another_patient(
    broker: Broker, orthanc: Orthanc, tmp_path: Path
) -> None:
    register(broker, adt("A04", "I3", Person(number="700300", family="Vår", given="Egen")))
    image = write_image(
        tmp_path / "a.dcm", PatientID="700300", PatientName="ANNEN^EN", IssuerOfPatientID="ELSEWHERE"
    )

    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    orthanc.wait_for_instances(1)

    assert str(orthanc.by_uid(image.SOPInstanceUID).PatientName) == "ANNEN^EN"
    assert exceptions(broker) == {str(image.SOPInstanceUID): "instance-unverified"}


def test_a_late_image_under_an_ended_number_goes_to_the_survivor(
    broker: Broker, orthanc: Orthanc, tmp_path: Path
) -> None:
    survivor, gone = (
        Person(number="700400", family="Står", given="Igjen"),
        Person(number="700499", family="Borte"),
    )
    register(
        broker, adt("A04", "I4", survivor), adt("A04", "I5", gone), merge("A40", "I6", survivor, "700499")
    )
    image = write_image(tmp_path / "a.dcm", PatientID="700499", PatientName="Borte^Åse")

    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    orthanc.wait_for_instances(1)
    arrived = orthanc.by_uid(image.SOPInstanceUID)

    assert (arrived.PatientID, str(arrived.PatientName)) == ("700400", survivor.name)
    assert (original_attributes(arrived).PatientID, str(original_attributes(arrived).PatientName)) == (
        *("700499", "Borte^Åse"),
    )


def test_an_image_made_for_a_step_is_its_patients(broker: Broker, orthanc: Orthanc, tmp_path: Path) -> None:
    """Modalities send back the national number without its issuer: the step that was asked for settles it."""
    someone = Person(number="700500", national="41819077906", family="Nordgård", given="Ånung")
    register(broker, adt("A04", "I7", someone))
    with broker.orders() as orders:
        accepted(orders, orm("I8", someone, "150"))
    wait_until_routed(broker)
    image = write_image(
        tmp_path / "a.dcm",
        PatientID="41819077906",
        PatientName="NORDGARD^ANUNG",
        StudyInstanceUID=study_uid("150"),
    )

    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    orthanc.wait_for_instances(1)
    arrived = orthanc.by_uid(image.SOPInstanceUID)

    assert (str(arrived.PatientName), arrived.IssuerOfPatientID) == (someone.name, "NNNOR")


def test_the_same_object_again_is_taken_again_and_another_under_its_uid_is_refused(
    broker: Broker, orthanc: Orthanc, tmp_path: Path
) -> None:
    image = write_image(tmp_path / "a.dcm")
    write_image(
        tmp_path / "b.dcm",
        SOPInstanceUID=image.SOPInstanceUID,
        StudyInstanceUID=image.StudyInstanceUID,
        Rows=8,
        Columns=32,
    )

    for name in ("a.dcm", "a.dcm"):
        assert Dcmtk().store(broker.dicom_port, tmp_path / name).succeeded
    refused = Dcmtk().store(broker.dicom_port, tmp_path / "b.dcm")
    assert refused.statuses == ("Unknown Status: 0x111",), refused.output
    wait_until_idle(broker)

    assert orthanc.by_uid(image.SOPInstanceUID).Rows == 16
    assert exceptions(broker)[str(image.SOPInstanceUID)] in ("instance-differs", "instance-unverified")
    kinds = {entry["kind"] for entry in status(broker)["exceptions"]}
    assert kinds == {"instance-differs", "instance-unverified"}


def person(head: pydicom.Dataset) -> Person:
    """As PAS knows the object's patient: by a name that the object's character set can show."""
    latin = head.get("SpecificCharacterSet") in (None, "ISO_IR 100", "ISO_IR 192")
    family = "Prøve" if latin else "Proeve"
    return Person(number=str(head.PatientID), family=family, given="Anne", birth_date="19700101", sex="O")


def qualifier(oid: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.UniversalEntityID, item.UniversalEntityIDType = oid, "ISO"
    return item
