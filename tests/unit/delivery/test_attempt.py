from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from broker.adapter import Delivery, Receipt, Rendered, Target
from broker.delivery import attempt, ledger, stored
from broker.delivery.attempt import Ending, ExpiredError
from broker.delivery.breaker import TRIP, Breaker
from broker.delivery.stored import Open
from broker.errors import (
    AskPersonError,
    BrokerError,
    PermanentDeliveryError,
    RecipientError,
    TransientDeliveryError,
    UnreachableError,
)
from broker.journal.intake import append
from broker.store.transaction import Transaction
from tests.support.delivering import OnFailure
from tests.support.events import cause, event, reception

NOW = datetime(2026, 3, 9, 9, tzinfo=UTC)


WANTED = OnFailure(park_after=3600.0, alert="epj-desk")


class Outbound:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.sent = 0

    def deliver(self, delivery: Delivery) -> Receipt:
        self.sent += 1
        if self.error is not None:
            raise self.error
        return Receipt(detail="ok")

    def close(self) -> None: ...


def opened(
    number: int = 1,
    *,
    tries: int = 1,
    refusals: int = 0,
    created: datetime = NOW,
    by_hand: bool = False,
    failing_since: datetime | None = None,
) -> Open:
    return Open(
        delivery=Delivery(
            id=number, destination="epj", lane="P1", route="adt", attempt=tries, payload=b"41819077906"
        ),
        day="2026-03-09",
        created=created,
        by_hand=by_hand,
        refusals=refusals,
        failing_since=failing_since,
    )


def failed(one: Open, error: BrokerError, *, pauses: int = 0, jitter: float = 0.0) -> Ending:
    return attempt.failed(one, error, WANTED, pauses=pauses, at=NOW, jitter=jitter)


# --- sending ---


def test_whatever_goes_wrong_is_returned() -> None:
    refused = PermanentDeliveryError("MSA-1 AE")
    with capture_logs() as logs:
        surprise = attempt.send(Outbound(ValueError("41819077906")), opened(), WANTED, lambda: NOW)

    assert attempt.send(Outbound(), opened(), WANTED, lambda: NOW) == Receipt(detail="ok")
    assert attempt.send(Outbound(refused), opened(), WANTED, lambda: NOW) is refused
    assert isinstance(surprise, TransientDeliveryError)
    assert str(surprise) == "unexpected ValueError; see the log"
    assert [line["event"] for line in logs] == ["delivery failed unexpectedly"]


@pytest.mark.parametrize(
    ("age", "by_hand", "sent"), [(60.0, False, 1), (60.1, False, 0), (1e6, True, 1)], ids=str
)
def test_what_is_too_old_is_not_sent_unless_a_person_wants_it(age: float, by_hand: bool, sent: int) -> None:
    outbound, one = Outbound(), opened(created=NOW - timedelta(seconds=age), by_hand=by_hand)
    result = attempt.send(outbound, one, replace(WANTED, max_age=60.0), lambda: NOW)

    assert outbound.sent == sent
    assert isinstance(result, Receipt if sent else ExpiredError)


# --- what follows ---


def test_what_is_taken_is_delivered() -> None:
    receipt = Receipt(detail="MSA-1 AA")

    assert attempt.taken(receipt, NOW) == Ending(
        outcome="delivered", state="delivered", detail="MSA-1 AA", at=NOW, receipt=receipt
    )


def test_what_is_too_old_or_asks_for_a_person_is_parked() -> None:
    assert failed(opened(), ExpiredError("old")).outcome == attempt.EXPIRED
    for error in (ExpiredError("old"), AskPersonError("who")):
        assert failed(opened(), error).state == "parked"
    assert failed(opened(), AskPersonError("who")).outcome == "ask"


def test_a_delivery_waits_by_its_own_attempts_or_by_its_destinations_pauses() -> None:
    def wait(error: BrokerError, tries: int, pauses: int, jitter: float = 0.0) -> float:
        return failed(opened(tries=tries), error, pauses=pauses, jitter=jitter).due - NOW.timestamp()

    failure, unreachable = TransientDeliveryError("CE"), UnreachableError("no")
    assert wait(failure, tries=3, pauses=0) == 240
    assert wait(failure, tries=1, pauses=2) == 120
    assert wait(unreachable, tries=9, pauses=1) == 60, "it is no fault of the delivery"
    assert wait(UnreachableError("busy", wait=200.0), tries=1, pauses=1) == 200, (
        "the destination asked for it"
    )
    assert wait(failure, tries=1, pauses=0, jitter=0.5) == 54


