"""A listener without its socket, of HL7. How it judges stands in `message` and `batch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from broker.adapter import Reception
from broker.reception.batch import ReceivedBatch, receive_batch
from broker.reception.message import receive
from broker.reception.profile import Mapper, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Hl7Reader:
    """An HL7 listener without its socket (`broker.adapter.Reader`): its profile and the meanings of what it takes."""

    profile: Profile
    mappers: Mapping[str, Mapper]

    def receive(self, raw: bytes, *, message_id: str, now: datetime, peer: str = "") -> Reception:
        """See `receive`."""
        return receive(raw, self.profile, self.mappers, message_id=message_id, now=now, peer=peer)

    def receive_batch(
        self, raw: bytes, *, new_id: Callable[[], str], now: datetime, peer: str = ""
    ) -> ReceivedBatch:
        """See `receive_batch`."""
        return receive_batch(raw, self.profile, self.mappers, new_id=new_id, now=now, peer=peer)
