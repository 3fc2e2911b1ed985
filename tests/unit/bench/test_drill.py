"""A drill that cannot find what is wrong proves nothing: each fault that it promises to find is made here."""

from __future__ import annotations

import itertools

import pytest

from tests.bench.drill import Report, Senders, faults
from tests.bench.epj import Epj
from tests.support.mllp import field

SENT = {"a": [b"a0", b"a1", b"a2"], "b": [b"b0", b"b1"]}


def took(*control_ids: bytes) -> Epj:
    """An EPJ that was sent these, in this order; never started."""
    epj = Epj(refuses=b"BAD")
    for control_id in control_ids:
        epj._note(b"MSH|^~\\&|PAS||||||ADT^A08|" + control_id + b"\rPV1|1|I|OYE\r")
    return epj


def test_patients_may_come_in_any_order_among_each_other() -> None:
    assert faults(SENT, took(b"b0", b"a0", b"a1", b"b1", b"a2")) == []


@pytest.mark.parametrize(
    ("came", "told"),
    [
        ((b"a0", b"a1", b"b0", b"b1"), ["1 messages acknowledged and lost"]),
        ((b"a0", b"a2", b"a1", b"b0", b"b1"), ["1 patients out of order"]),
        ((b"a0", b"a1", b"a0", b"a2", b"b0", b"b1"), ["1 messages repeated"]),
    ],
)
def test_what_is_wrong_is_told(came: tuple[bytes, ...], told: list[str]) -> None:
    assert faults(SENT, took(*came)) == told


def test_what_the_epj_refused_did_not_come() -> None:
    epj = took()

    assert epj._note(b"MSH|^~\\&|PAS||||||ADT^A08|a0\rPV1|1|I|BAD^1\r") == "AE"
    assert (dict(epj.came), epj.refused) == ({}, {b"a0": 1})


def test_the_same_seed_sends_the_same_and_no_patient_twice_at_once() -> None:
    one, two = (list(itertools.islice(Senders(7).messages(), 500)) for _ in range(2))

    patients = [field(message, b"PID", 3) for message in one]
    assert one == two
    assert all(len({*patients[at : at + 8]}) == 8 for at in range(len(patients) - 8))


def test_a_broken_promise_stands_under_the_table() -> None:
    report = Report(title="a drill", seed=1, lines=[{"": "before", "ACK/s": 5}, {"": "after", "RSS MB": 70}])
    assert report.text().endswith("every promise was kept")

    report.broken.append("1 messages acknowledged and lost")
    assert report.text().endswith("BROKEN: 1 messages acknowledged and lost")
