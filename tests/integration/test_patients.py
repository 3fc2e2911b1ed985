"""A wrong merge found, planned and undone beside a running broker; a merge that is held and released."""

from __future__ import annotations

import json

import pytest

from tests.support.broker import Broker
from tests.support.flows import accepted, rows_of, status, wait_for_row, wait_until_idle, wait_until_routed
from tests.support.messages import Person, adt, merge, orm
from tests.support.mllp import MllpSink, field
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

ONE, OTHER = Person(number="700123"), Person(number="700999", family="Berg")
PEOPLE = ("--by", "Kari Lie", "--approved-by", "Ola Moe", "--reason", "two persons, case 4711")


def test_a_wrong_merge_is_undone_and_the_rows_show_whose_they_are(broker: Broker, epj_sink: MllpSink) -> None:
    with broker.pas() as pas, broker.orders() as ris:
        accepted(pas, adt("A04", "P1", ONE), adt("A04", "P2", OTHER))
        accepted(ris, orm("O1", OTHER, "71"))
        wait_for_row(broker, PatientID=OTHER.number)
        accepted(pas, merge("A40", "P3", ONE, OTHER.number))
        wait_for_row(broker, PatientID=ONE.number)
        accepted(ris, orm("O2", OTHER, "72"), orm("O3", ONE, "73"))
    wait_until_routed(broker)
    (change,) = broker.command_json("patients", "merge-status", OTHER.number)
    assert (change["kind"], change["state"]) == ("merge", "applied")
    wait_until_idle(broker)
    (change,) = broker.command_json("patients", "merge-status", change["id"])
    assert {one["destination"]: one["state"] for one in change["destinations"]}["epj"] == "delivered"

    plan = broker.command_json("patients", "split", change["id"], "--plan")
    assert [item["accession"] for item in plan["returns"]] == ["A71", "A72"]
    assert [item["accession"] for item in plan["ambiguous"]] == ["A73"]
    alone = broker.command(
        "patients", "split", change["id"], "--apply", "--plan-id", plan["plan_id"], *PEOPLE[:2]
    )
    assert alone.returncode == 1
    assert "two different people" in alone.stderr
    apply = ("patients", "split", change["id"], "--apply", "--plan-id", plan["plan_id"], *PEOPLE)
    assert broker.command_json(*apply)["new"] is True
    wait_until(lambda: len(rows_of(broker, PatientID=OTHER.number)) == 2, "the rows went back")
    assert broker.command_json(*apply)["new"] is False

    assert [row.AccessionNumber for row in rows_of(broker, PatientID=ONE.number)] == ["A73"]
    (entry,) = broker.command_json("patients", "merge-status", change["id"])
    assert entry["state"] == "undone"
    masked = broker.command("patients", "show", OTHER.number, "--history", "--format", "json")
    assert "Berg" not in masked.stdout
    assert OTHER.number not in masked.stdout
    assert [one["state"] for one in json.loads(masked.stdout)[0]["history"]] == ["undone"]
    assert broker.command("patients", "show", OTHER.number, "--phi", "--reason", "case").returncode == 2
    actions = [line["action"] for line in broker.command_json("audit")]
    assert actions == ["patients split", "patients show refused"]
    assert broker.command("reconcile", "--registers").returncode == 0
    assert status(broker)["exceptions"] == []


def test_a_merge_of_two_national_numbers_waits_for_two_people(broker: Broker, epj_sink: MllpSink) -> None:
    one = Person(number="700123", national="30908299902")
    other = Person(number="700999", national="03851598730")
    with broker.pas() as pas:
        accepted(pas, adt("A04", "P1", one), adt("A04", "P2", other), merge("A40", "P3", one, other.number))
        wait_until_routed(broker)
        accepted(pas, adt("A08", "P4", one))
    wait_until_idle(broker)
    assert [field(m, b"MSH", 10) for m in epj_sink.messages] == [b"P1", b"P2", b"P4"], "nobody is blocked"
    (held,) = broker.command_json("patients", "merge-status")
    assert (held["state"], held["destinations"]) == ("held", [])
    released = broker.command_json("patients", "release-merge", held["id"], *PEOPLE)
    wait_until(lambda: len(epj_sink.messages) == 4, "the EPJ gets the merge")

    assert field(epj_sink.messages[-1], b"MSH", 10) == b"P3"
    (change,) = broker.command_json("patients", "merge-status", released["message"])
    assert change["state"] == "applied"
    assert broker.command("reconcile", "--registers").returncode == 0
