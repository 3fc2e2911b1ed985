"""What was acknowledged against what arrived: pure, from lists of messages.

Kept per patient is the order in which the destination first took each message: it may get one again directly after
itself (its acknowledgement was lost, or the broker died before it noted it), with the same control id and the same
bytes, but never once it has taken a newer one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields

from tests.proof.load import control_of, instance_number
from tests.support.mllp import field as hl7_field


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


def worklist(acknowledged: Iterable[bytes], accession_numbers: Sequence[str]) -> Findings:
    """Every acknowledged order has a row, and one only."""
    ordered = {f"A{control_of(message).decode()}" for message in acknowledged if _is_order(message)}
    return Findings(lost=sorted(ordered - set(accession_numbers)), doubled=repeated(accession_numbers))


def repeated(values: Iterable[str]) -> list[str]:
    """What is there more than once."""
    return sorted(value for value, count in Counter(values).items() if count > 1)


def told_of(message: bytes) -> bytes:
    """The control id of the message that this one came from."""
    if _is_order(message) and (step := hl7_field(message, b"OBR", 20)):
        return step.removeprefix(b"S").rpartition(b"-")[0]
    return control_of(message)


def _is_order(message: bytes) -> bool:
    return hl7_field(message, b"MSH", 9).startswith(b"ORM")