def test_refusals_are_counted_until_it_is_parked_unless_the_destination_is_ill() -> None:
    refused = PermanentDeliveryError("MSA-1 AE")
    first = failed(opened(), refused)

    assert (first.state, first.refusals, first.detail) == ("queued", 1, "MSA-1 AE")
    assert failed(opened(refusals=2), refused).state == "parked"
    ill = failed(opened(refusals=2), refused, pauses=1)
    assert (ill.state, ill.refusals) == ("queued", 2)


def test_what_fails_for_too_long_is_parked() -> None:
    failure = TransientDeliveryError("CE")

    assert failed(opened(failing_since=NOW - timedelta(seconds=3599)), failure).state == "queued"
    assert failed(opened(failing_since=NOW - timedelta(seconds=3600)), failure).state == "parked"


def test_blame_falls_on_the_destination_as_the_failure_says() -> None:
    breaker = Breaker()
    assert attempt.blame(breaker, opened(), AskPersonError("who")) is False
    for number in range(TRIP - 1):
        assert attempt.blame(breaker, opened(number), PermanentDeliveryError("no")) is False
    assert attempt.blame(breaker, opened(99), PermanentDeliveryError("no")) is True
    assert attempt.blame(Breaker(), opened(), UnreachableError("no")) is True
    suspect = Breaker()
    told = [attempt.blame(suspect, opened(n), TransientDeliveryError("CE")) for n in range(TRIP)]
    assert told == [False] * (TRIP - 1) + [True]
    well = Breaker()
    assert not any(attempt.blame(well, opened(n), RecipientError("CT1 is away")) for n in range(2 * TRIP))
    assert well.state == "closed"


def test_a_probe_that_asks_for_a_person_is_under_way_no_more() -> None:
    breaker = Breaker()
    attempt.blame(breaker, opened(1), UnreachableError("no"))
    breaker.sending(2)
    attempt.blame(breaker, opened(2), AskPersonError("who"))

    assert (breaker.state, breaker.may_send(1e9)) == ("open", True)


# --- written and told ---


@pytest.mark.parametrize("state", ["delivered", "queued", "parked"])
def test_an_ending_is_written_once_and_only_by_whose_it_is(tx: Transaction, state: str) -> None:
    append(tx, reception(1, event("patient.registered")))
    target = Target(route="adt", version="v1", place="r.yaml:1", kind="hl7", destination="epj")
    number = ledger.enqueue(tx, cause(), "P1", target, Rendered(payload=b"x")).id
    late = stored.load(tx, number)
    tx.execute("UPDATE delivery SET claim=7")
    mine = stored.load(tx, number)
    assert late is not None
    assert mine is not None
    ending = {
        "delivered": attempt.taken(Receipt(detail="ok"), NOW),
        "queued": failed(mine, TransientDeliveryError("CE")),
        "parked": failed(mine, AskPersonError("who")),
    }[state]

    assert [ending.write(tx, one) for one in (late, mine, mine)] == [False, True, False]
    assert tx.rows("SELECT state, attempt, detail, due, claim FROM delivery") == [
        (state, 1, ending.detail, ending.due, None)
    ]
    assert len(stored.attempts(tx, number)) == (state != "delivered")


def test_the_first_failure_is_news_and_no_line_tells_a_patient() -> None:
    def said(one: Open, error: BrokerError) -> list[str]:
        with capture_logs() as logs:
            attempt.tell(failed(one, error), one, WANTED)
        assert all(line["alert"] == "epj-desk" for line in logs)
        assert "41819077906" not in str(logs)
        return [line["log_level"] for line in logs]

    assert said(opened(), TransientDeliveryError("CE")) == ["warning"]
    assert said(opened(tries=2), TransientDeliveryError("CE")) == ["debug"]
    assert said(opened(), UnreachableError("no")) == ["debug"]
    assert said(opened(tries=4), AskPersonError("who")) == ["error"]
    with capture_logs() as logs:
        attempt.tell(attempt.taken(Receipt(detail="ok"), NOW), opened(), WANTED)
        attempt.tell_paused("epj", "no connection", WANTED)
    assert [line["event"] for line in logs] == ["the destination is paused"]
