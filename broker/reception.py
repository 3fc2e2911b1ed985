"""From the bytes of an HL7 message or batch to verdict, events and answer. Pure: no socket, no clock, no disk.

The rules of answering stand here and nowhere else: an unsupported type, trigger, version or processing id is `AR`;
content that a person at the sender must put right is `AE`; what is listed as ignorable is `AA` and counted; an
acknowledgement is never answered; a batch is taken or refused member by member, and as a whole only where it is no
batch or something of it was lost. What a message means is the adapter's `Mapper`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import Final, Literal
from zoneinfo import ZoneInfo

from broker import identity, localtime
from broker.adapter import REPEAT_WINDOW, Reception, Verdict
from broker.errors import (
    APPLICATION_INTERNAL_ERROR,
    DUPLICATE_KEY,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    UNKNOWN_KEY,
    UNSUPPORTED_EVENT_CODE,
    UNSUPPORTED_MESSAGE_TYPE,
    UNSUPPORTED_PROCESSING_ID,
    UNSUPPORTED_VERSION,
    AckCode,
    Location,
    Refused,
    RemoteProtocolError,
)
from broker.event import Draft, Event, Patient
from broker.hl7 import garbled
from broker.hl7.ack import AckError, answers, build_ack, is_ack
from broker.hl7.batch import Batch
from broker.hl7.demographics import Issuers
from broker.hl7.er7 import NULL, SEVERAL_FLAG, Header, Message, is_batch
from broker.hl7.protection import Rule
from broker.hl7.validate import validate

VERSIONS: Final = re.compile(r"(2\.[1-8](\.\d{1,2})*\+?|P)?")
"""MSH-12 that is taken: 2.1 to 2.8 with what senders append, and the two odd ones that are seen (empty, `P`)."""

BATCH: Final = "BATCH"
"""Message type of the reception that keeps the envelope of a batch, or all of a batch that is refused as a whole."""

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
    mojibake: garbled.Policy = "flag"
    """What becomes of a message with UTF-8 that was read as Latin-1."""
    processing_ids: tuple[str, ...] = ()
    """MSH-11 that is taken; empty: any."""
    ignore: tuple[str, ...] = ()
    """Message types acknowledged and counted without effect: `ADT^A60`, `MDM^*`."""
    validate: Literal["off", "warn", "strict"] = "off"
    repeat_window: timedelta = REPEAT_WINDOW
    """How long the same control id means the same message (invariant 3)."""
    max_batch: int | None = None
    """Most messages in one batch."""
    protection: tuple[Rule, ...] = ()
    """Where this sender says that an address is protected; only PAS may."""
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Code tables that the mapping reads, by name."""
    zone: ZoneInfo = localtime.OSLO
    """Where times without an offset are local."""


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

    def receive_batch(
        self, raw: bytes, *, new_id: Callable[[], str], now: datetime, peer: str = ""
    ) -> ReceivedBatch:
        """See `receive_batch`."""
        return receive_batch(raw, self.profile, self.mappers, new_id=new_id, now=now, peer=peer)


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
        stamp = _timestamp(self.now)
        return (self.batch.answer(answers[1:], control_id=self.control_id, timestamp=stamp),)


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
        check_header(raw, header, profile.processing_ids)
        kind = f"{header.message_code}^{header.trigger.upper()}"
        if ignored := [pattern for pattern in profile.ignore if fnmatchcase(kind, pattern)]:
            reason = f"listed as ignorable: {ignored[0]}"
            return stamp.reception(header, Verdict.FILTERED, reason, answer="AA")
        mapper = _mapper(kind, header, mappers)
        message = Message.parse(
            raw,
            header=header,
            default_charset=profile.charset,
            fallback_charset=profile.fallback_charset,
        )
        if SEVERAL_FLAG in message.flags:
            raise Refused(
                "several messages stand in one frame", ack_code="AE", error_code=SEGMENT_SEQUENCE_ERROR,
                location=Location(segment="MSH", sequence=2),
            )  # fmt: skip
        message, remarks = garbled.judged(message, profile.mojibake)
        drafts = mapper(message, profile)
        of_numbers, objection = _identified(drafts, message, profile.issuers.rules)
        flags = (
            *message.flags,
            *remarks,
            *_validated(message, profile),
            *stamp.time_flags(drafts),
            *of_numbers,
        )
        if objection:
            return stamp.refusal(header, objection, flags=flags)
        events = stamp.events(drafts)
    except RemoteProtocolError as exc:
        return stamp.refusal(header, exc)
    except Exception as exc:  # noqa: BLE001 - the edge of somebody else's mapping
        # A bug in a mapping must not cost the message: it is kept, refused for now, and the operator is told.
        broken = Refused(
            "the message could not be mapped", ack_code="AE", error_code=APPLICATION_INTERNAL_ERROR
        )
        place = extract_tb(exc.__traceback__)[-1]
        flag = f"bug-{type(exc).__name__}-{Path(place.filename).name}:{place.lineno}"
        return stamp.refusal(header, broken, flags=(flag,))
    verdict = Verdict.ACCEPTED if events else Verdict.FILTERED
    reason = "" if events else f"{kind} holds nothing to do"
    return stamp.reception(
        header, verdict, reason, answer="AA", events=events, charset=message.charset, flags=flags
    )


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
    stamp = _Stamp(profile=profile, message_id=new_id(), now=now, peer=peer, raw=raw, message_type=BATCH)
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
            written = batch.answer((), control_id=control_id, timestamp=_timestamp(now))
            envelope = replace(envelope, answer_code="AA", answers=(written,))
        return ReceivedBatch(receptions=iter([envelope]), batch=None, control_id=control_id, now=now)

    def judged() -> Iterator[Reception]:
        yield envelope
        for member in batch.members:
            yield receive(member, profile, mappers, message_id=new_id(), now=now, peer=peer)

    return ReceivedBatch(receptions=judged(), batch=batch, control_id=control_id, now=now)


