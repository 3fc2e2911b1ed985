"""What the tests of `broker plan` share: the house of the runtime tests, its routes live, and another set beside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from broker.delivery.parked import By
from broker.journal import log
from broker.journal.window import window
from broker.plan.outputs import Pair
from broker.plan.proposal import Plan, short
from broker.plan.rows import remade
from broker.plan.shadow import Registers, shadow
from broker.routing.files import RouteFiles
from broker.runtime import routesets
from broker.runtime.configured import Configured, compiled, configure
from broker.runtime.rebuild import BASELINE
from broker.runtime.routesets import Stored
from broker.settings import load
from broker.store import days
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

    def edited(self, *edits: tuple[str, str, str], without: str = "") -> Configured:
        """The shipped set with (file, text, other text) replaced, or without a route file."""
        shipped = self.house.configured
        routes = {
            name: text for name, text in shipped.files.routes.items() if not without or without not in name
        }
        tables = dict(shipped.files.tables)
        for file, old, new in edits:
            if file in tables:
                assert old in tables[file].text
                tables[file] = replace(tables[file], text=tables[file].text.replace(old, new))
            else:
                (name,) = (name for name in routes if name.endswith(f"/{file}.yaml"))
                assert old in routes[name]
                routes[name] = routes[name].replace(old, new)
        files = RouteFiles(routes=routes, tables=tables)
        return replace(shipped, files=files, routes=compiled(shipped.settings, files, ENV))

    def tokens(self) -> Iterator[str]:
        """What the received messages say of who somebody is: every word of five characters or more."""
        tx = self.house.database.read()
        for seq, day in tx.rows("SELECT seq, day FROM message"):
            for line in (log.body(tx, seq, day) or b"").decode().splitlines():
                if line[:3] in ("PID", "NK1", "MRG"):
                    # Issuers and codes of identifiers name no one.
                    words = re.split(r"[|^~\s]", line)
                    yield from (
                        word for word in words if len(word) > 4 and "&" not in word and word != "NNNOR"
                    )

    def forget_bodies(self) -> None:
        """As retention does."""
        database = self.house.database
        for (day,) in database.read().rows("SELECT DISTINCT day FROM message"):
            table = days.table("message_body", day)
            database.write(lambda tx, table=table: tx.execute(f"DELETE FROM {table}")).result(10)  # type: ignore[misc]

    def _stored(self) -> Stored:
        database, shipped = self.house.database, self.house.configured
        if routesets.live(database.read()) is None:
            by = By(who="t", at="2026-03-09T08:00:00+00:00", reason="")
            database.write(lambda tx: routesets.add(tx, shipped.files, shipped.routes.version, by)).result(10)
        stored = routesets.live(database.read())
        assert stored is not None
        return stored

    def short(self, proposed: Configured, *, lost: str) -> Plan:
        """The plan where the settings have lost a destination that the live routes name."""
        stored, settings = self._stored(), proposed.settings
        fewer = replace(settings, outbound=tuple(s for s in settings.outbound if s.name != lost))
        return short(self.house.database.read(), stored, replace(proposed, settings=fewer), "folder")[0]

    def plan(
        self, proposed: Configured, *, registers: Registers = "before", last: int = 1000, sample: int = 1
    ) -> Plan:
        database, stored = self.house.database, self._stored()
        with database.snapshot() as tx:
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
