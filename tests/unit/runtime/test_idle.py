"""What time alone brings about: rows that nobody came to, MPPS that never end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.registers import performed, steps, worklist
from broker.runtime import rebuild
from broker.runtime.configured import Configured
from broker.runtime.idle import Idle, Limits, idle, limits_of
from broker.runtime.offline import instance
from broker.settings import StepsSettings
from broker.store.lease import LostLeaseError
from broker.store.transaction import Transaction
from tests.support.mpps import MPPS, begun, ended, scheduled
from tests.support.ward import HOUR, Ward, image
from tests.unit.runtime.conftest import House

WEEK = {"worklist": timedelta(days=7)}
LATER = datetime(2026, 3, 20, tzinfo=UTC)
"""The step of the shipped order was to start on 10 March."""


def clockwork(house: House, now: datetime = LATER, *, idle: dict[str, timedelta] | None = None) -> Idle:
    limits = Limits(idle=WEEK if idle is None else idle, overdue=timedelta(hours=24))
    return Idle(house.database, limits, lambda: now)


def status(house: House) -> str:
    ((key, state),) = house.database.read().rows("SELECT key, status FROM step")
    held = steps.get(house.database.read(), key)
    assert held is not None
    assert held.step.status == state
    return str(state)


def test_a_row_that_nobody_came_to_expires_and_an_order_restores_it(house: House) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.route()
    assert clockwork(house).run() == (1, 0)
    house.route()

    assert status(house) == "EXPIRED"
    reader = worklist.Reader(house.database.read)
    assert list(reader.candidates()) == []
    assert [row.status for row in reader.listed(everything=True)] == ["EXPIRED"]
    assert clockwork(house).run() == (0, 0), "once"
    house.receive("orders", "orm_ct_rescheduled.hl7")
    house.route()
    assert status(house) == "SCHEDULED"
    assert [row.status for row in reader.candidates()] == ["SCHEDULED"]


def test_the_expiry_is_in_the_log_and_a_rebuild_keeps_it(house: House, configured: Configured) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.route()
    clockwork(house).run()
    house.route()

    tx = house.database.read()
    assert tx.one("SELECT source, protocol, type FROM message ORDER BY seq DESC LIMIT 1") == (
        "clock",
        "operator",
        "EXPIRE",
    )
    baseline = house.database.beside(rebuild.BASELINE)
    baseline.open()
    with rebuild.rebuilt(tx, baseline, configured, lambda _: None) as again:
        assert rebuild.compare(tx, again, configured.routes.version) == []
    baseline.close()


@pytest.mark.parametrize(
    ("now", "limits"),
    [
        (datetime(2026, 3, 17, 20, tzinfo=UTC), WEEK),
        (LATER, {}),
        (LATER, {"another": timedelta(0)}),
    ],
)
def test_what_is_not_idle_stays(house: House, now: datetime, limits: dict[str, timedelta]) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.route()

    assert clockwork(house, now, idle=limits).run() == (0, 0)


def test_a_step_on_two_lists_waits_for_both(house: House) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.route()
    house.database.write(
        lambda tx: tx.execute(
            "INSERT INTO worklist SELECT 'other', key, id + 1, patient_id, start_date, attributes, route, version,"
            " event, changed, held FROM worklist"
        )
    ).result()
    tx = house.database.read()

    assert idle(tx, WEEK, LATER) == []
    assert len(idle(tx, {**WEEK, "other": timedelta(days=8)}, LATER)) == 1


def test_an_order_that_came_meanwhile_wins(house: House) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.route()
    house.receive("orders", "orm_ct_rescheduled.hl7")
    assert clockwork(house).run() == (1, 0), "it is not routed yet, so the row still looks idle"
    house.route()

    assert status(house) == "SCHEDULED"
    assert house.reported() == []


def test_an_mpps_that_never_ends_is_told_until_it_does(house: House) -> None:
    head = {"SOPClassUID": MPPS, "SOPInstanceUID": "2.25.1"}
    house.receive("performed", instance(head | begun(scheduled("2.25.7"))))
    house.route()

    assert clockwork(house, datetime(2026, 3, 9, 20, tzinfo=UTC)).run() == (0, 0)
    assert clockwork(house).run() == (0, 1)
    assert clockwork(house).run() == (0, 0), "once"
    assert "mpps-overdue" in house.reported()
    house.receive("performed", instance(head | ended()))
    house.route()
    assert "mpps-overdue" not in house.reported()


def test_an_mpps_that_ends_while_it_is_found_overdue_is_not_reported(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end closes the entry, and came before it: nobody could close it any more."""
    head = {"SOPClassUID": MPPS, "SOPInstanceUID": "2.25.1"}
    house.receive("performed", instance(head | begun()))
    house.route()
    overdue = performed.overdue

    def ends(tx: Transaction, before: str) -> list[str]:
        found = overdue(tx, before)
        monkeypatch.undo()
        house.receive("performed", instance(head | ended()))
        house.route()
        return found

    monkeypatch.setattr(performed, "overdue", ends)
    assert clockwork(house, idle={}).run() == (0, 0)
    assert "mpps-overdue" not in house.reported()


def test_an_mpps_that_never_ends_may_have_ended_where_its_images_are_here(ward: Ward) -> None:
    ward.house.receive("orders", "orm_ct.hl7")
    ward.house.route()
    ((study,),) = ward.rows("SELECT study_uid FROM step")
    ward.mpps(begun(scheduled(study)))
    ward.house.receive("images", image(1, study))
    ward.house.route()
    idle = Idle(ward.house.database, Limits(idle={}, overdue=timedelta(hours=24)), lambda: ward.now)
    assert ward.round(2 * HOUR) == ["study.completed"]
    ward.now += 24 * HOUR
    assert idle.run() == (0, 1)
    (told,) = ward.told("mpps-overdue")
    assert told.endswith("it may well have ended without saying so")
    assert status(ward.house) == "STARTED", "nothing is completed by guess"


def test_a_node_that_was_stalled_and_leads_no_more_expires_nothing(house: House) -> None:
    def lost(_tx: object) -> None:
        raise LostLeaseError("leader: another node has it")

    def stalled(now: datetime, idle: dict[str, timedelta]) -> None:
        limits = Limits(idle=idle, overdue=timedelta(hours=24))
        with pytest.raises(LostLeaseError):
            Idle(house.database, limits, lambda: now, fence=lost).run()

    house.receive("orders", "orm_ct.hl7")
    house.receive("performed", instance({"SOPClassUID": MPPS, "SOPInstanceUID": "2.25.1"} | begun()))
    house.route()
    stalled(LATER, WEEK)
    stalled(LATER, {})
    assert "mpps-overdue" not in house.reported()
    assert clockwork(house).run() == (1, 1)


def test_the_settings_say_how_long() -> None:
    found = limits_of(StepsSettings.model_validate({"idle": {"worklist": "7d"}, "mpps_overdue": "12h"}))

    assert found == Limits(idle=WEEK, overdue=timedelta(hours=12))
    assert limits_of(StepsSettings()) == Limits(idle={}, overdue=timedelta(hours=24))
