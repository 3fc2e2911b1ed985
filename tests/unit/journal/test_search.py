from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.journal.intake import append
from broker.journal.search import find
from broker.store import days
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from tests.support.events import START, reception


@pytest.fixture
def tx() -> Transaction:
    """Six messages over three days; 1, 3 and 5 are about the patient 700123."""
    tx = in_memory()
    for number in range(1, 7):
        patient = "700123" if number % 2 else "700456"
        append(
            tx,
            replace(
                reception(number),
                received=START + timedelta(hours=12 * (number - 1)),
                message_type="ADT^A04" if number < 5 else "ORU^R01",
                keys=(
                    ("patient", patient),
                    ("order", f"F{number}"),
                    ("accession", f"A{number}"),
                    ("study", f"2.25.{number}"),
                    ("instance", f"2.25.{number}.1"),
                ),
            ),
        )
    return tx


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("M00002", [2]),
        ("C00002", [2]),
        ("700123", [1, 3, 5]),
        ("F3", [3]),
        ("A4", [4]),
        ("2.25.5", [5]),
        ("2.25.5.1", [5]),
        ("f3", []),
        ("F", []),
        ("%", []),
        ("F3' OR 1 --", []),
    ],
)
def test_a_message_is_found_by_its_id_and_by_every_key(
    tx: Transaction, text: str, messages: list[int]
) -> None:
    assert find(tx, text=text) == messages


@pytest.mark.parametrize(
    ("kind", "text"),
    [("patient", "700123"), ("order", "F1"), ("accession", "A1"), ("study", "2.25.1"), ("control", "C00001")],
)
def test_a_key_is_of_one_kind(tx: Transaction, kind: str, text: str) -> None:
    kinds = ("patient", "order", "accession", "study", "instance", "control")

    assert [k for k in kinds if find(tx, text=text, kind=k)] == [kind]
    assert find(tx, text="M00001", kind=kind) == [], "a message's own id is no key"


def test_a_message_that_is_found_twice_is_listed_once(tx: Transaction) -> None:
    append(tx, replace(reception(7), control_id="F7", keys=(("order", "F7"), ("accession", "F7"))))

    assert find(tx, text="F7") == [7]


@pytest.mark.parametrize(
    ("asked", "messages"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"type": "ORU^R01"}, [5, 6]),
        ({"type": "ORU"}, []),
        ({"since": "2026-03-10"}, [3, 4, 5, 6]),
        ({"since": "2026-03-09T20"}, [2, 3, 4, 5, 6]),
        ({"since": "2026-03"}, [1, 2, 3, 4, 5, 6]),
        ({"until": "2026-03-10"}, [1, 2]),
        ({"until": "2026-03-09T20:00:00+00:00"}, [1]),
        ({"since": "2026-03-10", "until": "2026-03-11"}, [3, 4]),
        ({"since": "2026-03-12"}, []),
        ({"type": "ADT^A04", "since": "2026-03-10"}, [3, 4]),
    ],
    ids=str,
)
def test_type_and_time_narrow_it_down(tx: Transaction, asked: dict[str, Any], messages: list[int]) -> None:
    assert find(tx, **asked) == messages
    odd = [number for number in messages if number % 2]
    assert find(tx, text="700123", **asked) == odd, "with a key as well as without"
    assert find(tx, text="M00003", **asked) == [3] * (3 in messages), "and with a message's own id"


def test_the_newest_are_found_and_the_oldest_of_them_comes_first(tx: Transaction) -> None:
    assert find(tx, limit=2) == [5, 6]
    assert find(tx, text="700123", limit=2) == [3, 5], "over several days"
    assert find(tx, text="700123", limit=1) == [5]
    assert find(tx, type="ADT^A04", limit=1) == [4]
    assert find(tx, until="2026-03-10", limit=1) == [2]


def test_a_day_whose_tables_are_gone_is_passed_over(tx: Transaction) -> None:
    days.drop_bodies(tx, "2026-03-10")
    assert find(tx, text="700123") == [1, 3, 5], "its keys still stand"
    days.leave(tx, "2026-03-10")

    assert find(tx, text="700123") == [1, 5]
