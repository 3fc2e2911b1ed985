"""From the bytes of one HL7 message to its verdict, its events and its answer. Pure: no socket, no clock, no disk.

The rules of answering stand here and nowhere else: an unsupported type, trigger, version or processing id is `AR`;
content that a person at the sender must put right is `AE`; what is listed as ignorable is `AA` and counted; an
acknowledgement is never answered. What a message means is the adapter's `Mapper`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import Final, Literal

from broker.adapter import Reception, Verdict
from broker.errors import (
    APPLICATION_INTERNAL_ERROR,
    DUPLICATE_KEY,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    UNSUPPORTED_EVENT_CODE,
    UNSUPPORTED_MESSAGE_TYPE,
    UNSUPPORTED_PROCESSING_ID,
    UNSUPPORTED_VERSION,
    AckCode,
    Location,
    Refused,
    RemoteProtocolError,
)
from broker.event import Draft, Event
from broker.hl7.ack import AckError, answers, build_ack, is_ack
from broker.hl7.demographics import Issuers
from broker.hl7.er7 import SEVERAL_FLAG, Header, Message, is_batch
from broker.hl7.validate import validate

VERSIONS: Final = re.compile(r"(2\.[1-8](\.\d{1,2})*\+?|P)?")
"""MSH-12 that is taken: 2.1 to 2.8 with what senders append, and the two odd ones that are seen (empty, `P`)."""

_NOT_ANSWERED: Final = "an acknowledgement is not answered"

_KEPT: Final = (Verdict.ACCEPTED, Verdict.FILTERED)
"""Verdicts whose answer stands for later repeats (invariant 3)."""

_REUSED: Final = Refused(
    "the control id in MSH-10 came before with other content",
    ack_code="AE",
    error_code=DUPLICATE_KEY,
    location=Location(segment="MSH", field=10),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one listener reads what it is sent: everything about a sender that is a setting."""

    name: str
    site: str
    issuers: Issuers
    charset: str = "8859/1"
    """MSH-18 where the sender leaves it empty and the bytes are not UTF-8."""
    fallback_charset: str = ""
    processing_ids: tuple[str, ...] = ()
    """MSH-11 that is taken; empty: any."""
    ignore: tuple[str, ...] = ()
    """Message types acknowledged and counted without effect: `ADT^A60`, `MDM^*`."""
    validate: Literal["off", "warn", "strict"] = "off"
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Code tables that the mapping reads, by name."""


Mapper = Callable[[Message, Profile], Sequence[Draft]]
"""A message's meaning. No drafts: nothing to do (`AA`, counted). Raises `UnmappableError` or `Refused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hl7Reader:
    """An HL7 listener without its socket (`broker.adapter.Reader`): its profile and the meanings of what it takes."""

    profile: Profile
    mappers: Mapping[str, Mapper]

    def receive(self, raw: bytes, *, message_id: str, now: datetime, peer: str = "") -> Reception:
        """See `receive`."""
        return receive(raw, self.profile, self.mappers, message_id=message_id, now=now, peer=peer)


def receive(
    raw: bytes,
    profile: Profile,
    mappers: Mapping[str, Mapper],
    *,
    message_id: str,
    now: datetime,
    peer: str = "",
) -> Reception:
    """Judges one message. Never raises for what the bytes hold: every input has a verdict and, where due, an answer."""
    stamp = _Stamp(profile=profile, message_id=message_id, now=now, peer=peer, raw=raw)
    header: Header | None = None
    try:
        header = Header.read(raw)
        if is_ack(header):
            return stamp.reception(header, Verdict.FILTERED, _NOT_ANSWERED)
        _check(raw, header, profile)
        kind = f"{header.message_code}^{header.trigger.upper()}"
        if ignored := [pattern for pattern in profile.ignore if fnmatchcase(kind, pattern)]:
            reason = f"listed as ignorable: {ignored[0]}"
            return stamp.reception(header, Verdict.FILTERED, reason, answer="AA")
        mapper = _mapper(kind, header, mappers)
        message = Message.parse(
            raw, default_charset=profile.charset, fallback_charset=profile.fallback_charset
        )
        if SEVERAL_FLAG in message.flags:
            raise Refused(
                "several messages stand in one frame", ack_code="AE", error_code=SEGMENT_SEQUENCE_ERROR,
                location=Location(segment="MSH", sequence=2),
            )  # fmt: skip
        flags = (*message.flags, *_validated(message, profile))
        events = stamp.events(mapper(message, profile))
    except RemoteProtocolError as exc:
        return stamp.refusal(header, exc)
    except Exception as exc:  # noqa: BLE001 - the edge of somebody else's mapping
        # A bug in a mapping must not cost the message: it is kept, refused for now, and the operator is told.
        broken = Refused(
            "the message could not be mapped", ack_code="AE", error_code=APPLICATION_INTERNAL_ERROR
        )
        place = extract_tb(exc.__traceback__)[-1]
        flag = f"bug-{type(exc).__name__}-{Path(place.filename).name}:{place.lineno}"
        return stamp.refusal(header, broken, flag=flag)
    verdict = Verdict.ACCEPTED if events else Verdict.FILTERED
    reason = "" if events else f"{kind} holds nothing to do"
    return stamp.reception(
        header, verdict, reason, answer="AA", events=events, charset=message.charset, flags=flags
    )


