"""Synthetic patients: numbers that are right and nobody's, the same for the same seed."""

from __future__ import annotations

from datetime import date
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from broker.simulate.people import People, tag

SEEDS = st.integers(0, 10**9)
WEIGHTS = ((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))


@given(SEEDS)
def test_a_national_number_is_synthetic_and_its_check_digits_are_right(seed: int) -> None:
    found = [person for _ in range(20) if (person := People(Random(seed), tag(seed)).new()).national]

    for person in found:
        digits = [int(digit) for digit in person.national]
        assert [sum(d * w for d, w in zip(digits, weights, strict=False)) % 11 for weights in WEIGHTS] == [
            0,
            0,
        ]
        assert 81 <= int(person.national[2:4]) <= 92
        date(1900, int(person.national[2:4]) - 80, min(28, int(person.national[:2])))


def test_each_number_is_given_once_and_the_same_for_the_same_seed() -> None:
    first, again = (People(Random(7), tag(7)) for _ in range(2))
    people = [first.new() for _ in range(3000)]
    numbers = [number for person in people for number in person.numbers]

    assert len(set(numbers)) == len(numbers)
    assert [again.new() for _ in range(3000)] == people
    assert any(not person.name.isascii() for person in people)


def test_somebody_unknown_has_the_hospital_s_number_only() -> None:
    person = People(Random(1), tag(1)).new(known=False)

    assert person.numbers == (person.number,)
    assert person.family == "Ukjent"
    assert (person.birth_date, person.street, person.phone) == ("", "", "")


def test_tags_of_other_seeds_differ() -> None:
    assert len({tag(seed) for seed in range(2000)}) == 2000
