"""What every reception of a message has in common, and its acknowledgements. What is answered is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from broker import localtime
from broker.adapter import Reception, Verdict
from broker.errors import DUPLICATE_KEY, AckCode, Location, Refused, RemoteProtocolError
from broker.event import Draft, Event
from broker.hl7.ack import AckError, answers, build_ack
from broker.hl7.er7 import Header
from broker.reception.keys import search_keys, stated_keys
from broker.reception.profile import Profile

BATCH: Final = "BATCH"
"""Message type of the reception that keeps the envelope of a batch, or all of a batch that is refused as a whole."""

_KEPT: Final = (Verdict.ACCEPTED, Verdict.FILTERED)
"""Verdicts whose answer stands for later repeats (invariant 3)."""

_REUSED: Final = Refused(
    "the control id in MSH-10 came before with other content",
    ack_code="AE",
    error_code=DUPLICATE_KEY,
    location=Location(segment="MSH", field=10),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What every reception of this message has in common."""

    profile: Profile
    message_id: str
    now: datetime
    peer: str
    raw: bytes
    message_type: str = ""
    """Where no MSH-9 says it."""
    instants: dict[str, localtime.Instant | None] = field(default_factory=dict, compare=False, repr=False)
    """Times of the message that were read."""

    def events(self, drafts: Sequence[Draft]) -> tuple[Event, ...]:
        return tuple(
            Event(
                id=f"{self.message_id}.{number}",
                type=draft.type,
                source=self.profile.name,
                site=self.profile.site,
                time=self.now,
                event_time=draft.time,
                occurred=self._utc(draft.time),
                as_of=self._utc(draft.data.patient.as_of) if draft.data.patient else None,
                message_id=self.message_id,
                data=draft.data,
            )
            for number, draft in enumerate(drafts)
        )

    def time_flags(self, drafts: Sequence[Draft]) -> tuple[str, ...]:
        """`time-ambiguous`, `time-missing`: local times that the clocks showed twice, or never."""
        texts = {d.time for d in drafts} | {d.data.patient.as_of or "" for d in drafts if d.data.patient}
        read = [self._instant(text) for text in texts]
        found = {
            "time-ambiguous": any(one.ambiguous for one in read if one),
            "time-missing": any(one.missing for one in read if one),
        }
        return tuple(flag for flag, stands in found.items() if stands)

    def _utc(self, text: str | None) -> datetime | None:
        found = self._instant(text) if text else None
        return found.utc if found else None

    def _instant(self, text: str) -> localtime.Instant | None:
        if text not in self.instants:  # several events mostly share their times
            self.instants[text] = localtime.instant(text, self.profile.zone, arrival=self.now)
        return self.instants[text]

    def refusal(
        self, header: Header | None, error: RemoteProtocolError, *, flags: tuple[str, ...] = ()
    ) -> Reception:
        reason = f"{error.location}: {error}" if error.location else str(error)
        return self.reception(
            header, Verdict.REJECTED, reason, answer=error.ack_code, error=error, flags=flags
        )

    def reception(
        self,
        header: Header | None,
        verdict: Verdict,
        reason: str,
        *,
        answer: AckCode | None = None,
        error: RemoteProtocolError | None = None,
        events: tuple[Event, ...] = (),
        charset: str = "",
        flags: tuple[str, ...] = (),
    ) -> Reception:
        return Reception(
            message_id=self.message_id,
            source=self.profile.name,
            site=self.profile.site,
            peer=self.peer,
            protocol="hl7",
            received=self.now,
            message_type=self.message_type or (header.message_type if header else ""),
            control_id=header.control_id if header else "",
            sender=f"{header.sending_application}|{header.sending_facility}" if header else "",
            verdict=verdict,
            reason=reason,
            answer_code=answer or "",
            answers=acknowledge(
                header,
                answers(header, answer) if answer else (),
                message_id=self.message_id,
                now=self.now,
                error=error,
            ),
            raw=self.raw,
            charset=charset,
            flags=flags,
            keys=search_keys(events) if events or header is None else stated_keys(self.raw, header),
            events=events,
            repeat_window=self.profile.repeat_window,
            # What is not answered by itself, an acknowledgement or the envelope of a batch, is not refused either.
            reused=partial(self.refusal, header, _REUSED) if header and answer and verdict in _KEPT else None,
        )


def acknowledge(
    header: Header | None,
    codes: Sequence[str],
    *,
    message_id: str,
    now: datetime,
    error: RemoteProtocolError | None = None,
) -> tuple[bytes, ...]:
    """What leaves to the sender: one acknowledgement for each of these codes of MSA-1."""
    return tuple(
        build_ack(
            header,
            code=code,
            control_id=f"{message_id[:19]}{number}",  # MSH-10 is at most 20 characters before v2.7
            timestamp=timestamp(now),
            # An accept acknowledgement that says "safely stored" says nothing of the content.
            text="" if error is None or code.endswith("A") else str(error),
            error=None if error is None or code.endswith("A") else AckError.of(error),
        )
        for number, code in enumerate(codes)
    )


def timestamp(now: datetime) -> str:
    """As MSH-7 has it, to the second."""
    return now.strftime("%Y%m%d%H%M%S%z")
