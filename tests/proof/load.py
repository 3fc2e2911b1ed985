"""Senders that go on until they are told to stop, and send again what was not answered, as senders do.

Every message of a patient carries a running number in its control id, `<patient>-<number>`, and leaves only after the
one before was acknowledged: so the order in which the broker took them is known without looking into it. Every
third is an order; now and then a patient turns out to be known under a second number, and the two are merged. Not
here: what is made of it all (tests/proof/check.py).
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.dimse import EXPLICIT, RejectedError, Scu
from tests.support.images import dataset_bytes, write_image
from tests.support.messages import Person, adt, merge, orm
from tests.support.mllp import MllpClient, framed
from tests.support.mllp import field as hl7_field

PATIENTS: Final = 3
"""Patients of one sender at a time."""

STAY: Final = 12
"""Messages of one of them."""

CT: Final = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
_PATIENCE: Final = 5.0
"""Seconds that a sender waits for an answer before it hangs up."""

_UID_DIGITS: Final = 10
NO_ANSWER: Final = (OSError, ValueError, RejectedError)
"""What a peer that is down, or a proxy between, makes of a question."""


@dataclass(kw_only=True)
class Sender:
    """One sending system: its messages one by one, ADT and orders each over its own connection."""

    ports: Mapping[bytes, int]
    """Where each message type (`ADT`, `ORM`) goes; types that are not here are not sent."""
    messages: Iterator[bytes]
    dice: random.Random
    stop: threading.Event
    host: str = "127.0.0.1"
    pause: float = 0.0
    """Longest wait between two messages in seconds."""
    haste: float = 0.0
    """The part of the turns that is sent over a new connection first, whose answer nobody waits for."""
    batches: float = 0.0
    """The part of the turns that is a batch of several messages instead of one message."""
    acknowledged: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(message, answer) in the order of sending."""
    refused: int = 0
    taken_when_full: int = 0
    full: threading.Event = field(default_factory=threading.Event)
    """Set while the broker must take nothing new."""
    ahead: Callable[[Sequence[tuple[bytes, bytes]]], bool] = lambda _acknowledged: False
    """Whether so much of what was acknowledged is still under way that it waits."""
    unanswered: list[bytes] = field(default_factory=list)
    """What it was busy with when it was stopped, and may have been taken."""
    _tried: bool = False
    _ahead: bytes = b""

    def run(self) -> None:
        turn = self.unanswered = self._next()
        while not self.stop.is_set():
            try:
                with ExitStack() as connections:
                    clients: dict[int, MllpClient] = {}
                    for _ in range(self.dice.randint(1, 200)):
                        if self.stop.is_set():
                            return
                        port = self.ports[_type(turn[0])]
                        if port not in clients:
                            clients[port] = connections.enter_context(
                                MllpClient(port, self.host, timeout=_PATIENCE)
                            )
                        if self.dice.random() < self.haste:
                            # The same on two connections at once: either may be served first.
                            hasty = connections.enter_context(MllpClient(port, self.host))
                            hasty.send_raw(framed(_sent(turn)))
                            self._tried = True
                        turn = self.unanswered = self._send(clients[port], turn)
            except NO_ANSWER:
                self.stop.wait(0.05)

    def _send(self, client: MllpClient, turn: list[bytes]) -> list[bytes]:
        """Sends it; returns what is to be sent next."""
        new_when_full = self.full.is_set() and not self._tried
        self._tried = True
        answers = _answers(client.ask(_sent(turn)))
        if any(hl7_field(answer, b"MSA", 1) != b"AA" for answer in answers):
            self.refused += 1
            self.stop.wait(0.2)
            return turn
        if [hl7_field(answer, b"MSA", 2) for answer in answers] != [control_of(m) for m in turn]:
            raise ValueError("the answer to another message")
        self.taken_when_full += new_when_full and self.full.is_set()
        self.acknowledged.extend(zip(turn, answers, strict=True))
        self.stop.wait(self.dice.uniform(0, self.pause))
        while self.ahead(self.acknowledged) and not self.stop.wait(0.1):
            pass
        return self._next()

    def _next(self) -> list[bytes]:
        """One message, or several of one type that follow each other."""
        self._tried = False
        turn = [self._ahead or self._drawn()]
        self._ahead = b""
        size = self.dice.randint(2, 6) if self.dice.random() < self.batches else 1
        while len(turn) < size and not self._ahead:
            message = self._drawn()
            if _type(message) == _type(turn[0]):
                turn.append(message)
            else:
                self._ahead = message
        return turn

    def _drawn(self) -> bytes:
        return next(message for message in self.messages if _type(message) in self.ports)


