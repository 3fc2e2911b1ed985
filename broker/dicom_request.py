"""A request of a DICOM service as commit 1 writes it: taken, with the events that it comes to, or refused. Pure.

What a request means, and what it is answered, its adapter's `mapping` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.adapter import Claim, Reception, Verdict
from broker.dicom import status
from broker.event import Draft, Event
from broker.reception import search_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is kept of a request whatever becomes of it."""

    source: str
    """Name of the listener."""
    site: str
    message_id: str
    received: datetime
    message_type: str
    """`C-STORE`, `N-CREATE` …"""
    calling_aet: str
    raw: bytes = b""
    """A Part 10 file."""
    blob: str = ""
    """Where in the spool it stands, if it does."""

    def event(self, draft: Draft, number: int = 0) -> Event:
        """In its envelope. `number`: which of the request's events it is."""
        return Event(
            id=f"{self.message_id}.{number}",
            type=draft.type,
            source=self.source,
            site=self.site,
            time=self.received,
            message_id=self.message_id,
            data=draft.data,
        )

    def taken(
        self, drafts: Sequence[Draft], *, flags: Sequence[str] = (), claim: Claim | None = None
    ) -> Reception:
        """Answered 0000."""
        events = tuple(self.event(draft, number) for number, draft in enumerate(drafts))
        return self._reception(
            Verdict.ACCEPTED,
            status.SUCCESS,
            keys=search_keys(events),
            events=events,
            flags=flags,
            claim=claim,
        )

    def refused(self, code: int, reason: str, keys: Sequence[tuple[str, str]] = ()) -> Reception:
        """Answered with a failure. `reason` names places, never values."""
        return self._reception(Verdict.REJECTED, code, reason, keys=keys)

    def _reception(
        self,
        verdict: Verdict,
        code: int,
        reason: str = "",
        *,
        keys: Sequence[tuple[str, str]],
        events: tuple[Event, ...] = (),
        flags: Sequence[str] = (),
        claim: Claim | None = None,
    ) -> Reception:
        return Reception(
            message_id=self.message_id,
            source=self.source,
            site=self.site,
            peer=self.calling_aet,
            protocol="dicom",
            received=self.received,
            message_type=self.message_type,
            sender=self.calling_aet,
            verdict=verdict,
            reason=reason,
            answer_code=f"{code:04X}",
            raw=self.raw,
            blob=self.blob,
            flags=tuple(flags),
            keys=tuple(keys),
            events=events,
            claim=claim,
        )
