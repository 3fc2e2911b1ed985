"""A batch taken apart and answered as one (HL7 v2.5.1 2.10.3). Its members are judged in `message`, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from broker.adapter import Reception, Verdict
from broker.errors import RemoteProtocolError
from broker.hl7.batch import Batch
from broker.hl7.er7 import Header
from broker.reception.message import receive
from broker.reception.profile import Mapper, Profile
from broker.reception.stamp import BATCH, Stamp, timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedBatch:
    """A batch taken apart: what commit 1 writes in one transaction, and how the answers become one frame."""

    receptions: Iterator[Reception]
    """The envelope, then the members in order, each judged when it is asked for: a large batch takes its time."""
    batch: Batch | None
    """None: there are no members to answer for; the one reception holds the answer to the batch."""
    control_id: str
    now: datetime

    def answer(self, answers: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
        """The payloads to answer with, none or one: `answers` are those of each reception, in order.

        One batch with what is due to each member by its own MSH-15 and 16; nothing when no member is due anything.
        """
        if self.batch is None:
            return tuple(answers[0])
        if not any(answers):
            return ()
        stamp = timestamp(self.now)
        return (self.batch.answer(answers[1:], control_id=self.control_id, timestamp=stamp),)


def receive_batch(
    raw: bytes,
    profile: Profile,
    mappers: Mapping[str, Mapper],
    *,
    new_id: Callable[[], str],
    now: datetime,
    peer: str = "",
) -> ReceivedBatch:
    """Takes a batch apart (HL7 v2.5.1 2.10.3); each member is then judged as `receive` judges it alone.

    A batch of which something was lost is refused as a whole: one acknowledgement, to the control id of its first
    header. A batch without members is taken (2.10.3.1: there was nothing to send) and answered with one.
    """
    stamp = Stamp(profile=profile, message_id=new_id(), now=now, peer=peer, raw=raw, message_type=BATCH)
    control_id = stamp.message_id[:16]  # FHS-11 and BHS-11 have at most 20 characters
    header: Header | None = None
    try:
        header = Header.read(raw)
        batch = Batch.read(raw, most=profile.max_batch)
    except RemoteProtocolError as exc:
        alone = iter([stamp.refusal(header, exc)])
        return ReceivedBatch(receptions=alone, batch=None, control_id=control_id, now=now)
    count = len(batch.members)
    reason = f"the envelope of {count} message{'' if count == 1 else 's'}"
    envelope = replace(stamp, raw=batch.envelope).reception(header, Verdict.FILTERED, reason)
    if not count:
        if not batch.is_answer:
            written = batch.answer((), control_id=control_id, timestamp=timestamp(now))
            envelope = replace(envelope, answer_code="AA", answers=(written,))
        return ReceivedBatch(receptions=iter([envelope]), batch=None, control_id=control_id, now=now)

    def judged() -> Iterator[Reception]:
        yield envelope
        for member in batch.members:
            yield receive(member, profile, mappers, message_id=new_id(), now=now, peer=peer)

    return ReceivedBatch(receptions=judged(), batch=batch, control_id=control_id, now=now)