@dataclass(kw_only=True)
class StoreSender:
    """A modality: one association after the other; an object that was not answered 0000 is sent again."""

    port: int
    objects: Iterator[tuple[str, bytes]]
    dice: random.Random
    stop: threading.Event
    pause: float = 0.0
    acknowledged: list[str] = field(default_factory=list)
    """SOP Instance UIDs in the order of sending."""
    contents: dict[str, bytes] = field(default_factory=dict)
    """The data set of each acknowledged object."""
    refused: int = 0
    taken_when_full: int = 0
    full: threading.Event = field(default_factory=threading.Event)
    """Set while the broker must take nothing."""

    def run(self) -> None:
        uid, content = next(self.objects)
        while not self.stop.is_set():
            try:
                with closing(Scu(self.port, [CT], timeout=_PATIENCE)) as scu:
                    for _ in range(self.dice.randint(1, 50)):
                        if self.stop.is_set():
                            return
                        full = self.full.is_set()
                        if scu.store(CT, uid, content) == 0:
                            self.taken_when_full += full and self.full.is_set()
                            self.acknowledged.append(uid)
                            self.contents[uid] = content
                            uid, content = next(self.objects)
                        else:
                            self.refused += 1
                        self.stop.wait(self.dice.uniform(0, self.pause))
            except NO_ANSWER:
                self.stop.wait(0.05)


@dataclass(kw_only=True)
class Repeater:
    """Sends again, byte for byte, what was acknowledged at some time, and looks at the answer."""

    senders: list[Sender]
    ports: Mapping[bytes, int]
    dice: random.Random
    stop: threading.Event
    asked: int = 0
    wrong: list[bytes] = field(default_factory=list)
    """Control ids that were not answered with what was answered first."""

    def run(self) -> None:
        while not self.stop.wait(self.dice.uniform(0, 0.1)):
            known = self.dice.choice(self.senders).acknowledged
            if known:
                try:
                    self.ask(known[self.dice.randrange(len(known))])
                except NO_ANSWER:
                    continue  # the broker is down, or the proxy between: asked again another time

    def ask(self, pair: tuple[bytes, bytes]) -> None:
        """One repeat over a connection of its own. A refusal (a full disk) says nothing about the message."""
        message, first = pair
        with MllpClient(self.ports[_type(message)], timeout=_PATIENCE) as client:
            answer = client.ask(message)
        self.asked += 1
        if answer != first and hl7_field(answer, b"MSA", 1) == b"AA":
            self.wrong.append(control_of(message))


def patients_story(sender: int, *, patients: int = PATIENTS, merges: bool = False) -> Iterator[bytes]:
    """ADT and orders of this sender's patients, in turn, without end; the first of each is an A08.

    After `STAY` of each others come: with every change of a patient all his rows are written anew. `merges`: from time
    to time a patient gets a second number, an order under it, and then one number again (A40).
    """
    for stay in itertools.count():
        numbers = [f"73{sender}{n}" + (f"9{stay}" if stay else "") for n in range(patients)]
        for number, local in itertools.product(range(STAY), numbers):
            person, control_id = Person(number=local, family=f"Nr{local}", given="Åse"), f"{local}-{number}"
            if number % 3 == 2:
                yield orm(control_id, person, control_id)
            elif merges and number % 9 == 4:
                second = Person(number=f"{local}0{number}", family="Ukjent", given="Åse")
                yield adt("A04", f"{second.number}-0", second)
                yield orm(f"{second.number}-1", second, f"{second.number}-1")
                # Under the name that the A08 before it gave.
                yield merge("A40", control_id, person.named(f"Prøve{number - 1}"), second.number)
            else:
                yield adt("A08", control_id, person.named(f"Prøve{number}"))


def instances(folder: Path, sender: int) -> Iterator[tuple[str, bytes]]:
    """New objects of one patient without end: (SOP Instance UID, data set); `instance_number` reads the UID."""
    path = folder / f"template-{sender}.dcm"
    uid = f"2.25.1{sender}{0:0{_UID_DIGITS}d}"
    write_image(path, SOPInstanceUID=uid, PatientID=f"74{sender}")
    content = dataset_bytes(path.read_bytes())
    number = 0
    while True:
        number += 1
        new = f"{uid[:-_UID_DIGITS]}{number:0{_UID_DIGITS}d}"
        yield new, content.replace(uid.encode(), new.encode())


def instance_number(uid: str) -> tuple[str, int]:
    """(patient, running number) of an object of `instances`."""
    return uid[:-_UID_DIGITS], int(uid[-_UID_DIGITS:])


def control_of(message: bytes) -> bytes:
    return hl7_field(message, b"MSH", 10)


def _sent(turn: list[bytes]) -> bytes:
    """The message, or a batch of several (HL7 v2.5.1 2.10.3)."""
    if len(turn) == 1:
        return turn[0]
    header = b"BHS|^~\\&|PAS|STO|BROKER|STO|20260309080000||||B" + control_of(turn[0]) + b"\r"
    return header + b"".join(turn) + b"BTS|%d\r" % len(turn)


def _answers(content: bytes) -> list[bytes]:
    """The acknowledgements of one frame, each as it stands without its batch."""
    if not content.startswith(b"BHS"):
        return [content]
    inside = content[content.index(b"\rMSH") + 1 : content.rindex(b"\rBTS") + 1]
    return [b"MSH|" + rest for rest in inside.split(b"MSH|")[1:]]


def _type(message: bytes) -> bytes:
    return hl7_field(message, b"MSH", 9)[:3]
