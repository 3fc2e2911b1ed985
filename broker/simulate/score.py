"""What was sent, what arrived, and the verdict. Pure: records in, score out; no clock, no socket.

Order is judged by what is certain: a message that was acknowledged before another of the same patient was first sent
stands before it in the broker's journal, so it must be at the EPJ before it, whatever listener either came to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.simulate.messages import digest
from broker.simulate.records import Arrival, ImageArrival, Records, Seen, Sending, Storing
from broker.simulate.story import Row

FLOWS: Final = ("pas", "orders", "results")
POSITIVE: Final = ("AA", "CA")
SHOWN: Final = 20
"""How many control ids or UIDs of one kind are listed; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The result. `failures` is empty exactly when all is well."""

    values: Mapping[str, Any]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """The verdict."""
        return not self.failures

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {"verdict": "pass" if self.passed else "fail", "failures": list(self.failures), **self.values}


def judge(records: Records, rows: Iterable[Row], tag: str, faults: Sequence[str] = ()) -> Score:
    """The score of a run whose numbers carry this tag, and that was asked for these faults."""
    epj = judge_epj(records.sendings, records.arrivals, tag)
    images = judge_images(records.storings, records.images)
    worklist = judge_worklist(rows, records.seen, tag)
    lookups = [lookup.seconds for lookup in records.lookups]
    queries = [query.seconds for query in records.queries]
    worklist["examinations"] = {"rows": _latency(lookups), "not_seen": lookups.count(None)}
    worklist["queries"] = {**_latency(queries), "failed": queries.count(None)}
    values: dict[str, Any] = {
        "seconds": round(records.seconds, 1),
        "flows": {name: flow([s for s in records.sendings if s.said.flow == name]) for name in FLOWS},
        "epj": epj,
        "worklist": worklist,
        "images": images,
        "lag": {"p50": _percentile(records.lags, 0.5), "max": round(max(records.lags, default=0.0), 2)},
        "faults": {name: records.faults.count(name) for name in faults},
        "not_ready": records.not_ready,
        "not_begun": records.not_begun,
        "errors": records.errors[:SHOWN],
    }
    if records.memory:
        values["memory"] = _memory(records.memory)
    return Score(values=values, failures=tuple(_failures(values)))


def judge_epj(sendings: Sequence[Sending], arrivals: Sequence[Arrival], tag: str) -> dict[str, Any]:
    """What the EPJ was due against what it got: lost, out of order, repeated, changed, unasked-for."""
    ours = [arrival for arrival in arrivals if tag in arrival.key or tag in arrival.control_id]
    by_id: dict[tuple[str, str], list[Arrival]] = {}
    for arrival in ours:
        by_id.setdefault((arrival.key, arrival.control_id), []).append(arrival)
    waiting: dict[str, list[list[Arrival]]] = defaultdict(list)
    for (key, _), same in by_id.items():
        waiting[key].append(same)
    lost, altered = list[str](), list[str]()
    spans: list[tuple[Sending, float, float]] = []
    due = found = 0
    for sending in sorted(sendings, key=lambda s: s.sent):
        for key in sending.said.epj:
            acked = sending.code in POSITIVE
            due += acked
            if not waiting[key]:
                if acked:
                    lost.append(sending.said.control_id)
                continue
            same = waiting[key].pop(0)
            found += 1
            spans.append((sending, same[0].at, same[-1].at))
            if key.startswith("control") and any(a.digest != digest(sending.said.raw) for a in same):
                altered.append(sending.said.control_id)
    unasked = [same[0].control_id for rest in waiting.values() for same in rest]
    changed = [same[0].control_id for same in by_id.values() if len({a.digest for a in same}) > 1]
    again = [same[0].control_id for same in by_id.values() if any(a.clean for a in same[:-1])]
    return {
        "due": due,
        "arrived": found,
        "receptions": len(ours),
        "lost": len(lost),
        "out_of_order": len(late := out_of_order(spans)),
        "repeats_after_a_fault": len(ours) - len(by_id) - sum(a.clean for s in by_id.values() for a in s[:-1]),
        "repeats_without_a_fault": len(again),
        "repeats_with_other_bytes": len(changed),
        "changed_on_the_way": len(altered),
        "never_asked_for": len(unasked),
        "control_ids": {
            name: ids[:SHOWN]
            for name, ids in (
                ("lost", lost), ("out_of_order", late), ("repeats_without_a_fault", again),
                ("repeats_with_other_bytes", changed), ("changed_on_the_way", altered), ("never_asked_for", unasked),
            )
            if ids
        },
    }  # fmt: skip


def out_of_order(spans: Iterable[tuple[Sending, float, float]]) -> list[str]:
    """Control ids of what came to the EPJ before the last of something that was acknowledged before it was sent.

    Each span: a message, and when it came for the first and for the last time.
    """
    by_patient: dict[str, list[tuple[Sending, float, float]]] = defaultdict(list)
    for span in spans:
        for patient in span[0].said.patients:
            by_patient[patient].append(span)
    late: dict[str, None] = {}
    for of_one in by_patient.values():
        earlier = sorted((s.acked, last) for s, _, last in of_one if s.acked is not None)
        newest, position = float("-inf"), 0
        for sending, first, _ in sorted(of_one, key=lambda span: span[0].sent):
            while position < len(earlier) and earlier[position][0] < sending.sent:
                newest = max(newest, earlier[position][1])
                position += 1
            if first < newest:
                late[sending.said.control_id] = None
    return list(late)


def judge_images(storings: Sequence[Storing], arrivals: Sequence[ImageArrival]) -> dict[str, Any]:
    """Images that the broker took against those that reached the PACS, under the right patient."""
    got: dict[str, list[str]] = defaultdict(list)
    for arrival in arrivals:
        got[arrival.sop_instance_uid].append(arrival.patient_id)
    taken = [storing for storing in storings if storing.taken]
    lost = [s.sop_instance_uid for s in taken if not got[s.sop_instance_uid]]
    strange = [s.sop_instance_uid for s in taken if any(p not in s.owners for p in got[s.sop_instance_uid])]
    return {
        "sent": len(storings),
        "stored": len(taken),
        "arrived": sum(bool(got[s.sop_instance_uid]) for s in taken),
        "lost": len(lost),
        "repeats": sum(len(ids) - 1 for ids in got.values() if ids),
        "under_another_patient": len(strange),
        "uids": (lost + strange)[:SHOWN],
    }


def judge_worklist(rows: Iterable[Row], seen: Sequence[Seen], tag: str) -> dict[str, Any]:
    """Rows that must be seen against those that are: each by its stations, by nobody else, under the right patient."""
    expected = {(aet, row.accession, row.step): row for row in rows if row.open for aet in row.aets}
    found = {(s.aet, s.accession, s.step): s for s in seen if tag in s.accession}
    missing = [key for key in expected if key not in found]
    strange = [key for key in found if key not in expected]
    wrong = [
        key
        for key, row in expected.items()
        if key in found and (found[key].patient_id not in row.patient or found[key].name != row.name)
    ]
    return {
        "expected": len(expected),
        "seen": len(found),
        "missing": len(missing),
        "not_to_be_seen": len(strange),
        "of_another_patient_or_name": len(wrong),
        "accessions": sorted({accession for _, accession, _ in (*missing, *strange, *wrong)})[:SHOWN],
    }


def flow(sendings: Sequence[Sending]) -> dict[str, Any]:
    """One flow's messages: how they were answered, and how fast."""
    meant = [s for s in sendings if not s.said.refused]
    return {
        "sent": len(sendings),
        "acknowledged": sum(s.code in POSITIVE for s in meant),
        "refused": sum(bool(s.code) and s.code not in POSITIVE for s in meant),
        "unanswered": sum(not s.code for s in sendings),
        "refused_as_they_should_be": sum(s.said.refused and s.code == "AE" for s in sendings),
        "taken_though_wrong": sum(s.said.refused and s.code in POSITIVE for s in sendings),
        "refused_otherwise": sum(s.said.refused and s.code in ("AR", "CR", "CE") for s in sendings),
        "attempts": sum(s.attempts for s in sendings),
        "complaints": [f"{s.said.control_id}: {s.complaint}" for s in sendings if s.complaint][:SHOWN],
        "ack": _latency([s.latency for s in sendings if s.latency is not None]),
    }


