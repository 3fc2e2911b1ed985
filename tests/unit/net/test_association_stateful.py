"""Associations in any order of events: each peer is answered as if it were alone, and its place comes back."""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from broker.dicom import status
from broker.dicom.dataset import to_dataset
from broker.net.association import Answer, AssociationServer, FindRequest, Peer, StoreRequest
from tests.support.dimse import (
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    WORKLIST,
    RejectedError,
    Scu,
    command_set,
    encoded,
    p_data,
)
from tests.support.processes import wait_until
from tests.support.services import Finder, Storage

CT = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
CONTEXTS = [(VERIFICATION, IMPLICIT), (WORKLIST, EXPLICIT), CT]
MOST, MOST_OF_ONE = 4, 3
TITLES = ("CT1", "MR1")


def as_many_as_asked(request: FindRequest, peer: Peer) -> Iterator[Answer]:
    """As many rows as the patient id says, which carry the caller's title."""
    for _ in range(int(request.identifier.PatientID)):
        yield Answer(status=status.PENDING, identifier=to_dataset({"PatientID": peer.calling_aet}))


class Associations(RuleBasedStateMachine):
    """The model: which associations are open, by whom, and what was stored."""

    opened = Bundle("opened")

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.server = AssociationServer(
            *("127.0.0.1", 0),
            spool=Path(self.folder.name) / "spool",
            admit=lambda peer: True,
            max_associations=MOST,
            max_per_peer=MOST_OF_ONE,
        )
        self.taken: set[tuple[str, str]] = set()
        self.server.register(Finder(as_many_as_asked))
        self.server.register(Storage(self._take))
        self.server.start()
        self.open: dict[Scu, str] = {}
        self.stored: set[tuple[str, str]] = set()
        self.number = 0

    def _take(self, request: StoreRequest, peer: Peer) -> Answer:
        self.taken.add((peer.calling_aet, request.sop_instance_uid))
        return Answer(status=status.SUCCESS)

    @rule(target=opened, title=st.sampled_from(TITLES))
    def associate(self, title: str) -> Scu | None:
        full = len(self.open) >= MOST_OF_ONE  # all of them come from one host
        if full:
            with pytest.raises(RejectedError) as refusal:
                Scu(self.server.port, CONTEXTS, calling=title)
            assert refusal.value.args == ((2, 3, 2),)
            return None
        scu = self._let_in(title)
        self.open[scu] = title
        return scu

    @rule(scu=opened)
    def echo(self, scu: Scu | None) -> None:
        if scu in self.open:
            assert scu.echo() == 0

    @rule(scu=opened, rows=st.sampled_from([0, 1, 5, 300]))
    def find(self, scu: Scu | None, rows: int) -> None:
        if scu in self.open:
            answers = scu.find(encoded(to_dataset({"PatientID": str(rows)})))
            assert len(answers) == rows
            assert all(self.open[scu].encode() in answer for answer in answers)

    @rule(scu=opened, size=st.sampled_from([1, 10, 100_000, 300_000]))
    def store(self, scu: Scu | None, size: int) -> None:
        if scu in self.open:
            self.number += 1
            assert scu.store(CT, f"1.2.{self.number}", bytes(size)) == 0
            self.stored.add((self.open[scu], f"1.2.{self.number}"))

    @rule(scu=opened)
    def cancel_late(self, scu: Scu | None) -> None:
        if scu in self.open:
            scu.send_raw(p_data(3, 3, command_set({0x0100: 0x0FFF, 0x0120: 1, 0x0800: 0x0101})))

    @rule(scu=consumes(opened))
    def release(self, scu: Scu | None) -> None:
        if scu is not None and self.open.pop(scu, None):
            scu.release()

    @rule(scu=consumes(opened), half=st.booleans())
    def vanish(self, scu: Scu | None, half: bool) -> None:
        """Hangs up, in the middle of an object perhaps."""
        if scu is not None and self.open.pop(scu, None):
            if half:
                command = {0x0002: CT[0], 0x0100: 1, 0x0110: 1, 0x0700: 0, 0x0800: 1, 0x1000: "1.9"}
                scu.send_raw(p_data(5, 3, command_set(command)) + p_data(5, 0, bytes(500)))
            scu.drop()

    @rule(scu=consumes(opened), kind=st.integers(0, 255).filter(lambda kind: kind not in (4, 5, 7)))
    def break_rules(self, scu: Scu | None, kind: int) -> None:
        if scu is not None and self.open.pop(scu, None):
            scu.send_raw(struct.pack(">BxL", kind, 4) + bytes(4))
            sent, body = scu.read_pdu()
            assert (sent, body[2]) == (7, 2)
            with pytest.raises(ConnectionError):
                scu.read_pdu()
            scu.drop()

    def _let_in(self, title: str) -> Scu:
        """Once the server has seen that others hung up."""
        found: list[Scu] = []

        def come() -> bool:
            with contextlib.suppress(RejectedError):
                found.append(Scu(self.server.port, CONTEXTS, calling=title))
            return bool(found)

        wait_until(come, "there is a place")
        return found[0]

    @invariant()
    def what_was_answered_was_taken(self) -> None:
        if hasattr(self, "taken"):
            assert self.taken == self.stored

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        for scu in self.open:
            assert scu.echo() == 0
            scu.release()
        spool = self.server.spool
        wait_until(lambda: not list(spool.iterdir()), "no half object is left")
        self.server.stop(1)
        self.folder.cleanup()


TestAssociations = Associations.TestCase
TestAssociations.settings = settings(max_examples=40, stateful_step_count=30)
