"""What the tests of `broker plan` share: the runtime's house with the shipped routes live, and another set beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from broker.delivery.parked import By
from broker.journal.window import window
from broker.plan.outputs import Pair
from broker.plan.proposal import Plan, short
from broker.plan.rows import remade
from broker.plan.shadow import Registers, shadow
from broker.routing.files import RouteFiles
from broker.runtime import routesets
from broker.runtime.offline import Configured, compiled, configure
from broker.runtime.rebuild import BASELINE
from broker.settings import load
from broker.store.database import Database
from tests.support.shared import REPOSITORY
from tests.unit.runtime.conftest import ENV, House


@pytest.fixture(scope="session")
def configured() -> Configured:
    return configure(load(REPOSITORY / "config" / "broker.yaml", env=ENV), ENV)


@dataclass(frozen=True)
class Planner:
    """The shipped routes are live; `plan` holds an edited copy of them against what the house has received."""

    house: House

    def edited(self, *edits: tuple[str, str], without: str = "") -> Configured:
        """The shipped set with texts of its files replaced, or without a file."""
        shipped = self.house.configured
        routes = {name: text for name, text in shipped.files.routes.items() if not without or without not in name}
        tables = dict(shipped.files.tables)
        for old, new in edits:
            found = [name for name, text in routes.items() if old in text]
            for name in found:
                routes[name] = routes[name].replace(old, new)
            in_tables = [name for name, table in tables.items() if old in table.text]
            for name in in_tables:
                tables[name] = replace(tables[name], text=tables[name].text.replace(old, new))
            assert found or in_tables, old
        files = RouteFiles(routes=routes, tables=tables)
        return replace(shipped, files=files, routes=compiled(shipped.settings, files, ENV))

    def plan(self, proposed: Configured, *, registers: Registers = "before", last: int = 1000, sample: int = 1) -> Plan:
        database, shipped = self.house.database, self.house.configured
        if routesets.live(database.read()) is None:
            by = By(who="t", at="2026-03-09T08:00:00+00:00", reason="")
            database.write(
                lambda tx: routesets.add(tx, shipped.files, shipped.routes.version, by)
            ).result(10)
        with database.snapshot() as tx:
            stored = routesets.live(tx)
            assert stored is not None
            plan, live = short(tx, stored, proposed, "folder")
            assert live is not None
            pair = Pair(live=live, proposed=proposed.routes, renderers=proposed.renderers)
            found = shadow(
                tx,
                database.beside(BASELINE),
                proposed,
                pair,
                window(tx, last=last),
                registers=registers,
                sample=sample,
            )
            return replace(plan, rows=remade(tx, pair), shadow=found)


@pytest.fixture
def planner(configured: Configured, database: Database) -> Planner:
    """On both engines."""
    return Planner(House(configured, database))


Receive = Callable[[], None]


@pytest.fixture
def traffic(planner: Planner) -> Planner:
    """A patient, two orders, a new name, a report: received and routed."""
    house = planner.house
    for source, file in (
        ("pas", "adt_a04_registered.hl7"),
        ("orders", "orm_ct.hl7"),
        ("orders", "omi_mr_room.hl7"),
        ("pas", "adt_a08_new_name.hl7"),
        ("results", "oru_report.hl7"),
    ):
        house.receive(source, file)
    house.route()
    return planner
