"""What people do to deliveries beside a running broker: parked work, replays, and the account of all of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.broker import Broker
from tests.support.flows import accepted, rows_of, status, wait_for_row, wait_until_idle, wait_until_routed
from tests.support.messages import Person, adt, merge, orm
from tests.support.mllp import MllpSink, field
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

WHY = ("--reason", "a test", "--as", "tester")


def person(number: int) -> Person:
    return Person(number=f"76{number:04d}", family=f"Nr{number}")


def control_ids(sink: MllpSink) -> list[str]:
    return [field(message, b"MSH", 10).decode() for message in sink.messages]


def parked(broker: Broker, *options: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = broker.command_json("parked", "list", *options)
    return rows


def poison(sink: MllpSink, *numbers: str) -> None:
    """The EPJ refuses these messages by control id, unless somebody repaired them."""
    sink.behaviour = lambda m: (
        "AE" if field(m, b"MSH", 10).decode() in numbers and b"REPAIRED" not in m else "AA"
    )


def park(broker: Broker, sink: MllpSink, *numbers: str) -> None:
    poison(sink, *numbers)
    with broker.pas() as pas:
        for n, number in enumerate(numbers):
            accepted(pas, adt("A04", number, person(n)), adt("A08", f"{number}-later", person(n)))
            accepted(pas, adt("A04", f"{number}-other", person(90 + n)))
    wait_until(lambda: len(parked(broker)) == len(numbers), "the poison is parked", timeout=60)


def test_a_parked_message_holds_only_its_patient_and_leaves_once_it_is_repaired(
    broker: Broker, epj_sink: MllpSink
) -> None:
    park(broker, epj_sink, "Q1")
    assert "Q1-other" in control_ids(epj_sink), "others are not held"
    assert "Q1-later" not in control_ids(epj_sink)
    (row,) = parked(broker)
    assert (row["control_id"], row["detail"], row["waiting"]) == ("Q1", "MSA-1 AE", 1)
    number = str(row["id"])
    shown = broker.command_json("parked", "show", number)
    assert [waiting["control_id"] for waiting in shown["behind"]] == ["Q1-later"]
    assert len(shown["attempts"]) == row["attempts"] >= 3
    assert "payload" not in shown, "patient data only when asked for"
    assert "Nr0" in broker.command_json("parked", "show", number, "--payload")["payload"]

    edited = broker.command_json("parked", "edit", number, "--set", "PV1-50=REPAIRED", "--release", *WHY)
    assert edited["changes"] == [{"place": "PV1-50", "before": "", "after": "REPAIRED"}]
    wait_until_idle(broker)

    mine = [c for c in control_ids(epj_sink) if c in ("Q1", "Q1-later")]
    assert (set(mine[:-1]), mine[-1]) == ({"Q1"}, "Q1-later"), "and its order is kept"
    assert parked(broker) == []
    ((delivery,), _) = [event["deliveries"] for event in broker.command_json("trace", "Q1")[0]["events"]]
    done = [(i["action"], i["who"], i["reason"]) for i in delivery["interventions"]]
    assert done == [("edit", "tester", "a test"), ("release", "tester", "a test")]
    assert broker.command("reconcile", "--registers").returncode == 0


def test_parked_work_is_released_and_dropped_in_bulk_and_over_a_restart(
    broker: Broker, epj_sink: MllpSink
) -> None:
    park(broker, epj_sink, "Q10", "Q11", "Q12")
    broker.kill()
    broker.start()
    assert [row["control_id"] for row in parked(broker)] == ["Q10", "Q11", "Q12"], "a crash forgets nothing"

    nothing = broker.command("parked", "release", *WHY)
    assert nothing.returncode == 2
    assert "name deliveries" in nothing.stderr
    dropped = broker.command_json("parked", "drop", str(parked(broker)[0]["id"]), *WHY)
    assert len(dropped["dropped"]) == 1
    epj_sink.behaviour = "AA"
    assert len(broker.command_json("parked", "release", "--detail", "MSA-1 AE", *WHY)["released"]) == 2
    wait_until_idle(broker)

    got = control_ids(epj_sink)
    assert {"Q10-later", "Q11-later", "Q12-later"} <= set(got), "what stood behind goes on"
    assert got.index("Q11-later") > max(i for i, c in enumerate(got) if c == "Q11")
    again = broker.command("parked", "drop", str(dropped["dropped"][0]), *WHY)
    assert again.returncode == 1
    assert "is dropped" in again.stderr
    (epj,) = [row for row in status(broker)["destinations"] if row["destination"] == "epj"]
    assert (epj["dropped"], epj["parked"], epj["queued"]) == (1, 0, 0)
    assert broker.command("reconcile", "--registers").returncode == 0


def test_a_merge_moves_parked_work_into_the_survivors_lane(broker: Broker, epj_sink: MllpSink) -> None:
    park(broker, epj_sink, "Q20")
    survivor = person(21)
    with broker.pas() as pas:
        accepted(pas, merge("A40", "Q21", survivor, person(0).number), adt("A08", "Q22", survivor))
    wait_until_routed(broker)
    (row,) = parked(broker)
    assert row["waiting"] == 3, "both patients' later messages"

    broker.command_json("parked", "drop", str(row["id"]), *WHY)
    wait_until_idle(broker)
    mine = [c for c in control_ids(epj_sink) if c in ("Q20-later", "Q21", "Q22")]
    assert mine == ["Q20-later", "Q21", "Q22"]


def test_a_replay_sends_the_same_bytes_again_and_is_marked(broker: Broker, epj_sink: MllpSink) -> None:
    with broker.pas() as pas:
        accepted(pas, adt("A04", "R1", person(30)), adt("A04", "R2", person(31)))
    wait_until_idle(broker)

    (planned,) = broker.command_json("replay", "R1", "--destination", "epj", "--dry-run", *WHY)
    assert planned["changes"] == []
    assert planned["payload"].replace("\n", "\r").encode() == epj_sink.messages[0]
    assert control_ids(epj_sink) == ["R1", "R2"], "a dry run sends nothing"

    assert broker.command_json("replay", "R1", "--destination", "epj", *WHY)["replayed"] == 1
    epj_sink.wait_for(3)
    assert epj_sink.messages[2] == epj_sink.messages[0], "the same control id and bytes"
    wait_until_idle(broker)
    deliveries = [d for e in broker.command_json("trace", "R1")[0]["events"] for d in e["deliveries"]]
    first, again = (d for d in deliveries if d["destination"] == "epj")
    assert (again["replay_of"], first["replay_of"]) == (first["id"], None)
    assert [i["action"] for i in again["interventions"]] == ["replay"]
    assert broker.command("reconcile").returncode == 0


def test_a_replay_made_anew_shows_what_differs_from_the_first_delivery(
    broker: Broker, epj_sink: MllpSink
) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(orders, orm("R10", person(40), "960"))
        wait_until_idle(broker)
        accepted(pas, adt("A08", "R11", person(40).named("Nytt")))
        wait_until_idle(broker)

    (planned,) = broker.command_json("replay", "R10", "--mode", "rendered", "--dry-run", *WHY)
    assert [(c["place"], c["after"]) for c in planned["changes"]] == [("PID-5", "Nytt^Åse")]
    broker.command_json("replay", "R10", "--mode", "rendered", *WHY)
    message = epj_sink.wait_for(3)[2]
    assert field(message, b"PID", 5).decode() == "Nytt^Åse"
    assert field(message, b"MSH", 10) == field(epj_sink.messages[0], b"MSH", 10)


def test_a_message_taken_in_again_is_no_repeat(broker: Broker, epj_sink: MllpSink) -> None:
    order = orm("R20", person(50), "970")
    with broker.orders() as orders:
        accepted(orders, order)
        wait_until_idle(broker)
        planned = broker.command_json("replay", "R20", "--mode", "received", "--dry-run", *WHY)
        assert [one["destination"] for one in planned] == ["epj"]
        assert rows_of(broker, AccessionNumber="A970"), "a rehearsal changes nothing"
        assert broker.command_json("replay", "R20", "--mode", "received", *WHY)["replayed"] == 1
        epj_sink.wait_for(2)
        wait_until_idle(broker)

        found = broker.command_json("trace", "R20")
        assert [entry["answer"] for entry in found] == ["AA", ""]
        assert found[1]["flags"] == [f"replay:{found[0]['id']}"]
        wait_for_row(broker, AccessionNumber="A970")
        accepted(orders, order)  # the sender's own repeat still gets its stored answer
    assert len(broker.command_json("trace", "R20")) == 2
    assert broker.command("reconcile", "--registers").returncode == 0


def test_a_control_id_that_comes_with_other_content_is_refused_and_told(
    broker: Broker, epj_sink: MllpSink
) -> None:
    with broker.pas() as pas:
        accepted(pas, adt("A04", "S1", person(60)))
        answer = pas.ask(adt("A08", "S1", person(60).named("Annen")))
        again = pas.ask(adt("A04", "S1", person(60)))
    wait_until_idle(broker)

    assert field(answer, b"MSA", 1) == b"AE"
    assert b"205" in field(answer, b"ERR", 3)
    assert field(again, b"MSA", 1) == b"AA", "the first content is still answered from the store"
    assert control_ids(epj_sink) == ["S1"]
    (entry,) = [e for e in status(broker)["exceptions"] if e["kind"] == "control-id-reused"]
    assert "MSH-10" in entry["reason"]
    assert "Annen" not in str(status(broker))


def test_an_exception_is_closed_by_somebody_who_saw_to_it(broker: Broker) -> None:
    with broker.pas() as pas:
        accepted(pas, adt("A04", "E1", person(1)))
        assert b"|205" in pas.ask(adt("A04", "E1", person(2)))
    (entry,) = broker.command_json("exceptions", "list")
    assert (entry["kind"], entry["closable"]) == ("control-id-reused", True)

    (done,) = broker.command_json(
        "exceptions", "close", entry["kind"], entry["subject"], "--reason", "repaired"
    )
    assert done["closed"]
    wait_until(lambda: broker.command_json("exceptions", "list") == [], "it is closed")
    again = broker.command("exceptions", "close", entry["kind"], entry["subject"], "--reason", "repaired")
    assert (again.returncode, "is not open" in again.stdout) == (1, True)
    refused = broker.command("exceptions", "close", "merge-held", "x", "--reason", "no")
    assert refused.returncode != 0
    assert "closes by itself" in refused.stderr
    accounted = broker.command("reconcile", "--registers")
    assert accounted.returncode == 0, accounted.stdout
