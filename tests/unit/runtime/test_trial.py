"""Running the tests of route files: messages before, tables and time of the test's own, messages of the journal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.adapter import Rendered, Target
from broker.create.route import with_texts
from broker.dicom.attributes import to_json
from broker.event import Study
from broker.routing.coverage import Coverage
from broker.routing.language import Given
from broker.routing.tables import Row, Table
from broker.routing.testing import Case, GivenError, Outcome
from broker.routing.watch import recompiled
from broker.runtime.configured import Configured
from broker.runtime.trial import Trial
from broker.view import View
from tests.support.shared import REPOSITORY
from tests.unit.conftest import NewTransaction
from tests.unit.runtime.conftest import ENV

ROUTES = REPOSITORY / "routes"
NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)


def case(given: Given, *before: Given, **more: Any) -> Case:
    return Case(folder=ROUTES, before=before, given=given, **more)


def order(file: str) -> Given:
    return Given(source="orders", file=f"tests/{file}")


def stations(outcome: Outcome) -> Any:
    (row,) = [output for output in outcome.outputs if output.kind == "worklist"]
    return row.read("ScheduledStationAETitle")


@pytest.fixture
def trial(configured: Configured) -> Trial:
    return Trial(configured=configured, clock=lambda: NOW)


def test_each_case_starts_with_empty_registers(trial: Trial) -> None:
    renamed = Given(source="pas", file="tests/adt_a08_new_name.hl7")

    def name(*before: Given) -> Any:
        outputs = trial(case(order("orm_ct.hl7"), *before)).outputs
        return next(o.read("PatientName") for o in outputs if o.kind == "worklist")

    assert name(renamed) == "Sørby Čoahkkin^Áile^Lájla"
    assert name() == "Sørby^Áile^Lájla"


def test_the_shipped_routes_pass_their_tests_on_either_engine(
    trial: Trial, new_transaction: NewTransaction
) -> None:
    results = replace(trial, registers=new_transaction).results()

    assert len(results) > 20
    assert [(found.place, found.differences) for found in results if not found.passed] == []


def test_a_message_inline_and_an_instance(trial: Trial) -> None:
    text = (ROUTES / "tests" / "orm_ct.hl7").read_text(encoding="utf-8")
    inline = Given(source="orders", hl7="\n".join(f"  {line}" for line in text.splitlines()) + "\n\n")
    image = Given(
        source="images",
        dicom={
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
            "SOPInstanceUID": "2.25.9.1",
            "StudyInstanceUID": "2.25.9",
            "SeriesInstanceUID": "2.25.8",
            "PatientID": "1",
        },
    )

    assert trial(case(inline)).ack == "AA"
    assert trial(case(image)).events == ("instance.received",)


SAID = """\
route: stored
on: [study.stored]
where: study.archive == 'pacs' && patient.verified
to: [{ dicom: pacs }]
"""


def test_what_is_said_of_a_study(configured: Configured) -> None:
    settings = configured.settings
    taking = [
        replace(one, spec=replace(one.spec, takes=("instance", "study"))) if one.name == "pacs" else one
        for one in settings.outbound
    ]
    routed = with_texts(replace(settings, outbound=tuple(taking)), ENV, {"stored.yaml": SAID})

    def render(view: View, target: Target) -> Rendered:
        if view.event.data.study is None:
            return configured.renderers["pacs"](view, target)
        found = {"PatientID": view.facts()["patient.id"], "StudyInstanceUID": view.facts()["study.study_uid"]}
        return Rendered(payload=to_json(found).encode())

    trial = Trial(
        configured=replace(routed, renderers={**routed.renderers, "pacs": render}), clock=lambda: NOW
    )
    known = Given(source="pas", file="tests/adt_a04_registered.hl7")
    image = Given(
        source="images",
        dicom={
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
            "SOPInstanceUID": "2.25.9.1",
            "StudyInstanceUID": "2.25.9",
            "SeriesInstanceUID": "2.25.8",
            "PatientID": "30908299902",
        },
    )
    said = Given(type="study.stored", study=Study(study_uid="2.25.9", archive="pacs"))
    outcome = trial(case(said, known, image))

    assert (outcome.ack, outcome.events) == ("", ("study.stored",))
    (output,) = [one for one in outcome.outputs if one.route == "stored"]
    assert [output.read(name) for name in ("StudyInstanceUID", "PatientID")] == ["2.25.9", "30908299902"]
    assert not trial(case(said, image)).outputs, "whose study it is, its instances say"


def test_rows_of_the_test_are_laid_over_the_table(trial: Trial) -> None:
    room = order("omi_mr_unknown_room.hl7")

    def given(rows: dict[str, Any]) -> Any:
        return stations(trial(case(room, tables={"stations": rows})))

    assert given({}) is None or given({}) == ()
    assert given({"MR-LAB9": ("MR9", "MR8")}) == ("MR9", "MR8")
    known = order("omi_mr_room.hl7")
    assert stations(trial(case(known, tables={"stations": {"X": "Y"}}))) == ("MR1_STO",), "the others stay"
    assert not stations(trial(case(known, tables={"stations": {"MR-LAB1": ""}}))), "an empty one is none"


def test_the_time_of_the_test_decides_which_row_holds(configured: Configured) -> None:
    summer = "20260401000000"
    rows = (Row(values=("OLD",), line=2, end=summer), Row(values=("NEW",), line=3, start=summer))
    routes = recompiled(
        configured.routes, tables={"stations": Table(name="stations", file="s.csv", rows={"MR-LAB1": rows})}
    )
    trial = Trial(configured=replace(configured, routes=routes), clock=lambda: NOW)

    assert stations(trial(case(order("omi_mr_room.hl7")))) == ("OLD",)
    assert stations(trial(case(order("omi_mr_room.hl7"), at=datetime(2026, 4, 1, tzinfo=UTC)))) == ("NEW",)


def test_a_message_of_the_journal(configured: Configured) -> None:
    known = {"M1": (ROUTES / "tests" / "orm_ct.hl7").read_bytes()}
    trial = Trial(configured=configured, clock=lambda: NOW, journal=known.__getitem__)

    assert trial(case(Given(source="orders", journal="M1"))).ack == "AA"


def test_without_a_journal_its_messages_are_not_to_be_had(trial: Trial) -> None:
    with pytest.raises(GivenError, match="no journal"):
        trial(case(Given(source="orders", journal="M1")))


def test_what_ran_is_covered(configured: Configured) -> None:
    seen = Coverage()
    trial = Trial(configured=configured, clock=lambda: NOW, coverage=seen)
    trial(case(order("omi_mr_room.hl7")))
    report = seen.report(configured.routes, "steps-to-worklist")

    assert 0 < report.percent < 100
    assert [row.what for row in report.rows if row.covered] == ["MR-LAB1"]
    assert Path(report.points[0].place.rpartition(":")[0]).name == "steps-to-worklist.yaml"


def test_the_tests_of_the_shipped_routes_go_every_way(configured: Configured) -> None:
    seen = Coverage()
    trial = Trial(configured=configured, clock=lambda: NOW, coverage=seen)
    for route in configured.routes.routes:
        for test in route.tests.values():
            trial(Case(folder=ROUTES, before=test.before, given=test.given, tables=test.tables, at=test.at))

    assert [point for point in seen.report(configured.routes).points if not point.covered] == []
