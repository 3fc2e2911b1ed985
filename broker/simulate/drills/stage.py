"""Plays a drill against a running broker, step by step, and judges it as `ending.py` says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from broker.dicom.attributes import Attributes
from broker.errors import BrokerError
from broker.simulate import score
from broker.simulate.drills import ending, performing
from broker.simulate.drills.ending import Check, Seen
from broker.simulate.drills.peers import Command, Peers
from broker.simulate.drills.script import (
    Ask,
    Begin,
    ByHand,
    Drill,
    End,
    Look,
    Number,
    Pick,
    Split,
    Step,
    Store,
    Tell,
)
from broker.simulate.messages import Said
from broker.simulate.modality import text
from broker.simulate.records import Sending
from broker.simulate.story import Exam

WITHIN: Final = 15.0
"""Seconds in which what was acknowledged must be seen, and in which all that waits must have left."""
_EVERY: Final = 0.1
_PLACES: Final[Mapping[str, str]] = {"pas": "PAS", "orders": "RIS", "results": "LAB"}
_PEOPLE: Final = ("--by", "Kari Prøve", "--approved-by", "Ola Prøve", "--reason", "drill: two persons")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One step as it went."""

    number: int
    title: str
    place: str
    said: str
    """What was answered or seen, without a patient's values."""
    ok: bool