def refuse(
    raw: bytes, error: Refused, profile: Profile, *, message_id: str, now: datetime, peer: str = ""
) -> Reception:
    """A message that is refused before it is read: too long, say. `raw` is its beginning, answered by its header."""
    stamp = _Stamp(profile=profile, message_id=message_id, now=now, peer=peer, raw=raw)
    try:
        header: Header | None = Header.read(raw)
    except RemoteProtocolError:
        header = None
    if header is not None and is_ack(header):
        return stamp.reception(header, Verdict.FILTERED, _NOT_ANSWERED)
    return stamp.refusal(header, error)


def _check(raw: bytes, header: Header, profile: Profile) -> None:
    """Raises `Refused` for what no listener of this profile takes, by the header alone."""
    if is_batch(raw):
        raise Refused(
            "a batch is not taken on this listener; send its messages one by one",
            error_code=UNSUPPORTED_MESSAGE_TYPE,
            location=Location(segment="MSH"),
        )
    if not header.control_id:
        raise Refused(
            "MSH-10 is empty", error_code=REQUIRED_FIELD_MISSING, location=Location(segment="MSH", field=10)
        )
    if VERSIONS.fullmatch(header.version) is None:
        raise Refused(
            "MSH-12 is no version from 2.1 to 2.8",
            error_code=UNSUPPORTED_VERSION,
            location=Location(segment="MSH", field=12),
        )
    if profile.processing_ids and header.processing_id not in profile.processing_ids:
        raise Refused(
            "MSH-11 is not taken by this listener",
            error_code=UNSUPPORTED_PROCESSING_ID,
            location=Location(segment="MSH", field=11),
        )


def _mapper(kind: str, header: Header, mappers: Mapping[str, Mapper]) -> Mapper:
    """What this type and trigger mean. Raises `Refused` for those that nobody reads."""
    if kind in mappers:
        return mappers[kind]
    if any(known.startswith(f"{header.message_code}^") for known in mappers):
        raise Refused(
            "the trigger event in MSH-9.2 is not supported by this listener",
            error_code=UNSUPPORTED_EVENT_CODE,
            location=Location(segment="MSH", field=9, component=2),
        )
    raise Refused(
        "the message type in MSH-9 is not supported by this listener",
        error_code=UNSUPPORTED_MESSAGE_TYPE,
        location=Location(segment="MSH", field=9),
    )


def _validated(message: Message, profile: Profile) -> tuple[str, ...]:
    """Flags of deep validation; in strict mode the first finding refuses the message."""
    if profile.validate == "off":
        return ()
    findings = validate(message)
    if findings and profile.validate == "strict":
        first = findings[0]
        raise Refused(first.text, ack_code="AE", error_code="102", location=first.location)
    return tuple(f"invalid:{finding.location}" for finding in findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
    """What every reception of this message has in common."""

    profile: Profile
    message_id: str
    now: datetime
    peer: str
    raw: bytes

    def events(self, drafts: Sequence[Draft]) -> tuple[Event, ...]:
        return tuple(
            Event(
                id=f"{self.message_id}.{number}",
                type=draft.type,
                source=self.profile.name,
                site=self.profile.site,
                time=self.now,
                event_time=draft.time,
                message_id=self.message_id,
                data=draft.data,
            )
            for number, draft in enumerate(drafts)
        )

    def refusal(self, header: Header | None, error: RemoteProtocolError, *, flag: str = "") -> Reception:
        reason = f"{error.location}: {error}" if error.location else str(error)
        flags = (flag,) if flag else ()
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
            message_type=header.message_type if header else "",
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
            keys=search_keys(events),
            events=events,
            reused=partial(self.refusal, header, _REUSED) if header and verdict in _KEPT else None,
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
            timestamp=now.strftime("%Y%m%d%H%M%S%z"),
            # An accept acknowledgement that says "safely stored" says nothing of the content.
            text="" if error is None or code.endswith("A") else str(error),
            error=None if error is None or code.endswith("A") else AckError.of(error),
        )
        for number, code in enumerate(codes)
    )


def search_keys(events: Sequence[Event]) -> tuple[tuple[str, str], ...]:
    """What an operator can find these events by: accession number, Study and instance UID, order numbers, ids."""
    keys: list[tuple[str, str]] = []
    for event in events:
        data = event.data
        if data.patient is not None:
            keys += [("patient", i.value) for i in (*data.patient.identifiers, *data.prior)]
        if data.order is not None:
            keys += [("order", n.value) for n in (data.order.placer_number, data.order.filler_number) if n]
        if data.result is not None:
            keys += [("order", n.value) for n in (data.result.placer_number, data.result.filler_number) if n]
        if data.step is not None:
            keys += [("accession", data.step.accession_number), ("study", data.step.study_uid)]
        if data.instance is not None:
            keys += [
                ("accession", data.instance.accession_number),
                ("study", data.instance.study_uid),
                ("instance", data.instance.sop_instance_uid),
            ]
    return tuple(dict.fromkeys(key for key in keys if key[1]))
