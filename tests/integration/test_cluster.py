"""The shipped broker in parts: intake, router, deliver and worklist as processes of their own, on one PostgreSQL.

The same shipped routes as everywhere else; what harms a cluster does to it is `tests/proof`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.proof.load import CT
from tests.support.broker import Broker
from tests.support.dimse import Scu
from tests.support.flows import accepted, status, wait_for_row, wait_until_idle
from tests.support.images import dataset_bytes, write_image
from tests.support.messages import Person, adt, orm
from tests.support.mllp import MllpSink
from tests.support.orthanc import Orthanc
from tests.support.postgres import Postgres
from tests.support.processes import wait_until
from tests.support.rabbitmq import RabbitMq
from tests.support.redis import Redis

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile")

StartNode = Callable[..., Broker]


@pytest.fixture
def start_node(
    postgres: Postgres, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> Iterator[StartNode]:
    """Starts a node with some roles; all of a test's share journal, spool and destinations."""
    url = postgres.url(postgres.database())
    nodes: list[Broker] = []
    (tmp_path / "spool").mkdir()

    def start(*roles: str, **settings: str) -> Broker:
        folder = tmp_path / f"node-{len(nodes)}"
        folder.mkdir()
        node = Broker(
            folder,
            pacs_port=orthanc.port,
            epj_port=epj_sink.port,
            settings={"BROKER_STORE": url, "BROKER_SPOOL": str(tmp_path / "spool"), **settings},
            roles=roles,
        )
        nodes.append(node)
        node.start()
        return node

    yield start
    for node in nodes:
        node.kill()


@pytest.fixture(params=["threads", "celery over amqp", "celery over redis"])
def executor(request: pytest.FixtureRequest) -> dict[str, str]:
    """What works lanes off, as settings."""
    if request.param == "threads":
        return {}
    bus: RabbitMq | Redis = request.getfixturevalue("rabbitmq" if request.param.endswith("amqp") else "redis")
    return {"BROKER_EXECUTOR": "celery", "BROKER_BUS": bus.url}


def test_the_main_job_over_five_nodes(
    start_node: StartNode, executor: dict[str, str], orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    one, two = start_node("intake", **executor), start_node("intake", **executor)
    start_node("router", **executor)
    worklist = start_node("worklist", **executor)
    deliver = start_node("deliver", **executor)
    image = write_image(tmp_path / "image.dcm", PatientID="700123")
    registered = adt("A04", "G1", AILE)
    with one.pas() as pas, two.orders() as orders:
        accepted(pas, registered)
        accepted(orders, orm("G2", AILE, "801"))
    row = wait_for_row(worklist, AccessionNumber="A801")
    with two.pas() as pas:
        accepted(pas, adt("A08", "G3", AILE.named("Sørby Čoahkkin")))
    scu = Scu(one.dicom_port, [CT])
    assert scu.store(CT, image.SOPInstanceUID, dataset_bytes((tmp_path / "image.dcm").read_bytes())) == 0
    scu.close()
    wait_until_idle(deliver)

    assert str(row.PatientName).startswith("Sørby^Áile")
    assert epj_sink.messages[0] == registered
    assert len(epj_sink.messages) == 3
    assert str(orthanc.by_uid(image.SOPInstanceUID).PatientName).startswith("Sørby Čoahkkin")
    said = deliver.command("reconcile", "--registers")
    assert said.returncode == 0, said.stdout + said.stderr


def test_another_router_takes_over(start_node: StartNode, epj_sink: MllpSink) -> None:
    intake, deliver = start_node("intake"), start_node("deliver")
    first = start_node("router")
    wait_until(lambda: leads(first), "the first router leads")
    second = start_node("router")
    assert not leads(second)
    first.kill()
    with intake.pas() as pas:
        accepted(pas, adt("A04", "G1", AILE))
    wait_until(lambda: leads(second), "the second router leads", timeout=30)
    epj_sink.wait_for(1)
    wait_until_idle(deliver)


def test_a_router_that_stops_hands_over_at_once(start_node: StartNode) -> None:
    first = start_node("router")
    wait_until(lambda: leads(first), "the first router leads")
    second = start_node("router")
    first.stop()
    wait_until(lambda: leads(second), "the second router leads", timeout=5)


def leads(node: Broker) -> bool:
    """Whether this node says that it routes."""
    return b"\nbroker_leader 1.0" in node.http("/metrics")[1]


def test_roles_need_a_journal_that_can_be_shared(tmp_path: Path) -> None:
    node = Broker(tmp_path, roles=["intake"])
    said = node.command("run", "--role", "intake")
    assert said.returncode == 2
    assert "store: postgresql://" in said.stderr


def test_deliveries_that_wait_are_seen_on_every_node(start_node: StartNode) -> None:
    intake = start_node("intake")
    start_node("router")
    with intake.pas() as pas:
        accepted(pas, adt("A04", "G1", AILE))
    wait_until(lambda: status(intake)["events_waiting"] == 0, "it is routed")
    assert sum(row["queued"] for row in status(intake)["destinations"]) == 1