def refuse(
    raw: bytes, error: Refused, profile: Profile, *, message_id: str, now: datetime, peer: str = ""
) -> Reception:
    """A message or batch that is refused before it is read: too long, say. `raw` is its beginning."""
    kind = BATCH if is_batch(raw) else ""
    stamp = _Stamp(profile=profile, message_id=message_id, now=now, peer=peer, raw=raw, message_type=kind)
    try:
        header: Header | None = Header.read(raw)
    except RemoteProtocolError:
        header = None
    if header is not None and is_ack(header):
        return stamp.reception(header, Verdict.FILTERED, _NOT_ANSWERED)
    return stamp.refusal(header, error)


def check_header(raw: bytes, header: Header, processing_ids: Sequence[str] = ()) -> None:
    """Raises `Refused` for what no listener takes, by the header alone. `processing_ids`: MSH-11; empty: any."""
    if is_batch(raw):
        raise Refused(
            "a batch stands where one message is expected",
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
    if processing_ids and header.processing_id not in processing_ids:
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


def _identified(
    drafts: Sequence[Draft], message: Message, rules: identity.Rules
) -> tuple[tuple[str, ...], Refused | None]:
    """What is remarked of the patients' identifiers, each flag once; and the refusal, where one of PID-3 causes it.

    Those of MRG-1 refuse nothing: a wrong number must be able to end.
    """
    current: dict[str, None] = {}
    ended: dict[str, None] = {}
    judged: Patient | None = None
    for data in (draft.data for draft in drafts):
        if data.patient is not None and data.patient is not judged:  # several drafts often share one
            judged = data.patient
            for identifier in judged.identifiers:
                said = identity.flags(identifier, rules, birth_date=judged.birth_date or "")
                current |= dict.fromkeys(said)
        for identifier in data.prior:
            ended |= dict.fromkeys(identity.flags(identifier, rules))
    emergency = message["PID-31"] == "Y" or message["PV1-2"] == "E"
    why = identity.objection(current, rules, emergency=emergency)
    error = Refused(
        f"PID-3 {why}", ack_code="AE", error_code=UNKNOWN_KEY, location=Location(segment="PID", field=3)
    )
    return tuple(current | ended), error if why else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
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
            timestamp=_timestamp(now),
            # An accept acknowledgement that says "safely stored" says nothing of the content.
            text="" if error is None or code.endswith("A") else str(error),
            error=None if error is None or code.endswith("A") else AckError.of(error),
        )
        for number, code in enumerate(codes)
    )


def _timestamp(now: datetime) -> str:
    """As MSH-7 has it, to the second."""
    return now.strftime("%Y%m%d%H%M%S%z")


_STATED: Final = (
    ("patient", "PID", 3),
    ("accession", "IPC", 1),
    ("accession", "OBR", 18),
    ("order", "ORC", 2),
    ("order", "ORC", 3),
)
"""Where HL7 v2.5.1 has what `search_keys` reads of events: kind, segment, field."""


def stated_keys(raw: bytes, header: Header) -> tuple[tuple[str, str], ...]:
    """What a message that made no events can be found by: a refused order is looked for by the patient it names."""
    if is_batch(raw):
        return ()  # its members have theirs
    message = Message(raw, header, "latin-1")  # numbers are ASCII, and any bytes are Latin-1
    keys = [
        (kind, repetition.get())
        for kind, name, field in _STATED
        for segment in message.all(name)
        for repetition in segment.repetitions(field)
    ]
    return tuple(dict.fromkeys(key for key in keys if key[1].isprintable() and key[1] not in ("", NULL)))


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
        if data.performed is not None:
            keys.append(("instance", data.performed.uid))
            for one in data.performed.steps:
                keys += [("accession", one.accession_number), ("study", one.study_uid)]
        if data.instance is not None:
            keys += [
                ("accession", data.instance.accession_number),
                ("study", data.instance.study_uid),
                ("instance", data.instance.sop_instance_uid),
            ]
        if data.study is not None:
            keys += [
                ("accession", data.study.accession_number),
                ("study", data.study.study_uid),
                ("instance", data.study.transaction_uid),
            ]
    return tuple(dict.fromkeys(key for key in keys if key[1]))
