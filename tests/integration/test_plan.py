"""`broker plan` as it is typed, beside a running broker whose journal real traffic has filled, on both engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartBroker
from tests.integration.test_apply import Site
from tests.support.flows import accepted, wait_until_idle
from tests.support.messages import Person, adt, orm
from tests.support.mllp import MllpSink
from tests.support.postgres import Postgres

pytestmark = pytest.mark.integration

SECRETS = ("Plantaberg", "Zebulonsdatter", "790311", "19771224", "Hemmeligveien")


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_traffic_through_both_route_sets(
    start_broker: StartBroker, epj_sink: MllpSink, tmp_path: Path, request: pytest.FixtureRequest, engine: str
) -> None:
    site = Site(tmp_path / "site", epj_sink)
    settings = dict(site.settings)
    if engine == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        settings["BROKER_STORE"] = server.url(server.database())
    broker = start_broker(epj_port=epj_sink.port, settings=settings)
    person = Person(
        number="790311",
        family="Plantaberg",
        given="Zebulonsdatter",
        birth_date="19771224",
        contact="Hemmeligveien 7||79031112",
    )
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "P1", person))
        for number in range(5):
            accepted(orders, orm(f"P1{number}", person, f"93{number}"))
        accepted(pas, adt("A08", "P2", person))
    wait_until_idle(broker)
    left = len(epj_sink.messages)

    same = broker.command("plan")
    assert same.returncode == 0, same.stderr
    assert "shadow replay: 0 of " in same.stdout

    # The family name goes to a place that nobody expects, and a station of all CTs goes.
    site.mark('"${patient.name.family}"')
    site.edit("config/stations.csv", "modality:CT,CT1_STO|CT2_STO", "modality:CT,CT2_STO")
    told = [broker.command("plan", "--verbose", "--format", form) for form in ("text", "json", "markdown")]
    assert [one.returncode for one in told] == [3, 3, 3], told[0].stderr
    found: dict[str, Any] = json.loads(told[1].stdout)
    groups = {(g["route"], g["path"]): g for g in found["shadow"]["groups"]}
    assert groups["adt-to-epj", "MSH-8"]["count"] == 2
    assert groups["adt-to-epj", "MSH-8"]["examples"][0]["after"] == "Aaaaaaaaaa"
    stations = groups["steps-to-worklist", "(0040,0001) ScheduledStationAETitle"]
    assert stations["count"] == 10, "each order's row, and again when the name was said anew"
    assert stations["examples"][0]["after"] == "CT2_STO"
    assert found["worklist"]["lanes"][0]["verdicts"] == {"changed": 5}
    assert [row["code"] for row in found["changes"]["rows"]] == ["modality:CT"]
    for one in told:
        assert [secret for secret in SECRETS if secret in one.stdout + one.stderr] == []

    short = broker.command("plan", "--last", "1", "--sample", "2", "--registers", "now")
    assert short.returncode == 3
    assert "1 messages since" in short.stdout
    assert broker.command("plan", "--last", "1", "--days", "1").returncode == 2
    assert len(epj_sink.messages) == left, "nothing was sent"

    applied = broker.command("apply", "--no-tests", "--reason", "a test", "--as", "tester")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "routes/adt-to-epj.yaml:2): to[0] epj MSH-8" in applied.stdout
    assert broker.command("plan").returncode == 0
    back = broker.command("plan", "--to", "v1", "--no-replay")
    assert back.returncode == 3
    assert "v2 (live, " in back.stdout
    assert "→ v1 (" in back.stdout
    site.edit("routes/adt-to-epj.yaml", "hl7: epj", "hl7: eqj")
    broken = broker.command("plan")
    assert broken.returncode == 2
    assert "Did you mean 'epj'?" in broken.stderr
