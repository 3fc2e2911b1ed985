"""The main job with the shipped configuration: ADT and orders in, worklist rows and the EPJ's messages out.

Everything around the broker is somebody else's: a plain-socket client and sink, DCMTK's findscu.
"""

from __future__ import annotations

import pytest
from pydicom import Dataset

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk, worklist_query
from tests.support.flows import accepted, rows_of, step_of, wait_for_row, wait_for_rows
from tests.support.messages import Person, adt, merge, message, omi, orm, oru, study_uid
from tests.support.mllp import MllpSink, field
from tests.support.orthanc import Orthanc

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile", middle="Lájla")
CUDI = Person(number="700124", family="Čuđi Ŋuorra", given="Ánde", birth_date="19900101", sex="M")


def sent(sink: MllpSink, kind: bytes) -> list[bytes]:
    """What the EPJ got, of one message type."""
    return [message for message in sink.messages if field(message, b"MSH", 9).startswith(kind)]


# ADT to the EPJ


def test_adt_reaches_the_epj_byte_for_byte(broker: Broker, epj_sink: MllpSink) -> None:
    contact = "Øvre Bakklandet 1^^Trondheim^^7013^NO||^PRN^PH^^47^99999999"
    person = Person(number="1", family="Sørby Čoahkkin", given="Áile", middle="Žäŧ", contact=contact)
    registered = adt("A04", "F1", person, "NK1|1|Sørby^Nils|SPO", "PV1|1|O|OYE", "ZPV|eget|felt^æ&ø~å|\\T\\")
    latin = adt("A08", "F2", CUDI.named("Ærøskjær")).replace(b"UNICODE UTF-8", b"").decode()

    with broker.pas() as pas:
        accepted(pas, registered)
        accepted(pas, latin.encode("latin-1"))

    assert epj_sink.wait_for(2) == [registered, latin.encode("latin-1")]


# orders to the worklist


def step_key(**keys: str) -> Dataset:
    step = Dataset()
    for keyword, value in keys.items():
        setattr(step, keyword, value)
    return step


QUERIES: dict[str, tuple[Dataset, int]] = {
    "everything": (worklist_query(), 2),
    "station": (worklist_query(step=step_key(ScheduledStationAETitle="CT2_STO")), 1),
    "another station": (worklist_query(step=step_key(ScheduledStationAETitle="US1_STO")), 0),
    "station and day": (
        worklist_query(
            step=step_key(ScheduledStationAETitle="MR1_STO", ScheduledProcedureStepStartDate="20260310")
        ),
        1,
    ),
    "another day": (worklist_query(step=step_key(ScheduledProcedureStepStartDate="20260311")), 0),
    "range of days": (worklist_query(step=step_key(ScheduledProcedureStepStartDate="20260301-20260310")), 2),
    "open range": (worklist_query(step=step_key(ScheduledProcedureStepStartDate="20260310-")), 2),
    "range of times": (worklist_query(step=step_key(ScheduledProcedureStepStartTime="120000-140000")), 1),
    "modality": (worklist_query(step=step_key(Modality="CT")), 1),
    "patient id": (worklist_query(PatientID="700124"), 1),
    "accession number": (worklist_query(AccessionNumber="A101"), 1),
    "study": (worklist_query(StudyInstanceUID=study_uid("101")), 1),
    "list of studies": (worklist_query(StudyInstanceUID=f"{study_uid('101')}\\{study_uid('102')}"), 2),
    "name with wildcard": (worklist_query(PatientName="Sør*"), 1),
    "name in other case": (worklist_query(PatientName="sørby^áile*"), 1),
    "name with one wild letter": (worklist_query(PatientName="Čuđi ?uorra^Ánde"), 1),
    "requested procedure": (worklist_query(RequestedProcedureID="R102"), 1),
}


def test_orders_are_on_the_worklist_for_every_style_of_query(broker: Broker) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "F10", AILE))
        accepted(orders, orm("F11", AILE, "101"))
        accepted(orders, omi("F12", CUDI, "102"))
    wait_for_rows(broker, lambda rows: len(rows) == 2, "both rows are visible")

    found = {style: len(Dcmtk().worklist(broker.dicom_port, query)) for style, (query, _) in QUERIES.items()}

    assert found == {style: expected for style, (_, expected) in QUERIES.items()}


