from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO

import pytest
from pydicom import dcmread

from broker.errors import ConfigError
from broker.routing.testing import Output
from broker.runtime.configured import Configured
from broker.runtime.offline import Bench, instance
from tests.support.shared import REPOSITORY

SAMPLES = REPOSITORY / "routes" / "tests"


@pytest.fixture
def bench(configured: Configured) -> Bench:
    return Bench(configured, lambda: datetime(2026, 3, 9, 8, tzinfo=UTC))


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def output(bench: Bench, source: str, raw: bytes, destination: str) -> Output:
    (found,) = [o for o in bench.feed(source, raw).outputs if o.destination == destination]
    return found


def test_explain_shows_everything_a_message_comes_to(bench: Bench) -> None:
    told = bench.explain("orders", sample("orm_ct.hl7"))

    assert set(told) == {
        "message", "control_id", "verdict", "reason", "answer", "answers", "charset", "flags", "events", "routes",
        "deliveries", "exceptions",
    }  # fmt: skip
    assert (told["message"], told["control_id"], told["verdict"], told["answer"]) == (
        "ORM^O01", "R000201", "accepted", "AA",
    )  # fmt: skip
    assert "MSA|AA|R000201" in told["answers"][0]
    assert [event["type"] for event in told["events"]] == [
        "no.broker.order.placed",
        "no.broker.step.scheduled",
    ]
    by_route = {(r["event"], r["route"]): r for r in told["routes"]}
    assert len(by_route) == 2 * len(list(REPOSITORY.glob("routes/*.yaml"))), "each route's word on each event"
    assert by_route["step.scheduled", "steps-to-worklist"]["matched"]
    refused = by_route["step.scheduled", "adt-to-epj"]
    assert not refused["matched"]
    assert refused["reason"]
    assert refused["place"].startswith("routes/adt-to-epj.yaml:")
    epj, row = told["deliveries"]
    assert (epj["destination"], epj["kind"], epj["state"]) == ("epj", "hl7", "queued")
    assert epj["rendered"].startswith("MSH|^~\\&|BROKER|")
    assert (row["destination"], row["state"], row["detail"]) == ("worklist", "delivered", "row")
    assert row["rendered"]["AccessionNumber"] == "A2026000201"
    assert row["place"].startswith("routes/steps-to-worklist.yaml:")
    json.dumps(told)


def test_explain_shows_a_refusal_and_nothing_else(bench: Bench) -> None:
    told = bench.explain("orders", sample("orm_ct.hl7").replace(b"ORC|NW", b"ORC|QQ"))

    assert (told["verdict"], told["answer"]) == ("rejected", "AE")
    assert told["reason"].startswith("ORC-5: ")
    assert (told["events"], told["routes"], told["deliveries"], told["exceptions"]) == ([], [], [], [])


def test_explain_shows_what_a_person_must_look_at(bench: Bench) -> None:
    told = bench.explain("orders", sample("orm_no_time.hl7"))

    assert [entry["kind"] for entry in told["exceptions"]] == ["step-held"]
    assert told["deliveries"][-1]["detail"].startswith("held: ")


def test_each_explanation_is_of_its_own_message(bench: Bench) -> None:
    bench.explain("orders", sample("orm_ct.hl7"))
    told = bench.explain("pas", sample("adt_a08_new_name.hl7"))

    assert {verdict["event"] for verdict in told["routes"]} == {"patient.updated"}
    assert [d["destination"] for d in told["deliveries"]] == ["epj", "pacs-hl7", "worklist"]


def test_what_was_fed_before_is_remembered(bench: Bench) -> None:
    bench.feed("pas", sample("adt_a08_new_name.hl7"))
    row = output(bench, "orders", sample("orm_ct.hl7"), "worklist")

    assert row.read("PatientName") == "Sørby Čoahkkin^Áile^Lájla"
    assert row.read("ScheduledProcedureStepStatus") == "SCHEDULED", "of the step as well"
    assert row.read("PatientAddress") is None


