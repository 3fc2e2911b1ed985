"""One message judged: its verdict, its events, its answer. What a batch is as a whole is not known here (`batch`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from traceback import extract_tb
from typing import Final

from broker import identity
from broker.adapter import Reception, Verdict
from broker.errors import (
    APPLICATION_INTERNAL_ERROR,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    UNKNOWN_KEY,
    UNSUPPORTED_EVENT_CODE,
    UNSUPPORTED_MESSAGE_TYPE,
    UNSUPPORTED_PROCESSING_ID,
    UNSUPPORTED_VERSION,
    Location,
    Refused,
    RemoteProtocolError,
)
from broker.event import Draft, Patient
from broker.hl7 import garbled
from broker.hl7.ack import is_ack
from broker.hl7.er7 import SEVERAL_FLAG, Header, Message, is_batch
from broker.hl7.validate import validate
from broker.reception.profile import Mapper, Profile
from broker.reception.stamp import BATCH, Stamp

VERSIONS: Final = re.compile(r"(2\.[1-8](\.\d{1,2})*\+?|P)?")
"""MSH-12 that is taken: 2.1 to 2.8 with what senders append, and the two odd ones that are seen (empty, `P`)."""

_NOT_ANSWERED: Final = "an acknowledgement is not answered"


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
    stamp = Stamp(profile=profile, message_id=message_id, now=now, peer=peer, raw=raw)
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


def refuse(
    raw: bytes, error: Refused, profile: Profile, *, message_id: str, now: datetime, peer: str = ""
) -> Reception:
    """A message or batch that is refused before it is read: too long, say. `raw` is its beginning."""
    kind = BATCH if is_batch(raw) else ""
    stamp = Stamp(profile=profile, message_id=message_id, now=now, peer=peer, raw=raw, message_type=kind)
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
