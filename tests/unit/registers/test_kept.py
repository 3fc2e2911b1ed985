"""Rows in memory, by the number of their wording."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.registers.kept import Kept, Wording, number

BODY = '{"PatientID":"700123","ScheduledProcedureStepSequence":[{"ScheduledStationAETitle":["CT1","CT2"]}]}'
TEXT = st.text("ab", max_size=3)


def wording(key: str, body: str = BODY) -> Wording:
    return Wording.read(number("worklist", key, body, ""), "worklist", key, body, "")


@given(st.sets(st.tuples(TEXT, TEXT, TEXT, TEXT), max_size=6))
def test_other_words_have_another_number(rows: set[tuple[str, str, str, str]]) -> None:
    numbers = {number(*row) for row in rows}

    assert len(numbers) == len(rows)
    assert all(0 <= one < 1 << 63 for one in numbers)


def test_a_row_is_decoded_as_attributes_are() -> None:
    (item,) = wording("S1").attributes["ScheduledProcedureStepSequence"]

    assert item["ScheduledStationAETitle"] == ("CT1", "CT2")


def test_the_row_that_was_not_looked_at_longest_goes() -> None:
    kept, rows = Kept(most=2), [wording(f"S{n}") for n in range(3)]
    kept.add(rows[:2])
    assert set(kept.get([rows[0].number])) == {rows[0].number}
    kept.add(rows[2:])

    assert set(kept.get([row.number for row in rows])) == {rows[0].number, rows[2].number}


def test_a_row_under_a_number_that_is_not_its_own_is_not_kept() -> None:
    """Of a broker that counted its rows: such a number may come to mean another row."""
    kept, counted = Kept(), Wording.read(7, "worklist", "S1", BODY, "")
    kept.add([counted])

    assert (counted.number, counted.attributes["PatientID"]) == (0, "700123")
    assert kept.get([0, 7]) == {}
