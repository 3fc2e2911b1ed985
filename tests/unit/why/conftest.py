"""What the tests of `broker why` share: the runtime's house, and a device that was asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from broker.dicom.matching import Query
from broker.runtime.configured import Configured, configure
from broker.runtime.queries import described
from broker.settings import load
from broker.store.sqlite import SqliteDatabase
from broker.why.desk import desk
from broker.why.facts import Device, Facts, Question
from broker.why.gather import gather
from broker.why.judge import Answer, judge
from tests.support.shared import REPOSITORY
from tests.unit.runtime.conftest import ENV, House

Ask = Callable[..., tuple[Facts, tuple[Answer, ...]]]


@pytest.fixture(scope="session")
def configured() -> Configured:
    return configure(load(REPOSITORY / "config" / "broker.yaml", env=ENV), ENV)


@pytest.fixture
def house(configured: Configured, sqlite_database: SqliteDatabase) -> House:
    return House(configured, sqlite_database)


@pytest.fixture
def ask(house: House) -> Ask:
    """Asks the house, as `asking` says."""
    return asking(house)


def asking(house: House) -> Ask:
    """Asks for a patient's rows; `asked` are the device's queries, `answering` is off where no broker runs."""

    def why(
        patient: str,
        *,
        ae: str = "CT2_STO",
        at: str = "",
        asked: tuple[Query, ...] = (),
        answering: bool = True,
        typed: Query | None = None,
        **question: str,
    ) -> tuple[Facts, tuple[Answer, ...]]:
        def device(_ae: str, row: Mapping[str, Any] | None) -> tuple[tuple[Device, ...], str]:
            told = tuple(
                Device(at="2026-03-09T09", keys=tuple(described(v, row) for v in query.verdicts(row or {})))
                for query in asked
            )
            return (told, "") if answering else ((), "no broker answers")

        with desk(house.database, house.configured, at, lambda _done: None) as it:
            facts = gather(it, Question(ae=ae, patient=patient, at=at, **question), typed, device)
        return facts, judge(facts)

    return why