@pytest.mark.parametrize("asked", ["", "ISO_IR 100", "ISO_IR 192", "ISO_IR 6"])
def test_names_are_intact_in_the_charset_that_the_answer_declares(broker: Broker, asked: str) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("F20", AILE, "201"))
        accepted(orders, omi("F21", CUDI, "202"))
    wait_for_row(broker, AccessionNumber="A202")
    query = worklist_query()
    query.SpecificCharacterSet = asked

    rows = {row.AccessionNumber: row for row in Dcmtk().worklist(broker.dicom_port, query)}

    # `_read` of the client has decoded them by (0008,0005) of each answer.
    assert str(rows["A201"].PatientName) == AILE.name
    assert str(rows["A202"].PatientName) == CUDI.name
    assert rows["A202"].SpecificCharacterSet == "ISO_IR 192", "Latin-1 has no Č, đ, Ŋ"


def test_a_row_says_what_the_order_says(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("F30", AILE, "301", station="CT-LAB2", start="20260312081500"))

    row = wait_for_row(broker, AccessionNumber="A301")
    step = step_of(row)

    assert row.StudyInstanceUID == study_uid("301")
    assert (row.PatientID, row.IssuerOfPatientID, row.PatientBirthDate, row.PatientSex) == (
        *("30908299902", "NNNOR"),
        *("19821030", "F"),
    )
    assert (row.RequestedProcedureID, step.ScheduledProcedureStepID) == ("R301", "S301-1")
    assert (step.Modality, step.ScheduledStationAETitle) == ("CT", "CT2_STO")
    assert (step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime) == (
        "20260312",
        "081500",
    )
    assert row.RequestedProcedureDescription == "CT thorax"
    assert str(row.RequestingPhysician) == "Lege^Kari"


def test_every_requested_key_comes_back_though_unknown(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("F31", AILE, "302"))
    query = worklist_query(AccessionNumber="A302")
    query.MedicalAlerts, query.PatientWeight, query.PregnancyStatus = "", None, None

    wait_for_row(broker, AccessionNumber="A302")
    (row,) = Dcmtk().worklist(broker.dicom_port, query)

    assert {element.tag for element in query} <= {element.tag for element in row}
    assert {element.tag for element in step_of(query)} <= {element.tag for element in step_of(row)}
    assert (row.MedicalAlerts or "", row.PatientWeight) == ("", None)


def test_the_epj_hears_where_its_order_stands(broker: Broker, epj_sink: MllpSink) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("F40", AILE, "401"))
        accepted(orders, orm("F41", AILE, "401", control="XO", start="20260311100000"))
        accepted(orders, orm("F42", AILE, "401", control="CA", status="CA", start=""))
    epj_sink.wait_for(3)

    told = sent(epj_sink, b"ORM^O01")

    assert [(field(m, b"ORC", 1), field(m, b"ORC", 5)) for m in told] == [
        (b"SC", b"SC"),
        (b"SC", b"SC"),
        (b"SC", b"CA"),
    ]
    assert {(field(m, b"ORC", 2), field(m, b"ORC", 3)) for m in told} == {(b"P401^EPJ", b"F401^RIS")}
    assert [field(m, b"OBR", 27) for m in told] == [
        b"^^^20260310093000",
        b"^^^20260311100000",
        b"^^^20260311100000",
    ]
    assert len({field(m, b"MSH", 10) for m in told}) == 3
    assert AILE.name.encode() in field(told[0], b"PID", 5)


# what changes rows


def test_a_new_name_stands_on_open_rows(broker: Broker) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "F50", AILE))
        accepted(orders, omi("F51", AILE, "501", steps=("1", "2")))
        wait_for_rows(broker, lambda rows: len(rows) == 2, "both steps are visible", AccessionNumber="A501")

        accepted(pas, adt("A08", "F52", AILE.named("Sørby Čoahkkin")))

    rows = wait_for_rows(
        broker,
        lambda rows: {str(row.PatientName) for row in rows} == {"Sørby Čoahkkin^Áile^Lájla"},
        "both rows show the new name",
        AccessionNumber="A501",
    )
    assert len(rows) == 2


def test_an_order_does_not_overrule_pas(broker: Broker) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "F53", AILE.named("Sørby Čoahkkin")))
        accepted(orders, orm("F54", AILE, "502"))

    row = wait_for_row(broker, AccessionNumber="A502")

    assert str(row.PatientName) == "Sørby Čoahkkin^Áile^Lájla"
    kinds = [entry["kind"] for entry in broker.command_json("status")["exceptions"]]
    assert kinds == ["demographics-differ"]


