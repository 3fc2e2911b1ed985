from __future__ import annotations

from typing import Any

import pytest

from broker.delivery import ledger
from broker.why.delivery import NEXT, why
from broker.why.desk import WhyError, desk
from tests.support.messages import Person, adt, orm
from tests.unit.runtime.conftest import House

ANNA = Person(number="700123", family="Sørby", given="Áile")


def told(house: House, destination: str, **state: str) -> dict[str, Any]:
    """The delivery to a destination, in the state that is given."""
    tx = house.database.read()
    (number,) = tx.one(
        "SELECT id FROM delivery WHERE destination=? ORDER BY id DESC LIMIT 1", (destination,)
    ) or (0,)
    if state:
        sql = "UPDATE delivery SET state=? WHERE id=?"
        house.database.write(lambda to: to.execute(sql, (state["state"], number))).result(10)
    with desk(house.database, house.configured, "", lambda _done: None) as it:
        return why(it, int(number))


def test_a_row_with_its_message_route_and_mapping(house: House) -> None:
    house.receive("orders", orm("O1", ANNA, "101"))
    house.route()
    found = told(house, "worklist")

    assert found["verdict"] == "delivered"
    assert (found["message"]["control_id"], found["event"]["type"]) == ("O1", "step.scheduled")
    assert "routes/steps-to-worklist.yaml:" in found["delivery"]["place"]
    assert found["same_routes"] is True
    (line,) = found["mapping"]
    assert line["name"] == "ScheduledStationAETitle"
    assert line["origins"] == (
        "config/stations.csv:23 for 'modality:CT'",
        "step.station_codes ← OBR-24 of ORM^O01 O1",
    )
    assert "700123" not in str(found)
    assert "Sørby" not in str(found)


@pytest.mark.parametrize("state", NEXT)
def test_every_state_has_what_to_do_next(house: House, state: ledger.State) -> None:
    house.receive("pas", adt("A04", "P1", ANNA))
    house.route()
    found = told(house, "epj", state=state)

    assert found["verdict"] == state
    assert "{" not in found["next"][0]


def test_a_number_that_is_nobodys(house: House) -> None:
    with (
        desk(house.database, house.configured, "", lambda _done: None) as it,
        pytest.raises(WhyError, match="no delivery 99"),
    ):
        why(it, 99)
