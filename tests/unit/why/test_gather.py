"""What is found in a journal that the broker itself wrote: each way in which a row is there or is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.dicom.dataset import to_dataset
from broker.dicom.matching import STEPS, Query
from broker.journal import log as journal
from broker.registers import worklist
from broker.runtime import rebuild
from broker.runtime.configured import Configured
from broker.store.database import Database
from broker.why.desk import WhyError, desk
from broker.why.facts import Question
from broker.why.gather import tags
from broker.why.query import typed
from tests.support.messages import Person, adt, merge, message, omi, orm
from tests.unit.runtime.conftest import House
from tests.unit.why.conftest import Ask, asking

ANNA = Person(number="700123", national="30908299902", family="Sørby", given="Áile")
ODD = Person(number="700555", family="Annen", birth_date="19500101", sex="M")


def taken(house: House, *messages: tuple[str, bytes], route: bool = True) -> None:
    for source, raw in messages:
        house.receive(source, raw)
    if route:
        house.route()


def query(**step: str) -> Query:
    return Query.read(to_dataset({STEPS: (step,)}))


def links(answer: Any, stage: str) -> list[str]:
    return [link.text for link in answer.chain if link.stage == stage]


def test_a_row_that_is_served(house: House, ask: Ask) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)), ("orders", orm("O1", ANNA, "101")))
    facts, (answer,) = ask("700123", asked=(query(Modality="CT"),))

    assert (answer.verdict, answer.accession, answer.step) == ("served", "A101", "S101-1")
    assert facts.patient == "known"
    assert [one.control_id for one in facts.steps[0].came] == ["O1"]
    assert links(answer, "value")[0] == (
        "ScheduledStationAETitle = CT1_STO | CT2_STO ← config/stations.csv:23 for 'modality:CT'"
        " ← step.station_codes ← OBR-24 of ORM^O01 O1"
    )
    assert links(answer, "value")[2] == (
        "ScheduledProcedureStepStartDate = 20260310 ← step.start_date ← ORC-7 of ORM^O01 O1"
    )
    assert links(answer, "answer") == ["answered in ISO_IR 100"]
    (route,) = [link for link in answer.chain if "steps-to-worklist" in link.text]
    assert "routes/steps-to-worklist.yaml:" in route.place


@pytest.mark.parametrize(
    ("messages", "verdict", "because"),
    [
        ([orm("O1", ANNA, "101", start="")], "held", "no start date"),
        ([orm("O1", ANNA, "101", modality="")], "held", "no modality"),
        ([orm("O1", ANNA, "101", modality="MR")], "other-station", "for MR1_STO, not for CT2_STO"),
        (
            [orm("O1", ANNA, "101"), orm("O2", ANNA, "101", control="CA", status="CA")],
            "ended",
            "CANCELED since ORM^O01 O2 to orders",
        ),
    ],
)
def test_a_row_that_is_not_served(
    house: House, ask: Ask, messages: list[bytes], verdict: str, because: str
) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)), *(("orders", raw) for raw in messages))
    _, (answer,) = ask("700123")

    assert (answer.verdict, answer.served) == (verdict, False)
    assert because in answer.because


def test_the_table_that_lacks_a_code_is_named(house: House, ask: Ask) -> None:
    taken(house, ("orders", omi("O1", ANNA, "101", room="NOWHERE", aet="")))
    _, (answer,) = ask("700123")

    assert answer.verdict == "held"
    assert "config/stations.csv has no row for 'NOWHERE" in links(answer, "value")[0]


def test_a_key_that_excludes_the_row(house: House, ask: Ask) -> None:
    taken(house, ("orders", orm("O1", ANNA, "101")))
    asked = (query(Modality="CT", ScheduledProcedureStepStartDate="20260311-"), query(Modality="CT"))
    _, (by_device,) = ask("700123", asked=asked)
    _, (by_hand,) = ask("700123", asked=asked, typed=typed(["PatientID=9*", "Modality=CT"]))

    assert by_device.verdict == "device-excludes"
    assert "ScheduledProcedureStepStartDate (20260311-)" in by_device.because
    assert by_hand.verdict == "query-excludes"
    assert [(key["key"], key["matches"]) for key in by_hand.keys] == [
        ("PatientID", False),
        (f"{STEPS}.Modality", True),
    ]


def test_what_the_device_asked_is_not_known_without_a_broker(house: House, ask: Ask) -> None:
    taken(house, ("orders", orm("O1", ANNA, "101")))
    _, (answer,) = ask("700123", answering=False)

    assert answer.verdict == "served"
    assert links(answer, "device") == ["no broker answers"]


def test_what_was_refused_is_found_by_the_patient_it_names(house: House, ask: Ask) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)))
    taken(house, ("orders", orm("O1", ANNA, "101").replace(b"ORC|NW", b"ORC|ZZ")))
    for question in ({}, {"accession": "A101"}):
        _, (answer,) = ask("700123", **question)

        assert answer.verdict == "refused"
        assert "ORM^O01 O1 to orders" in answer.because
        assert "answered AE: ORC-1" in answer.because or "answered AE: ORC-5" in answer.because


def test_what_no_route_has_seen(house: House, ask: Ask) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)))
    taken(house, ("orders", orm("O1", ANNA, "101")), route=False)

    assert ask("700123")[1][0].verdict == "waiting"


def test_what_could_not_be_routed(house: House, ask: Ask) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    house.with_(renderers={"worklist": broken})
    taken(house, ("orders", orm("O1", ANNA, "101")))
    (answer,) = ask("700123")[1]

    assert answer.verdict == "failed"
    assert "step.scheduled, could not be routed" in links(answer, "event")


def test_an_order_that_a_register_set_aside(house: House, ask: Ask) -> None:
    taken(house, ("orders", orm("O1", ANNA, "101")), ("pas", adt("A04", "P2", ODD)))
    taken(house, ("orders", orm("O2", ODD, "101")))
    (answer,) = ask("700555")[1]

    assert answer.verdict == "set-aside"
    assert "another patient" in answer.because


def test_an_order_of_somebody_else(house: House, ask: Ask) -> None:
    taken(house, ("orders", orm("O1", ANNA, "101")), ("pas", adt("A04", "P2", ODD)))
    facts, (answer,) = ask("700555", accession="A101")

    assert answer.verdict == "other-patient"
    assert "700123" not in str((facts, answer))


def test_what_never_came(house: House, ask: Ask) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)), ("orders", orm("O1", ANNA, "101")))

    assert ask("700123", accession="A999")[1][0].verdict == "never-came"
    assert ask("799999")[1][0].verdict == "unknown-patient"


@pytest.mark.parametrize(
    ("issuer", "verdict"),
    [("2.999.7001", "served"), ("STO", "served"), ("NNNOR", "other-issuer")],
)
def test_the_issuer_by_its_oid_or_its_name(house: House, ask: Ask, issuer: str, verdict: str) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)), ("orders", orm("O1", ANNA, "101")))
    facts, answers = ask("700123", issuer=issuer)

    assert [answer.verdict for answer in answers] == [verdict]
    assert facts.issuers == ("2.999.7001",)


def test_a_number_that_was_merged_away_still_finds_the_rows(house: House, ask: Ask) -> None:
    old = Person(number="700999", family="Sørby", given="Áile")
    taken(
        house,
        ("pas", adt("A04", "P1", ANNA)),
        ("pas", adt("A04", "P2", old)),
        ("orders", orm("O1", old, "101")),
    )
    taken(house, ("pas", merge("A40", "P3", ANNA, "700999")))
    for number in ("700999", "700123"):
        (answer,) = ask(number)[1]

        assert (answer.verdict, answer.accession) == ("served", "A101")


def test_open_steps_come_first_and_no_more_than_a_few(house: House, ask: Ask) -> None:
    many = [("orders", orm(f"O{n}", ANNA, f"{100 + n}", start=f"202603{n + 10}0900")) for n in range(12)]
    taken(house, *many, ("orders", orm("OX", ANNA, "111", control="CA", status="CA")))
    facts, answers = ask("700123")

    assert len(answers) == 10
    assert facts.more == 2
    assert [answer.accession for answer in answers][:2] == ["A110", "A109"]


def test_of_the_past_what_had_come_by_then(house: House, ask: Ask) -> None:
    first = orm("O1", ANNA, "101", modality="MR")
    taken(house, ("pas", adt("A04", "P1", ANNA)), ("orders", first))  # 08:01, 08:02
    taken(house, ("orders", orm("O2", ANNA, "101")))  # 08:03
    taken(house, ("orders", orm("O3", ANNA, "101", control="CA", status="CA")))  # 08:04
    seen = {
        minute: ask("700123", at=f"2026-03-09T08:{minute}:30+00:00")[1][0]
        for minute in ("00", "01", "02", "03")
    }

    assert {minute: answer.verdict for minute, answer in seen.items()} == {
        "00": "unknown-patient",
        "01": "never-came",
        "02": "other-station",
        "03": "served",
    }
    assert [text.split()[3] for text in links(seen["03"], "message")] == ["ORM^O01", "ORM^O01"]
    assert ask("700123")[1][0].verdict == "ended"


def test_a_past_that_retention_took_is_said_so(house: House) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)), ("orders", orm("O1", ANNA, "101")))
    baseline = house.database.beside(rebuild.BASELINE)
    baseline.open()
    rebuild.fold_into(baseline, house.database.read(), house.configured, 0)
    baseline.close()

    with (
        pytest.raises(WhyError, match="retention has taken"),
        desk(house.database, house.configured, "2026-03-09T08:01:30+00:00", lambda _done: None),
    ):
        pass


def test_a_step_whose_log_is_gone_is_still_explained(house: House, ask: Ask) -> None:
    taken(house, ("orders", orm("O1", ANNA, "101")))
    house.database.write(lambda tx: tx.execute("UPDATE step SET event='M99999.0'")).result(10)
    (answer,) = ask("700123")[1]

    assert answer.verdict == "served"


def test_on_either_engine(configured: Configured, database: Database) -> None:
    house = House(configured, database)
    taken(house, ("pas", adt("A04", "P1", ANNA)), ("orders", orm("O1", ANNA, "101", modality="MR")))
    taken(house, ("orders", orm("O2", ANNA, "101")))
    taken(house, ("orders", orm("O3", ANNA, "102").replace(b"ORC|NW", b"ORC|ZZ")))
    ask = asking(house)

    assert ask("700123")[1][0].verdict == "served"
    assert ask("700123", at="2026-03-09T08:02:30+00:00")[1][0].verdict == "other-station"
    assert ask("700123", accession="A102")[1][0].verdict == "refused"
    assert tag(house, "Modality")["origins"] == ["step.modality ← OBR-24 of ORM^O01 O2"]


# attributes


def tag(house: House, keyword: str, **question: str) -> Mapping[str, Any]:
    asked = Question(**{"ae": "", "patient": "700123", **question})
    with desk(house.database, house.configured, "", lambda _done: None) as it:
        (found,) = tags(it, asked, keyword)
    return {"set": bool(found.value.place), "shown": found.value.shown, "origins": list(found.value.origins)}


@pytest.mark.parametrize(
    ("keyword", "set_by_route", "shown", "origins"),
    [
        ("Modality", False, "CT", ["step.modality ← OBR-24 of ORM^O01 O1"]),
        ("PatientID", False, "30908299902", ["patient.identifiers ← PID-3 of ADT^A04 P1"]),
        ("PatientName", False, "Sørby^Áile", ["patient.name ← PID-5 of ADT^A04 P1"]),
        ("StudyInstanceUID", False, "2.25.883223601", ["step.study_uid ← ZDS-1 of ORM^O01 O1"]),
        ("RequestedProcedureDescription", False, "CT thorax", ["step.procedure ← OBR-4 of ORM^O01 O1"]),
        (
            "PlacerOrderNumberImagingServiceRequest",
            False,
            "P101",
            ["order.placer_number ← ORC-2, OBR-2 of ORM^O01 O1"],
        ),
        ("AdmissionID", False, "", []),
        (
            "ScheduledStationAETitle",
            True,
            "CT1_STO | CT2_STO",
            ["config/stations.csv:23 for 'modality:CT'", "step.station_codes ← OBR-24 of ORM^O01 O1"],
        ),
    ],
)
def test_where_an_attribute_came_from(
    house: House, keyword: str, set_by_route: bool, shown: str, origins: list[str]
) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)), ("orders", orm("O1", ANNA, "101")))

    assert tag(house, keyword) == {"set": set_by_route, "shown": shown, "origins": origins}


def test_of_several_rows_the_named_devices_is_meant(house: House) -> None:
    taken(house, ("orders", orm("O1", ANNA, "101")), ("orders", orm("O2", ANNA, "102", modality="MR")))

    assert tag(house, "Modality", ae="MR1_STO")["shown"] == "MR"


def test_the_message_that_said_it_last_is_named(house: House) -> None:
    taken(
        house, ("orders", orm("O1", ANNA, "101")), ("orders", orm("O2", ANNA, "101", start="20260311080000"))
    )

    assert tag(house, "ScheduledProcedureStepStartDate")["origins"] == [
        "step.start_date ← ORC-7 of ORM^O01 O2"
    ]
    assert tag(house, "StudyInstanceUID")["origins"] == ["step.study_uid ← ZDS-1 of ORM^O01 O2"]


def test_nothing_is_written(house: House, ask: Ask) -> None:
    taken(house, ("orders", orm("O1", ANNA, "101")))
    before = [tuple(house.database.read().rows(f"SELECT * FROM {name}")) for name in rebuild.COPIED]
    ask("700123")
    ask("700123", at="2026-03-09T08:30:00+00:00")

    assert before == [tuple(house.database.read().rows(f"SELECT * FROM {name}")) for name in rebuild.COPIED]
    assert journal.waiting(house.database.read()) == 0
    assert len(list(worklist.Reader(house.database.read).listed())) == 1


def test_a_number_that_a_merge_ended_says_which(house: House, ask: Ask) -> None:
    taken(house, ("pas", adt("A04", "P1", ANNA)), ("orders", orm("O1", ANNA, "101")))
    _, (before,) = ask("700123")
    assert links(before, "patient") == ["PAS knows 700123 (issuer 2.999.7001)"]
    taken(house, ("pas", merge("A40", "P2", Person(number="700888", family="Sørby"), "700123")))
    facts, (answer,) = ask("700123")

    (ended,) = facts.ended
    assert ended.startswith("merge ")
    assert links(answer, "patient")[1].startswith(f"700123 ended by {ended}: ")
    assert ask("700888")[0].ended == ()


def test_what_came_after_a_visit_left_did_not_end_it(house: House, ask: Ask) -> None:
    pv1 = f"PV1|1|O|{{}}{'|' * 16}V1^^^STO"
    for number, (trigger, place) in enumerate((("A04", "FOTO"), ("A02", "SKOPI"), ("A03", "SKOPI")), 1):
        evn = f"EVN||2026030908{number:02}00"
        taken(house, ("pas", message(f"ADT^{trigger}", f"P{number}", evn, ANNA.pid(), pv1.format(place))))
    because = {answer.step: answer.because for answer in ask("700123")[1]}

    assert "ADT^A02 P2" in because["XC"]
    assert "ADT^A03 P3" in because["ES"]
