"""Routes are changed under a running broker: `broker apply`, what it refuses, and the way back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.flows import accepted, status, wait_until_idle
from tests.support.messages import Person, adt
from tests.support.mllp import MllpSink, field
from tests.support.postgres import Postgres
from tests.support.processes import wait_until
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

WHY = ("--reason", "a test", "--as", "tester")


class Site:
    """A copy of the shipped folders that a test may edit, and what has arrived at the EPJ."""

    def __init__(self, folder: Path, sink: MllpSink) -> None:
        self.folder, self.sink = folder, sink
        for name in ("config", "routes"):
            shutil.copytree(REPOSITORY / name, folder / name)
        self.settings = {"BROKER_CONFIG": str(folder / "config" / "broker.yaml")}

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def mark(self, text: str, was: str = "") -> None:
        """ADT to the EPJ carries this text in MSH-8 from the next apply on."""
        old = f"    set: {{ MSH-8: {was} }}\n" if was else ""
        purpose = "    purpose: contact\n"
        self.edit("routes/adt-to-epj.yaml", purpose + old, f"{purpose}    set: {{ MSH-8: {text} }}\n")

    def marks(self) -> list[str]:
        """What arrived, in the order of the control ids: the mark of each message."""
        found = {field(m, b"MSH", 10).decode(): field(m, b"MSH", 8).decode() for m in self.sink.messages}
        assert len(found) == len(self.sink.messages), "nothing arrived twice"
        return [found[number] for number in sorted(found)]


@pytest.fixture
def site(tmp_path: Path, epj_sink: MllpSink) -> Site:
    return Site(tmp_path / "site", epj_sink)


@contextmanager
def messages_keep_coming(broker: Broker, sent: list[str]) -> Iterator[threading.Event]:
    """One sender, message after message, until the end; the event is set once a few were acknowledged."""
    stop, begun = threading.Event(), threading.Event()

    def send() -> None:
        with broker.pas() as pas:
            while not stop.is_set():
                number = f"K{len(sent):05}"
                accepted(pas, adt("A04", number, Person(number=f"77{len(sent):05}", family="Berg")))
                sent.append(number)
                if len(sent) >= 20:
                    begun.set()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield begun
    finally:
        stop.set()
        thread.join(30)


def test_events_before_the_switch_go_by_the_old_routes_and_those_behind_it_by_the_new(
    start_broker: StartBroker, site: Site
) -> None:
    broker = start_broker(epj_port=site.sink.port, settings=site.settings)
    assert [(r["number"], r["who"]) for r in broker.command_json("routes", "list")] == [(1, "start")]
    sent: list[str] = []
    with messages_keep_coming(broker, sent) as begun:
        assert begun.wait(30)
        before = len(sent)
        site.mark("SECOND")
        applied = broker.command("apply", *WHY)
        assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "routes v2 live"), applied.stderr
        after = len(sent)
        assert begun.wait(0)
    with broker.pas() as pas:
        accepted(pas, adt("A04", "L00001", Person(number="7900001", family="Dal")))
    wait_until_idle(broker)

    marks = site.marks()
    assert len(marks) == len(sent) + 1, "nothing is lost, nothing comes twice"
    switch = marks.index("SECOND")
    assert set(marks[:switch]) == {""}
    assert set(marks[switch:]) == {"SECOND"}, "none behind the switch by the old ones"
    assert 0 < switch <= after + 1
    assert before > 0
    assert status(broker)["here"]["routes"] == 2
    versions = {row["number"]: row["version"] for row in broker.command_json("routes", "list")}
    (first,), (last,) = (broker.command_json("trace", number) for number in ("K00000", "L00001"))
    assert {event["routes"] for event in first["events"]} == {versions[1]}
    assert {event["routes"] for event in last["events"]} == {versions[2]}
    assert "broker_routes_live 2.0" in broker.http("/metrics")[1].decode()
    assert broker.command("reconcile", "--registers").returncode == 0


def test_what_cannot_be_used_changes_nothing(start_broker: StartBroker, site: Site) -> None:
    broker = start_broker(epj_port=site.sink.port, settings=site.settings)

    same = broker.command("apply")
    assert (same.returncode, "nothing to change" in same.stdout) == (0, True)

    site.edit("routes/adt-to-epj.yaml", "hl7: epj", "hl7: eqj")
    broken = broker.command("apply")
    assert broken.returncode == 2
    assert "routes/adt-to-epj.yaml:9:10" in broken.stderr
    assert "Did you mean 'epj'?" in broken.stderr
    site.edit("routes/adt-to-epj.yaml", "hl7: eqj", "hl7: epj")

    site.edit("routes/adt-to-epj.yaml", "ack: AA", "ack: AR")
    failing = broker.command("apply")
    assert failing.returncode == 1
    assert "ack expected AR, got AA" in failing.stdout
    assert "nothing was changed" in failing.stdout
    site.edit("routes/adt-to-epj.yaml", "ack: AR", "ack: AA")

    # The settings that the broker was started with have no such destination.
    site.edit(
        "config/broker.yaml", "  pacs-hl7:  ", "  second: { adapter: epj, port: 9, host: h }\n  pacs-hl7:  "
    )
    site.edit("routes/adt-to-epj.yaml", "to:\n", "to:\n  - { hl7: second, send: source }\n")
    refused = broker.command("apply")
    assert refused.returncode == 1
    assert "cannot load them: " in refused.stdout
    assert "there is no destination 'second'" in refused.stdout

    with broker.pas() as pas:
        accepted(pas, adt("A04", "B1", Person(number="780001", family="Berg")))
    wait_until_idle(broker)
    assert site.marks() == [""]
    assert status(broker)["here"] == {**status(broker)["here"], "routes": 1, "fault": ""}
    assert [row["number"] for row in broker.command_json("routes", "list")] == [1]


def test_the_way_back_and_what_a_start_takes(start_broker: StartBroker, site: Site, tmp_path: Path) -> None:
    broker = start_broker(epj_port=site.sink.port, settings=site.settings)
    site.mark("SECOND")
    rehearsed = broker.command_json("apply", "--check-only")
    assert (rehearsed["live"], len(rehearsed["loaded"]), rehearsed["silent"]) == (0, 1, [])
    assert broker.command_json("apply", *WHY)["live"] == 2

    diff = broker.command("routes", "show", "v2", "--diff", "v1").stdout
    assert "+    set: { MSH-8: SECOND }" in diff
    back = broker.command("routes", "rollback", "v1", *WHY)
    assert (back.returncode, back.stdout.splitlines()[-1]) == (0, "routes v3 live"), back.stderr
    assert "the folder says otherwise" in back.stderr
    with broker.pas() as pas:
        accepted(pas, adt("A04", "C1", Person(number="790001", family="Berg")))
    wait_until_idle(broker)
    assert site.marks() == [""]

    assert broker.command("routes", "show", "1", "--to", tmp_path / "v1").returncode == 0
    first = (tmp_path / "v1" / "routes" / "adt-to-epj.yaml").read_bytes()
    assert first == (REPOSITORY / "routes" / "adt-to-epj.yaml").read_bytes()
    assert (tmp_path / "v1" / "tables" / "stations.csv").is_file()
    assert broker.command("routes", "show", "9").returncode == 1

    broker.stop()
    broker.start()
    rows = broker.command_json("routes", "list")
    assert [(r["number"], r["who"], r["live"]) for r in rows[:2]] == [
        (4, "start", True),
        (3, "tester", False),
    ]
    assert status(broker)["here"]["routes"] == 4

    broker.stop()
    site.mark("THIRD", was="SECOND")
    alone = broker.command("apply", *WHY)
    assert (alone.returncode, alone.stdout.splitlines()[-1]) == (0, "routes v5 live"), alone.stderr
    broker.start()
    assert status(broker)["here"]["routes"] == 5, "the folder is what is live already"


def test_on_postgresql_the_database_decides_and_a_broken_folder_stops_no_start(
    start_broker: StartBroker, site: Site, postgres: Postgres
) -> None:
    settings = {**site.settings, "BROKER_STORE": postgres.url(postgres.database())}
    broker = start_broker(epj_port=site.sink.port, settings=settings)
    site.mark("SECOND")
    assert broker.command_json("apply", *WHY)["live"] == 2
    wait_until(lambda: [node["routes"] for node in status(broker)["nodes"]] == [2], "the node says so")
    (node,) = status(broker)["nodes"]
    assert (node["living"], node["fault"]) == (True, "")
    shown = broker.command("status").stdout
    assert "routes v2 live since" in shown
    assert f"  {node['node']}  deliver, intake, router, worklist" in shown

    broker.stop()
    assert broker.command_json("status")["nodes"] == [], "it said that it was gone"
    site.edit("routes/adt-to-epj.yaml", "hl7: epj", "hl7: eqj")
    broker.start()

    assert status(broker)["here"]["routes"] == 2
    with broker.pas() as pas:
        accepted(pas, adt("A04", "D1", Person(number="800001", family="Berg")))
    wait_until_idle(broker)
    assert site.marks() == ["SECOND"]
    assert "the folder's routes cannot be used" in broker.log.read_text(encoding="utf-8")
    assert [row["number"] for row in broker.command_json("routes", "list")] == [2, 1]


def test_all_nodes_switch_together_whichever_leads(
    start_broker: StartBroker, site: Site, postgres: Postgres, tmp_path: Path
) -> None:
    (tmp_path / "spool").mkdir()
    shared = {
        **site.settings,
        "BROKER_STORE": postgres.url(postgres.database()),
        "BROKER_SPOOL": str(tmp_path / "spool"),
        "BROKER_TEST_MARK": "SECOND",
    }

    def node(role: str, **settings: str) -> Broker:
        return start_broker(epj_port=site.sink.port, settings={**shared, **settings}, roles=[role])

    intake, deliver, first = node("intake"), node("deliver"), node("router")
    lacking = node("router", BROKER_TEST_MARK="")
    wait_until(lambda: len(nodes_of(intake)) == 4, "all nodes are seen")
    (leader,) = [found["node"] for found in nodes_of(intake) if found["leads"]]
    assert str(first.data) in leader
    site.mark('"${env:BROKER_TEST_MARK}"')

    refused = intake.command("apply", "--timeout", "20", *WHY)
    assert refused.returncode == 1
    assert f"{lacking.data}: cannot load them: " in refused.stdout
    assert "BROKER_TEST_MARK is not set" in refused.stdout
    assert {found["routes"] for found in nodes_of(intake)} == {1}

    lacking.stop()
    second = node("router")
    wait_until(lambda: len(nodes_of(intake)) == 4, "the other one is seen")
    sent: list[str] = []
    with messages_keep_coming(intake, sent) as begun:
        assert begun.wait(30)
        applied = intake.command_json("apply", *WHY)
        assert (applied["live"], len(applied["loaded"])) == (2, 3), "both routers and who delivers"
        first.kill()
        wait_until(
            lambda: (
                [str(second.data) in found["node"] for found in nodes_of(intake) if found["leads"]] == [True]
            ),
            "the other router leads",
            timeout=30,
        )
    wait_until_idle(deliver, timeout=60)

    marks = site.marks()
    assert len(marks) == len(sent)
    switch = marks.index("SECOND")
    assert switch > 0
    assert (set(marks[:switch]), set(marks[switch:])) == ({""}, {"SECOND"})
    wait_until(lambda: {f["routes"] for f in nodes_of(intake) if f["living"]} == {2}, "each goes by v2", 30)
    assert intake.command("reconcile", "--registers").returncode == 0


def nodes_of(broker: Broker) -> list[dict[str, Any]]:
    """What `/api/status` says of the nodes."""
    found: list[dict[str, Any]] = status(broker)["nodes"]
    return found
