"""What was acknowledged against what arrived: pure, from lists of messages.

Kept per patient is the order in which the destination first took each message: it may get one again directly after
itself (its acknowledgement was lost, or the broker died before it noted it), with the same control id and the same
bytes, but never once it has taken a newer one. After a merge both numbers are one patient, and the merge is newer than
all that came under the second one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from pydicom.datadict import keyword_for_tag

from tests.proof.load import control_of, instance_number
from tests.support.images import differing_elements
from tests.support.mllp import field as hl7_field

PAS_KEYWORDS: Final = {
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("OriginalAttributesSequence", "SpecificCharacterSet", "IssuerOfPatientIDQualifiersSequence"),
}
"""What the broker may change in an object whose patient PAS knows (adapters/pacs/render.py)."""

_MERGED: Final = 1 << 60
"""Newer than every number of a sender."""


@dataclass(kw_only=True)
class Findings:
    """What is wrong, each with the control id, accession number or UID that it is about. Empty: the proof holds."""

    lost: list[str] = field(default_factory=list)
    """Acknowledged, and not at the destination or not on the worklist."""
    forgotten: list[str] = field(default_factory=list)
    """Acknowledged, and a repeat got another answer than the first time."""
    out_of_order: list[str] = field(default_factory=list)
    """Taken by the destination after a newer one of the same patient."""
    changed: list[str] = field(default_factory=list)
    """Repeated to the destination with other bytes under the same control id, or come under one that nobody sent."""
    doubled: list[str] = field(default_factory=list)
    """One order told as two messages, or two rows of one step."""
    taken_when_full: list[str] = field(default_factory=list)
    """Acknowledged though the broker said that it can store nothing."""
    broken: list[str] = field(default_factory=list)
    """The broker did not come back, did not become idle, or did not stop."""

    def add(self, other: Findings) -> None:
        for each in fields(self):
            getattr(self, each.name).extend(getattr(other, each.name))

    @property
    def any(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))


def hl7(acknowledged: Collection[bytes], arrived: Sequence[bytes]) -> Findings:
    """ADT are passed on as they were; of an order the destination hears a status that names it in OBR-20."""
    found = in_order((told_of(message), message) for message in arrived)
    passed_on = set(arrived)
    told = {told_of(message) for message in arrived}
    for message in acknowledged:
        if (told_of(message) not in told) if _is_order(message) else (message not in passed_on):
            found.lost.append(control_of(message).decode())
    tellings = {(told_of(message), control_of(message)) for message in arrived if _is_order(message)}
    found.doubled += repeated(order.decode() for order, _ in tellings)
    return found


def in_order(arrived: Iterable[tuple[bytes, bytes]]) -> Findings:
    """Order and sameness of what arrived, given as (control id of what was sent, message)."""
    found = Findings()
    newest: dict[bytes, int] = {}
    contents: dict[bytes, bytes] = {}
    for sent, message in arrived:
        patient, _, number = sent.partition(b"-")
        if not number.isdigit():
            found.changed.append(sent.decode(errors="replace"))
            continue
        if int(number) < newest.setdefault(patient, int(number)):
            found.out_of_order.append(sent.decode())
        newest[patient] = max(newest[patient], int(number))
        if prior := _prior(message):
            newest[prior] = _MERGED
        if contents.setdefault(control_of(message), message) != message:
            found.changed.append(control_of(message).decode())
    return found


def images(acknowledged: Collection[str], arrived: Sequence[str]) -> Findings:
    """SOP Instance UIDs of `tests.proof.load.instances`."""
    found = Findings(lost=sorted(set(acknowledged) - set(arrived)))
    newest: dict[str, int] = {}
    for uid in arrived:
        patient, number = instance_number(uid)
        if number < newest.get(patient, 0):
            found.out_of_order.append(uid)
        newest[patient] = max(newest.get(patient, 0), number)
    return found


def objects(sent: Mapping[str, bytes], stored: Iterable[tuple[str, bytes]], known: str) -> Findings:
    """Data sets by SOP Instance UID, byte for byte, each time they came.

    `known`: the patient (of `load.instance_number`) whom PAS knows, so that the elements that identify him are PAS's.
    """
    found = Findings()
    for uid, content in stored:
        if uid in sent and content != sent[uid]:
            tags = differing_elements(sent[uid], content)
            changed = {keyword_for_tag(tag) for tag in tags} or {"the encoding"}
            if instance_number(uid)[0] != known or not changed <= PAS_KEYWORDS:
                found.changed.append(f"{uid}: {', '.join(sorted(changed))}")
    return found


def worklist(acknowledged: Iterable[bytes], accession_numbers: Sequence[str]) -> Findings:
    """Every acknowledged order has a row, and one only."""
    ordered = {f"A{control_of(message).decode()}" for message in acknowledged if _is_order(message)}
    return Findings(lost=sorted(ordered - set(accession_numbers)), doubled=repeated(accession_numbers))


def rows(
    acknowledged: Iterable[bytes], unanswered: Iterable[bytes], shown: Iterable[tuple[str, str, str]]
) -> Findings:
    """Whether each row (accession number, PatientID, PatientName) shows its patient as he is at the end.

    `acknowledged`: in the order of sending; `unanswered`: what may have been taken after that.
    """
    before = _Patients()
    for message in acknowledged:
        before.take(message)
    maybe = list(unanswered)
    after = [before]
    for message in maybe:  # each of another patient, or in turn: any of them may have been the last
        after.append(after[-1].copy())
        after[-1].take(message)
    found = Findings()
    for accession, patient, name in shown:
        if (patient, name) not in {each.of(accession) for each in after}:
            found.lost.append(f"the row of {accession} shows {patient}, {name}")
    return found


class _Patients:
    """Whom an order belongs to, and his name."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._survivors: dict[str, str] = {}
        self._orders: dict[str, str] = {}

    def copy(self) -> _Patients:
        other = _Patients()
        other._names, other._survivors = dict(self._names), dict(self._survivors)
        other._orders = dict(self._orders)
        return other

    def take(self, message: bytes) -> None:
        patient = hl7_field(message, b"PID", 3).partition(b"^")[0].decode()
        if _is_order(message):
            self._orders[f"A{control_of(message).decode()}"] = patient
            return
        self._names[patient] = hl7_field(message, b"PID", 5).decode()
        if prior := _prior(message):
            self._survivors[prior.decode()] = patient

    def of(self, accession: str) -> tuple[str, str]:
        """(PatientID, PatientName)."""
        ordered = self._orders.get(accession, "")
        patient = self._survivors.get(ordered, ordered)
        return patient, self._names.get(patient, "")


def repeated(values: Iterable[str]) -> list[str]:
    """What is there more than once."""
    return sorted(value for value, count in Counter(values).items() if count > 1)


def told_of(message: bytes) -> bytes:
    """The control id of the message that this one came from."""
    if _is_order(message) and (step := hl7_field(message, b"OBR", 20)):
        return step.removeprefix(b"S").rpartition(b"-")[0]
    return control_of(message)


def ahead(acknowledged: Sequence[tuple[bytes, bytes]], arrived: Container[bytes], most: int) -> bool:
    """Whether so many of a sender's newest messages are still under way.

    `arrived`: what `told_of` says of all that the EPJ has. One that is lost is no queue.
    """
    if len(acknowledged) <= most or told_of(acknowledged[-most][0]) in arrived:
        return False
    return sum(told_of(message) not in arrived for message, _ in acknowledged[-2 * most :]) >= most


def _prior(message: bytes) -> bytes:
    """The number that ends with this message, if it is a merge."""
    return hl7_field(message, b"MRG", 1).partition(b"^")[0]


def _is_order(message: bytes) -> bool:
    return hl7_field(message, b"MSH", 9).startswith(b"ORM")
