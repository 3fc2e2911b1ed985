"""The judge: a clean run passes, and every planted wrong is found and named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.simulate.messages import Said, digest
from broker.simulate.records import (
    Arrival,
    ImageArrival,
    Lookup,
    Query,
    Records,
    Seen,
    Sending,
    Storing,
)
from broker.simulate.score import Score, judge, out_of_order
from broker.simulate.story import Exam, Row

TAG = "SIM"
EXAM = Exam(
    aet="CT1", accession="ASIM1", step="SIM1-1", study_uid="2.25.1", modality="CT",
    patient=("P1",), owners=("P1",), first=1, last=1,
)  # fmt: skip
ROW = Row(
    accession="ASIM1", step="SIM1-1", aets=("CT1", "CT2"), patient=("N1", "P1"), name="Berg^Åse", open=True
)


def sending(number: int, *patients: str, code: str = "AA", epj: tuple[str, ...] | None = None) -> Sending:
    """Sent at 10 x number, acknowledged one second later."""
    control_id = f"SIM{number}"
    said = Said(
        flow="pas", control_id=control_id, raw=control_id.encode(), patients=patients or ("P1",),
        epj=(f"control {control_id}",) if epj is None else epj,
    )  # fmt: skip
    return Sending(
        said=said, sent=10.0 * number, acked=10.0 * number + 1 if code else None, code=code, latency=0.01
    )


def arrival(number: int, at: float, *, clean: bool = True, raw: bytes = b"", key: str = "") -> Arrival:
    control_id = f"SIM{number}"
    return Arrival(
        control_id=control_id, key=key or f"control {control_id}", digest=digest(raw or control_id.encode()),
        at=at, clean=clean,
    )  # fmt: skip


def seen(aet: str) -> Seen:
    return Seen(aet=aet, accession="ASIM1", step="SIM1-1", patient_id="N1", name="Berg^Åse")


def clean() -> Records:
    return Records(
        sendings=[sending(1), sending(2), sending(3, "P2")],
        arrivals=[arrival(1, 12), arrival(3, 32), arrival(2, 33)],
        storings=[Storing(sop_instance_uid="2.25.9", owners=("P1",), taken=True)],
        images=[ImageArrival(sop_instance_uid="2.25.9", patient_id="P1")],
        queries=[Query(seconds=0.01)],
        lookups=[Lookup(exam=EXAM, seconds=0.1)],
        seen=[seen("CT1"), seen("CT2")],
        faults=["repeat"],
        memory=[(1.0, 2**20), (2.0, 3 * 2**20), (3.0, 2 * 2**20)],
    )


def judged(records: Records) -> Score:
    return judge(records, [ROW], TAG, ["repeat"])


def test_a_clean_run_passes() -> None:
    score = judged(clean())

    assert score.failures == ()
    assert score.as_json()["verdict"] == "pass"
    assert score.values["flows"]["pas"]["acknowledged"] == 3
    assert score.values["memory"]["highest"] == 3.0
    assert score.values["epj"]["due"] == score.values["epj"]["arrived"] == 3


def plant(records: Records, what: str) -> None:
    """One wrong in a clean run."""
    match what:
        case "lost":
            del records.arrivals[0]
        case "out of order":
            records.arrivals[0] = arrival(1, 40)
        case "repeats without a fault":
            records.arrivals.append(arrival(2, 50))
        case "repeats with other bytes":
            records.arrivals[2:] = [arrival(2, 33, clean=False), arrival(2, 50, raw=b"other")]
        case "changed on the way":
            records.arrivals[2] = arrival(2, 33, raw=b"other")
        case "never asked for":
            records.arrivals.append(arrival(99, 50))
        case "refused":
            records.sendings[0] = sending(1, code="AE")
        case "unanswered":
            records.sendings[0] = sending(1, code="")
        case "taken though wrong":
            records.sendings.append(replace(wrong(), code="AA"))
        case "refused otherwise":
            records.sendings.append(replace(wrong(), code="AR"))
        case "answers were not as they should be":
            records.sendings[0] = replace(records.sendings[0], complaint="another answer")
        case "missing":
            del records.seen[0]
        case "not to be seen":
            records.seen.append(replace(seen("CT1"), aet="MR1"))
        case "of another patient or name":
            records.seen[0] = replace(records.seen[0], name="Berg^Gammel")
        case "did not find their row":
            records.lookups.append(Lookup(exam=EXAM, seconds=None))
        case "queries failed":
            records.queries.append(Query(seconds=None))
        case "images: 1 lost":
            records.images.clear()
        case "under another patient":
            records.images[0] = replace(records.images[0], patient_id="P2")
        case "not stored":
            records.storings.append(Storing(sop_instance_uid="2.25.10", owners=("P1",), taken=False))
        case "the fault repeat did not happen":
            records.faults.clear()
        case "acts had begun":
            records.not_begun = 4
        case "score cannot be trusted":
            records.errors.append("pas: ValueError at x.py:1")
        case _:
            raise AssertionError(what)


def wrong() -> Sending:
    found = sending(50, epj=())
    return replace(found, said=replace(found.said, refused=True))


@pytest.mark.parametrize(
    "what",
    [
        *(
            "lost",
            "out of order",
            "repeats without a fault",
            "repeats with other bytes",
            "changed on the way",
        ),
        *("never asked for", "refused", "unanswered", "taken though wrong", "refused otherwise"),
        *("answers were not as they should be", "missing", "not to be seen", "of another patient or name"),
        *(
            "did not find their row",
            "queries failed",
            "images: 1 lost",
            "under another patient",
            "not stored",
        ),
        *("acts had begun", "the fault repeat did not happen", "score cannot be trusted"),
    ],
)
def test_a_planted_wrong_is_found(what: str) -> None:
    records = clean()
    plant(records, what)

    assert any(what in failure for failure in judged(records).failures), judged(records).failures


def test_a_repeat_after_a_fault_is_allowed_and_counted() -> None:
    records = clean()
    records.arrivals[2:] = [arrival(2, 33, clean=False), arrival(2, 34, clean=False), arrival(2, 36)]
    score = judged(records)

    assert score.failures == ()
    assert score.values["epj"]["repeats_after_a_fault"] == 2


def test_a_repeat_counts_for_the_order_until_its_last() -> None:
    records = clean()
    records.arrivals[0:1] = [arrival(1, 12, clean=False), arrival(1, 34)]

    assert judged(records).values["epj"]["control_ids"] == {"out_of_order": ["SIM2"]}


def test_what_a_fault_meant_to_be_refused_is_no_failure() -> None:
    records = clean()
    records.sendings.append(replace(wrong(), code="AE"))

    assert judged(records).failures == ()
    assert judged(records).values["flows"]["pas"]["refused_as_they_should_be"] == 1


def test_messages_of_others_are_not_judged() -> None:
    records = clean()
    records.arrivals.append(Arrival(control_id="X1", key="control X1", digest="", at=1.0, clean=True))

    assert judged(records).failures == ()


def test_the_same_status_told_twice_is_due_twice() -> None:
    key = "status PSIM1 SIM1-1 CM 20260310"
    records = clean()
    records.sendings += [sending(4, epj=(key,)), sending(5, epj=(key,))]
    records.arrivals += [arrival(1001, 45, key=key), arrival(1002, 55, key=key)]
    assert judged(records).failures == ()

    del records.arrivals[-1]
    assert judged(records).values["epj"]["control_ids"] == {"lost": ["SIM5"]}


def test_a_merge_stands_behind_both_patients_and_before_what_follows() -> None:
    merge = sending(3, "P1", "P2")
    first, second, after = sending(1, "P1"), sending(2, "P2"), sending(4, "P1")

    assert out_of_order([(first, 40, 40), (second, 20, 20), (merge, 31, 31), (after, 50, 50)]) == ["SIM3"]
    assert out_of_order([(first, 11, 11), (second, 40, 40), (merge, 31, 31), (after, 50, 50)]) == ["SIM3"]
    assert out_of_order([(first, 11, 11), (second, 20, 20), (merge, 51, 51), (after, 50, 50)]) == ["SIM4"]
    assert out_of_order([(first, 22, 22), (second, 20, 20), (merge, 31, 31), (after, 50, 50)]) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 5), st.integers(0, 40), st.integers(0, 5), st.sets(
            st.sampled_from(["P1", "P2", "P3"]), min_size=1)),
        max_size=12,
    )
)  # fmt: skip
def test_order_is_judged_as_by_comparing_every_pair(drawn: list[tuple[int, int, int, int, set[str]]]) -> None:
    spans = []
    for number, (sent, wait, first, repeat, patients) in enumerate(drawn):
        one = replace(sending(number, *sorted(patients)), sent=float(sent), acked=float(sent + wait))
        spans.append((one, float(first), float(first + repeat)))
    expected = {
        later.said.control_id
        for later, first, _ in spans
        for earlier, _, last in spans
        if earlier.acked is not None
        and earlier.acked < later.sent
        and last > first
        and set(earlier.said.patients) & set(later.said.patients)
    }

    assert set(out_of_order(spans)) == expected
