"""What tests of whole flows do again and again: send and see AA, wait for rows, wait until nothing is under way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydicom import Dataset

from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk, worklist_query
from tests.support.mllp import MllpClient, field
from tests.support.processes import wait_until


def accepted(client: MllpClient, *messages: bytes) -> None:
    """Sends the messages one by one; fails unless each is answered AA with its own control id."""
    for message in messages:
        answer = client.ask(message)
        assert field(answer, b"MSA", 1) == b"AA", answer
        assert field(answer, b"MSA", 2) == field(message, b"MSH", 10)


def rows_of(broker: Broker, **keys: str) -> list[Dataset]:
    """The worklist as DCMTK's findscu sees it."""
    return Dcmtk().worklist(broker.dicom_port, worklist_query(**keys))


def wait_for_rows(
    broker: Broker, condition: Callable[[list[Dataset]], bool], what: str, **keys: str
) -> list[Dataset]:
    """The rows once they are as they shall be: they are written after the answer."""
    found: list[Dataset] = []

    def look() -> bool:
        found[:] = rows_of(broker, **keys)
        return condition(found)

    wait_until(look, what, timeout=15)
    return found


def wait_for_row(broker: Broker, **keys: str) -> Dataset:
    """The one row that matches, once it is there."""
    (row,) = wait_for_rows(broker, lambda rows: len(rows) == 1, "the row is visible", **keys)
    return row


def step_of(row: Dataset) -> Dataset:
    (step,) = row.ScheduledProcedureStepSequence
    assert isinstance(step, Dataset)
    return step


def status(broker: Broker) -> dict[str, Any]:
    """What `/api/status` says."""
    code, body = broker.http("/api/status")
    assert code == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def exceptions(broker: Broker) -> dict[str, str]:
    """Subject to kind of what a person must look at."""
    return {entry["subject"]: entry["kind"] for entry in status(broker)["exceptions"]}


def queued(broker: Broker, destination: str) -> int:
    """How many deliveries still have to leave for it."""
    return sum(row["queued"] for row in status(broker)["destinations"] if row["destination"] == destination)


def delivered(broker: Broker, destination: str) -> int:
    """How many deliveries it took."""
    return sum(
        row["delivered"] for row in status(broker)["destinations"] if row["destination"] == destination
    )


def wait_until_routed(broker: Broker) -> None:
    """Every event has been through the routes: registers and worklist are up to date."""
    wait_until(lambda: status(broker)["events_waiting"] == 0, "every event is routed")


def wait_until_idle(broker: Broker, timeout: float = 30.0) -> None:
    """Nothing waits to be routed or to leave."""
    wait_until(lambda: open_work(broker) == 0, "everything is delivered", timeout)


def open_work(broker: Broker) -> int:
    """How many events wait to be routed and deliveries to leave."""
    found = status(broker)
    waiting: int = found["events_waiting"] + sum(row["queued"] for row in found["destinations"])
    return waiting