def test_an_hl7_output_is_read_by_path(bench: Bench) -> None:
    sent = output(bench, "pas", sample("adt_a04_registered.hl7"), "pacs-hl7")

    assert (sent.read("PID-5"), sent.read("PID-5.1"), sent.read("PID-11")) == (
        "Sørby^Áile^Lájla",
        "Sørby",
        "",
    )


def test_an_instance_is_read_as_it_will_be_sent(bench: Bench) -> None:
    bench.feed("pas", sample("adt_a04_registered.hl7"))
    raw = instance(
        {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
            "SOPInstanceUID": "2.25.1.1",
            "StudyInstanceUID": "2.25.1",
            "SeriesInstanceUID": "2.25.2",
            "PatientID": "30908299902",
            "IssuerOfPatientID": "2.16.578.1.12.4.1.4.1",
            "PatientName": "SORBY^AILE",
            "Modality": "OT",
        }
    )
    told = bench.explain("images", raw)
    (sent,) = bench.feed("images", raw).outputs

    assert told["answer"] == "0000"
    assert told["deliveries"][0]["rendered"]["coerce"]["PatientName"] == "Sørby^Áile^Lájla"
    assert (sent.read("PatientName"), sent.read("Modality")) == ("Sørby^Áile^Lájla", "OT")


def test_a_made_instance_is_a_dicom_file() -> None:
    made = dcmread(BytesIO(instance({"SOPInstanceUID": "2.25.1", "PatientName": "Sørby^Åse"})))

    assert (made.SOPInstanceUID, made.PatientName) == ("2.25.1", "Sørby^Åse")


def test_an_unknown_listener_is_told_with_those_that_are_known(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"no listener 'psa'.*images, orders, pas, performed, results"):
        bench.feed("psa", b"MSH|")


def batch(*members: bytes) -> bytes:
    return b"BHS|^~\\&|PAS|||||||B1\r" + b"".join(members) + b"BTS|%d\r" % len(members)


def test_explain_shows_each_member_of_a_batch_as_the_ones_before_left_things(bench: Bench) -> None:
    told = bench.explain("orders", batch(sample("orm_ct.hl7"), b"MSH|^~\r", sample("orm_ct_cancelled.hl7")))

    assert (told["message"], told["reason"], told["events"]) == ("BATCH", "the envelope of 3 messages", [])
    placed, broken, cancelled = told["members"]
    assert [one["answer"] for one in told["members"]] == ["AA", "AR", "AA"]
    assert {view["event"] for view in placed["routes"]} == {"order.placed", "step.scheduled"}
    assert (broken["routes"], broken["deliveries"]) == ([], [])
    (row,) = [one["rendered"] for one in cancelled["deliveries"] if one["destination"] == "worklist"]
    assert row["AccessionNumber"] == "A2026000201"
    json.dumps(told)


def test_explain_shows_why_a_batch_would_be_refused_whole(bench: Bench) -> None:
    told = bench.explain("pas", batch(sample("adt_a04_registered.hl7")).replace(b"BTS|1", b"BTS|2"))

    assert (told["verdict"], told["answer"], told["members"]) == ("rejected", "AE", [])
    assert told["reason"].startswith("BTS-1: ")


def test_a_batch_is_fed_whole(bench: Bench) -> None:
    fed = bench.feed("pas", batch(sample("adt_a04_registered.hl7"), sample("orm_ct.hl7")))

    assert fed.ack == "AA AR"
    assert fed.events == ("patient.registered", "encounter.started")
    assert [output.destination for output in fed.outputs if output.kind == "hl7"] == ["epj", "pacs-hl7"]


def test_the_listener_of_a_batch_is_the_first_that_takes_any_of_it(bench: Bench) -> None:
    assert bench.source_of(batch(sample("orm_ct.hl7"))) == "orders"
    assert bench.source_of(batch(b"MSH|^~\r", sample("adt_a04_registered.hl7"))) == "pas"
    assert bench.source_of(batch()) == bench.source_of(b"MSH|^~\r"), "the first of all"