def _latency(values: Sequence[float | None]) -> dict[str, float]:
    """Count, and p50, p99 and longest in milliseconds."""
    known = sorted(value for value in values if value is not None)
    return {
        "count": len(known),
        "p50_ms": round(1000 * _percentile(known, 0.5), 1),
        "p99_ms": round(1000 * _percentile(known, 0.99), 1),
        "max_ms": round(1000 * max(known, default=0.0), 1),
    }


def _percentile(values: Sequence[float], part: float) -> float:
    """0 where there is none."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 4) if ordered else 0.0


def _memory(samples: Sequence[tuple[float, int]]) -> dict[str, Any]:
    """RSS in MiB: at the start, at its highest, at the end, and about twenty samples."""
    mib = [(round(at), round(rss / 2**20, 1)) for at, rss in samples]
    step = max(1, len(mib) // 20)
    return {
        "first": mib[0][1],
        "highest": max(rss for _, rss in mib),
        "last": mib[-1][1],
        "samples": mib[::step],
    }


_ZERO: Final[Mapping[str, Sequence[str]]] = {
    "epj": (
        *(
            "lost",
            "out_of_order",
            "repeats_without_a_fault",
            "repeats_with_other_bytes",
            "changed_on_the_way",
        ),
        "never_asked_for",
    ),
    "worklist": ("missing", "not_to_be_seen", "of_another_patient_or_name"),
    "images": ("lost", "under_another_patient"),
}
"""What must be zero."""


def _failures(values: Mapping[str, Any]) -> Iterable[str]:
    for part, names in _ZERO.items():
        yield from (
            f"{part}: {values[part][name]} {name.replace('_', ' ')}" for name in names if values[part][name]
        )
    for flow, found in values["flows"].items():
        for name in ("refused", "unanswered", "taken_though_wrong", "refused_otherwise"):
            if found[name]:
                yield f"{flow}: {found[name]} {name.replace('_', ' ')}"
        if found["complaints"]:
            yield f"{flow}: {len(found['complaints'])} answers were not as they should be"
    if values["worklist"]["examinations"]["not_seen"]:
        yield f"worklist: {values['worklist']['examinations']['not_seen']} examinations did not find their row"
    if values["worklist"]["queries"]["failed"]:
        yield f"worklist: {values['worklist']['queries']['failed']} queries failed"
    if values["images"]["stored"] < values["images"]["sent"]:
        yield f"images: {values['images']['sent'] - values['images']['stored']} not stored"
    yield from (f"the fault {name} did not happen" for name, count in values["faults"].items() if not count)
    if values["not_begun"]:
        yield f"the run was ended before {values['not_begun']} acts had begun"
    if values["errors"]:
        yield f"the simulator failed {len(values['errors'])} times: its score cannot be trusted"
