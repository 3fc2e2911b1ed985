"""A broker on paper: what a drill would come to if the broker, the EPJ and the PACS did everything right.

Things belong to whoever has the number that they came under; a merge re-points numbers, a split gives them back. It
knows nothing of the broker's code, so that drills and their checks can be tried without one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from broker.hl7.er7 import Message
from broker.simulate import score
from broker.simulate.drills import ending
from broker.simulate.drills.archive import Archive
from broker.simulate.drills.ending import Answered, Seen
from broker.simulate.drills.script import Begin, ByHand, Drill, End, Number, Pick, Split, Step, Store, Tell
from broker.simulate.messages import Said, digest
from broker.simulate.records import Arrival, ImageArrival, Sending

STATIONS = {"CT-LAB1": ("CT1_STO",), "UL-LAB1": ("US1_STO",)}
TRAUMA_ROOM = ("CT2_STO", "DX1_STO")


@dataclass(slots=True)
class Record:
    """A patient."""

    name: str
    current: list[str]


@dataclass(slots=True)
class Paper:
    """Plays a drill. `rows`: (AE title, label) to the number that the row came under."""

    drill: Drill
    owners: dict[str, Record] = field(default_factory=dict)
    merges: dict[str, tuple[dict[str, Record], list[str]]] = field(default_factory=dict)
    rows: dict[tuple[str, str], str] = field(default_factory=dict)
    picked: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    archive: Archive = field(default_factory=Archive)
    came: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    sent: list[tuple[Said, bool]] = field(default_factory=list)

    def play(self, left_out: Collection[int] = ()) -> Seen:
        """The world after it, steps `left_out` (counted from 1) apart."""
        for number, step in enumerate(self.drill.steps, 1):
            done = number not in left_out
            if isinstance(step, Tell):
                self.sent.append((step.said, done))
            if done:
                self._do(step)
            if isinstance(step, Begin | End):
                said = Said(flow="orders", control_id=str(number), raw=b"", patients=(), epj=step.epj)
                self.sent.append((said, done and step.exam.step in self.picked))
        return self._seen()

    def _do(self, step: Step) -> None:
        match step:
            case Tell():
                self._hear(Message.parse(step.said.raw))
                if step.said.flow == "pas":
                    self.archive.heard(step.said.raw)
            case Pick():
                self.picked.add(step.exam.step)
            case Begin() if step.exam.step in self.picked:
                self.rows.pop((step.exam.aet, step.exam.accession or step.exam.step), None)
                self.running.add(step.exam.step)
            case End() if step.exam.step in self.running:
                self.running.discard(step.exam.step)
            case Store() if step.exam.step in self.picked:
                for number in range(step.exam.first, step.exam.last + 1):
                    uid = step.exam.sop_instance_uid(number)
                    self.came[uid] = self._id(step.exam.patient[-1])
                    self.archive.stored(
                        ImageArrival(
                            sop_instance_uid=uid, patient_id=self.came[uid], study_uid=step.exam.step
                        )
                    )
            case Begin() | End() | Store():
                self.refused.append(step.title)
            case Split():
                if step.number.value in self.merges:
                    before, current = self.merges.pop(step.number.value)
                    self.owners[step.number.value].current[:] = current
                    self.owners |= before
            case ByHand():
                exams = [s.exam for s in self.drill.steps if isinstance(s, Store)]
                self.archive.moved(
                    {e.step for e in exams if e.patient[-1] == step.patient_id}, step.patient_id
                )
            case _:
                pass

    def _hear(self, message: Message) -> None:
        pid = message.first("PID")
        assert pid is not None
        numbers, name = [one.get(1) for one in pid.repetitions(3)], message.text("PID-5").rstrip("^")
        match message["MSH-9.2"]:
            case "A40" | "A47":
                self._merge(message["MRG-1.1"], numbers, name)
            case "O01":
                for aet in STATIONS[message["OBR-21"]]:
                    self.rows[aet, message["OBR-18"]] = numbers[-1]
            case "R01":
                pass
            case trigger:
                known = [self.owners[number] for number in numbers if number in self.owners]
                record = known[0] if known else Record(name, [])
                record.name = name
                record.current += [number for number in numbers if number not in record.current]
                self.owners |= dict.fromkeys(numbers, record)
                visit = message["PV1-19.1"] if "PV1" in message else ""
                if trigger == "A04" and message["PV1-3.1"] == "AKUTT":
                    self.rows |= {(aet, visit): numbers[-1] for aet in TRAUMA_ROOM}
                if trigger == "A03":
                    self.rows = {key: value for key, value in self.rows.items() if key[1] != visit}

    def _merge(self, ended: str, numbers: list[str], name: str) -> None:
        known = [self.owners[number] for number in numbers if number in self.owners]
        absorbed = self.owners.get(ended)
        record = known[0] if known else absorbed or Record(name, [])
        had = {number: owner for number, owner in self.owners.items() if owner is absorbed}
        self.merges[ended] = had, list(record.current)
        record.name = name
        record.current[:] = [n for n in dict.fromkeys((*numbers, *record.current)) if n != ended]
        self.owners |= dict.fromkeys((*had, *numbers, ended), record)

    def _seen(self) -> Seen:
        numbers = {number: self._of(number) for truth in self.drill.truths for number in truth.numbers}
        stores = [step.exam for step in self.drill.steps if isinstance(step, Store)]
        due = {e.sop_instance_uid(n): e.owners for e in stores for n in range(e.first, e.last + 1)}
        moment = [
            (
                Sending(said=said, sent=float(at), acked=at + 0.5, code="AA"),
                [
                    Arrival(
                        control_id=said.control_id, key=key, digest=digest(said.raw), at=at + 0.7, clean=True
                    )
                    for key in said.epj
                    if done
                ],
            )
            for at, (said, done) in enumerate(self.sent)
        ]
        return Seen(
            pdq={
                n: (Answered(current=frozenset(r.current), name=r.name),) if r else ()
                for n, r in numbers.items()
            },
            root={n: (r.current[0],) if r else () for n, r in numbers.items()},
            keys={n: frozenset((str(id(r)),)) if r else frozenset() for n, r in numbers.items()},
            rows={key: frozenset((self._id(number),)) for key, number in self.rows.items()},
            running=tuple(self.running),
            filed={uid: owner for uid in due if (owner := self.archive.filed(uid)) is not None},
            strayed=tuple(uid for uid, owners in due.items() if self.came.get(uid) not in owners),
            epj=score.judge_epj(
                [s for s, _ in moment], [a for _, came in moment for a in came], self.drill.tag
            ),
            exceptions=(),
        )

    def _of(self, number: Number) -> Record | None:
        return self.owners.get(number.value)

    def _id(self, number: str) -> str:
        """What stands in rows and images for it; of somebody whom PAS did not name it is what they said."""
        record = self.owners.get(number)
        return record.current[0] if record else number


def faults(drill: Drill, left_out: Collection[int] = ()) -> Mapping[str, str]:
    """Place and title of each step and check that fails to its fault."""
    paper = Paper(drill)
    checks = ending.checks(drill, paper.play(left_out))
    refused = {f"step: {title}": "refused" for title in paper.refused}
    return refused | {f"{check.place}: {check.title}": check.fault for check in checks if check.fault}