def test_a_merge_files_rows_under_the_survivor(broker: Broker, epj_sink: MllpSink) -> None:
    gone = Person(number="700999", family="Ukjent", given="Kvinne")
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "F60", AILE))
        accepted(pas, adt("A04", "F61", gone))
        accepted(orders, orm("F62", gone, "601"))
        wait_for_row(broker, PatientID="700999")

        accepted(pas, merge("A40", "F63", AILE, "700999"))
        row = wait_for_row(broker, PatientID="30908299902")
        # An order that still comes under the ended number is the survivor's too.
        accepted(orders, orm("F64", gone, "602"))
        late = wait_for_row(broker, AccessionNumber="A602")

    assert (row.AccessionNumber, str(row.PatientName)) == ("A601", AILE.name)
    assert (late.PatientID, str(late.PatientName)) == ("30908299902", AILE.name)
    assert rows_of(broker, PatientID="700999") == []
    # The EPJ gets the merge behind what concerned the ended number, and before what came later.
    told = [field(m, b"OBR", 18) or field(m, b"MSH", 10) for m in epj_sink.wait_for(5)]
    assert [entry for entry in told if entry != b"F60"] == [b"F61", b"A601", b"F63", b"A602"]


def test_a_changed_number_stands_on_open_rows(broker: Broker) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "F65", CUDI))
        accepted(orders, orm("F66", CUDI, "603"))
        wait_for_row(broker, PatientID="700124")

        accepted(
            pas, merge("A47", "F67", Person(number="800124", family="Čuđi Ŋuorra", given="Ánde"), "700124")
        )
        row = wait_for_row(broker, PatientID="800124")

    assert (row.AccessionNumber, str(row.PatientName)) == ("A603", CUDI.name)
    assert rows_of(broker, PatientID="700124") == []


def test_a_cancelled_step_goes_and_its_siblings_stay(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, omi("F70", AILE, "701", steps=("1", "2", "3")))
        wait_for_rows(broker, lambda rows: len(rows) == 3, "three steps are visible", AccessionNumber="A701")

        accepted(orders, omi("F71", AILE, "701", steps=("2",), control="CA", status="CA"))
        rows = wait_for_rows(broker, lambda rows: len(rows) == 2, "one is gone", AccessionNumber="A701")
        assert {step_of(row).ScheduledProcedureStepID for row in rows} == {"S701-1", "S701-3"}

        accepted(
            orders,
            message("ORM^O01^ORM_O01", "F72", AILE.pid(), "ORC|CA|P701^EPJ|F701^RIS||CA", sender="RIS"),
        )
        wait_for_rows(
            broker, lambda rows: not rows, "an order cancelled as a whole is gone", AccessionNumber="A701"
        )


def test_a_moved_step_keeps_its_row(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("F73", AILE, "702", start="20260310093000"))
        before = wait_for_row(broker, AccessionNumber="A702")

        # XO with empty ORC-5: moved, not otherwise changed.
        accepted(orders, orm("F74", AILE, "702", control="XO", status="", start="20260320111500"))

    (after,) = wait_for_rows(
        broker,
        lambda rows: [step_of(row).ScheduledProcedureStepStartDate for row in rows] == ["20260320"],
        "the step has moved",
        AccessionNumber="A702",
    )
    assert after.StudyInstanceUID == before.StudyInstanceUID
    assert step_of(after).ScheduledProcedureStepStatus in ("SCHEDULED", "")


# results, and the PACS's HL7 listener


def test_a_result_passes_byte_for_byte(broker: Broker, epj_sink: MllpSink) -> None:
    report = oru("F80", AILE, "801", text="Ingen øvrige funn.\\.br\\Čielggas^&~ \\T\\ 100 %")
    unidentified = oru("F81", AILE, "802").replace(AILE.pid().encode(), b"PID|1")

    with broker.results() as results:
        accepted(results, report)
        accepted(results, unidentified)

    assert sorted(epj_sink.wait_for(2)) == sorted([report, unidentified])


def test_the_pacs_hears_of_patients_but_not_where_they_live(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink
) -> None:
    listener = MllpSink()
    listener.start()
    try:
        broker = start_broker(
            pacs_port=orthanc.port,
            epj_port=epj_sink.port,
            settings={"BROKER_PACS_HL7_PORT": str(listener.port)},
        )
        contact = "Øvre Bakklandet 1^^Trondheim^^7013||^PRN^PH^^47^99999999|^WPN^PH^^47^88888888"
        person = Person(number="900", family="Nordgård", given="Ånung", contact=contact)
        registered = adt(
            "A04", "F90", person, "NK1|1|Nordgård^Nils|SPO^Ektefelle||^PRN^PH^^47^77777777", "PV1|1|O"
        )

        with broker.pas() as pas:
            accepted(pas, registered)
        (told,) = listener.wait_for(1)
        assert epj_sink.wait_for(1) == [registered], "the EPJ gets all of it"
    finally:
        listener.stop()

    assert field(told, b"MSH", 10) == b"F90"
    assert field(told, b"PID", 5) == field(registered, b"PID", 5)
    assert field(told, b"PID", 3) == field(registered, b"PID", 3)
    for value in ("Bakklandet", "99999999", "88888888", "77777777", "Nils", "Ektefelle"):
        assert value.encode() not in told