class Stage:
    """One drill, once."""

    def __init__(self, drill: Drill, peers: Peers, command: Command) -> None:
        self._drill, self._peers, self._command = drill, peers, command
        self._rows: dict[str, Attributes] = {}
        self._images: dict[str, int] = {}
        self._work: list[str] = []
        self._storings: dict[str, tuple[str, ...]] = {}
        self._before = self._exceptions()

    def play(self, left_out: Collection[int] = ()) -> Iterator[Outcome]:
        """Plays it; steps are numbered from 1. What the broker refuses is an outcome, and the drill goes on."""
        for number, step in enumerate(self._drill.steps, 1):
            if number in left_out:
                self._skip(step)
                continue
            place, said = _place(step), ""
            try:
                said = self._do(step)
                ok = True
            except BrokerError as error:
                said, ok = str(error), False
            yield Outcome(number=number, title=step.title, place=place, said=said, ok=ok)

    def judge(self) -> Iterator[Check]:
        """Waits until nothing is under way, looks everywhere, and judges."""
        try:
            self._settle()
            seen = self._seen()
        except BrokerError as error:
            yield Check(title="everybody could be asked", place="broker", fault=str(error))
            return
        yield from ending.checks(self._drill, seen)

    def _do(self, step: Step) -> str:
        """Does a step; what is told of it. Raises `BrokerError` where it is not as it must be."""
        match step:
            case Tell():
                return self._tell(step.said)
            case Look():
                return self._look(step)
            case Pick():
                return self._pick(step.exam)
            case Begin():
                return self._perform("N-CREATE", step.exam, step.epj)
            case Store():
                return self._store(step.exam)
            case End():
                return self._perform("N-SET", step.exam, step.epj)
            case Ask():
                return self._ask(step)
            case Split():
                return self._split(step)
            case ByHand():
                self._settle()
                self._peers.archive.moved(self._work, step.patient_id)
                return _count(len(self._work), "study", "studies")

    def _skip(self, step: Step) -> None:
        """What a step left out would have told is due all the same."""
        if isinstance(step, Tell):
            self._note(step.said, time.monotonic())
        elif isinstance(step, Begin | End):
            self._note(_performed(step.exam, step.epj), time.monotonic())
        elif isinstance(step, Store):
            self._owned(step.exam)

    def _tell(self, said: Said) -> str:
        self._peers.senders[said.flow].send((said,))
        answer = self._peers.records.sendings[-1]
        if answer.code != "AA":
            raise BrokerError(f"answered {answer.code or 'never'}, AA was due")
        return "AA"

    def _look(self, step: Look) -> str:
        found: dict[str, set[str]] = {}

        def right() -> bool:
            found.clear()
            for (_, label), ids in self._listed(step.aet).items():
                found.setdefault(label, set()).update(ids)
            return found.keys() == step.rows.keys() and all(
                len(found[label]) == 1 and found[label] <= set(numbers)
                for label, numbers in step.rows.items()
            )

        if not _waited(right):
            others = sum(not ids <= set(step.rows.get(label, ())) for label, ids in found.items())
            raise BrokerError(
                f"{_count(len(step.rows), 'row')} due, {len(found)} seen, {others} of them another patient's"
            )
        return _count(len(found), "row")

    def _pick(self, exam: Exam) -> str:
        def seen() -> bool:
            for row in self._peers.devices.rows(exam.aet):
                if _label(row) == (exam.accession or exam.step) and text(row, "PatientID") in exam.patient:
                    self._rows[exam.step] = row
                    return True
            return False

        if not _waited(seen):
            raise BrokerError("its row is not there")
        return "the row"

    def _perform(self, operation: Literal["N-CREATE", "N-SET"], exam: Exam, epj: tuple[str, ...]) -> str:
        row = self._rows.get(exam.step)
        sent = time.monotonic()
        if row is None:
            raise BrokerError("no row was picked")
        attributes = (
            performing.begun(exam, row)
            if operation == "N-CREATE"
            else performing.completed(exam, row, self._images.get(exam.step, 0))
        )
        status = self._peers.perform(operation, exam.aet, performing.instance_uid(exam), attributes)
        if status:
            raise BrokerError(f"answered {status:04X}, 0000 was due")
        self._note(_performed(exam, epj), sent)
        return "0000"

    def _store(self, exam: Exam) -> str:
        row = self._rows.get(exam.step)
        if row is None:
            raise BrokerError("no row was picked")
        self._owned(exam)
        self._images[exam.step] = exam.last
        before = len(self._peers.records.storings)
        self._peers.devices.examine(exam, lambda: False, row=row)
        taken = [storing.taken for storing in self._peers.records.storings[before:]]
        if not all(taken):
            raise BrokerError(f"{taken.count(False)} of {len(taken)} images were not taken")
        return f"0000, {_count(len(taken), 'image')}"

    def _ask(self, step: Ask) -> str:
        found: list[frozenset[str]] = []

        def right() -> bool:
            found[:] = [one.current for one in self._peers.pdq(step.number)]
            return found == [step.current]

        if not _waited(right):
            raise BrokerError(
                f"{len(found)} patients answered" if len(found) != 1 else "another patient answered"
            )
        return "one patient"

    def _split(self, step: Split) -> str:
        """As an operator does it: find the change, look at the plan, be refused alone, apply it with somebody else."""
        self._settle()
        changes = self._json("patients", "merge-status", step.number.value)
        applied = [change["id"] for change in changes if change["state"] == "applied"]
        if not applied:
            raise BrokerError("merge-status knows no merge of this number that is in force")
        split = ("patients", "split", applied[-1])
        plan = self._json(*split, "--plan")
        self._work = [one["study_uid"] for one in plan["work"]]
        for label in step.returns:
            if not any(label in (item["accession"], *item["key"].split("|")) for item in plan["returns"]):
                raise BrokerError("the plan does not give back all that it must")
        if {item["accession"] for item in plan["ambiguous"]} != step.unsure:
            raise BrokerError("the plan does not say what is unsure")
        apply = (*split, "--apply", "--plan-id", plan["plan_id"])
        if self._command((*apply, *_PEOPLE[:2], *_PEOPLE[4:]))[0] == 0:
            raise BrokerError("one person alone could split")
        self._json(*apply, *_PEOPLE)

        def done() -> bool:
            return bool(self._json("patients", "merge-status", applied[-1])[0]["state"] == "undone")

        if not _waited(done):
            raise BrokerError("the split was not done in time")
        by_hand = _count(len(self._work), "study", "studies")
        return f"{len(plan['returns'])} back, {len(plan['ambiguous'])} unsure, {by_hand} by hand at the PACS"

    def _seen(self) -> Seen:
        peers, drill = self._peers, self._drill
        numbers = [number for truth in drill.truths for number in truth.numbers]
        rows: dict[tuple[str, str], frozenset[str]] = {}
        for aet in drill.stations:
            rows |= self._listed(aet)
        arrived: dict[str, str] = {image.sop_instance_uid: image.patient_id for image in peers.records.images}
        due = {uid for truth in drill.truths for uid in truth.objects} | self._storings.keys()
        filed = {uid: owner for uid in due if (owner := peers.archive.filed(uid)) is not None}
        studies = {text(row, "StudyInstanceUID") for row in self._rows.values()}
        ours = [
            s
            for s in peers.records.sendings
            if drill.tag in s.said.control_id or drill.tag in "".join(s.said.epj)
        ]
        return Seen(
            pdq={number: peers.pdq(number) for number in numbers},
            root={number: peers.root(number) for number in numbers},
            keys={number: self._keys(number) for number in numbers},
            rows=rows,
            running=tuple(
                row["study"]
                for row in self._json("worklist", "list", "--all")
                if row["status"] == "STARTED" and row["study"] in studies
            ),
            filed=filed,
            strayed=tuple(uid for uid, owners in self._storings.items() if arrived.get(uid) not in owners),
            epj=score.judge_epj(ours, peers.records.arrivals, drill.tag),
            exceptions=tuple(sorted(kind for _, kind in self._exceptions() - self._before)),
            rebuilt=self._command(("reconcile", "--registers"))[0] == 0,
        )

    def _listed(self, aet: str) -> dict[tuple[str, str], frozenset[str]]:
        """The rows of this drill that a device sees: (AE title, label) to Patient IDs."""
        found: dict[tuple[str, str], frozenset[str]] = {}
        for row in self._peers.devices.rows(aet):
            label = _label(row)
            if self._drill.tag in label:
                key = (aet, label)
                found[key] = found.get(key, frozenset()) | {text(row, "PatientID")}
        return found

    def _keys(self, number: Number) -> frozenset[str]:
        oid = number.issuer.split("&")[1]
        code, output = self._command(("patients", "show", number.value, "--issuer", oid, "--format", "json"))
        if code:
            return frozenset()
        return frozenset(known["key"] for known in json.loads(output) if known["verified"])

    def _json(self, *arguments: str) -> Any:
        """What a command prints. `BrokerError` when it ends with anything but 0."""
        code, output = self._command((*arguments, "--format", "json"))
        if code:
            raise BrokerError(f"`broker {' '.join(arguments[:2])}` ended with {code}")
        return json.loads(output)

    def _exceptions(self) -> set[tuple[str, str]]:
        """(subject, kind) of what a person must look at."""
        return {(entry["subject"], entry["kind"]) for entry in self._peers.status()["exceptions"]}

    def _settle(self) -> None:
        """Until nothing waits to be routed or to leave. `BrokerError` when something does for too long."""

        def idle() -> bool:
            found = self._peers.status()
            return not found["events_waiting"] and not any(d["queued"] for d in found["destinations"])

        if not _waited(idle):
            raise BrokerError("something still waits to be routed or to leave: `broker status`")

    def _owned(self, exam: Exam) -> None:
        for number in range(exam.first, exam.last + 1):
            self._storings[exam.sop_instance_uid(number)] = exam.owners

    def _note(self, said: Said, sent: float) -> None:
        """What the EPJ must hear of from now on, in this place."""
        sending = Sending(said=said, sent=sent, acked=time.monotonic(), code="AA")
        self._peers.records.sendings.append(sending)


def _performed(exam: Exam, epj: tuple[str, ...]) -> Said:
    """An MPPS as one of the messages that the EPJ hears of."""
    return Said(
        flow="orders", control_id=performing.instance_uid(exam), raw=b"", patients=exam.patient, epj=epj
    )


def _place(step: Step) -> str:
    match step:
        case Tell():
            return _PLACES[step.said.flow]
        case Look():
            return step.aet
        case Pick() | Begin() | Store() | End():
            return step.exam.aet
        case Ask():
            return "EPJ"
        case Split():
            return "operator"
        case ByHand():
            return "PACS"


def _label(row: Attributes) -> str:
    """How a drill knows a row: by its order, or by its visit where nobody ordered it."""
    return text(row, "AccessionNumber") or text(row, "AdmissionID")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _waited(condition: Callable[[], bool]) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_EVERY)
    return True
