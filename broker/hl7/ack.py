"""Acknowledgements: which are due, how they are written, how a peer's are read (HL7 v2.5.1 2.9, 2.15).

Pure: when an answer may leave, and what it says about a message, is decided elsewhere. Sentences in answers
name places, never values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from broker.errors import AckCode, Location, Refused, RemoteProtocolError, Unreadable
from broker.hl7 import charset as charsets
from broker.hl7.batch import Batch
from broker.hl7.edit import escape
from broker.hl7.er7 import Header, Message, Separators, is_batch

AckMode = Literal["original", "enhanced"]

DEFAULT_VERSION = "2.5.1"

_CONDITIONS = ("AL", "NE", "ER", "SU")  # table 0155
_CODES = ("AA", "AE", "AR", "CA", "CE", "CR")  # table 0008
TABLE_0357 = {
    "0": "Message accepted",
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AckError:
    """What goes into ERR."""

    code: str = "207"
    """Table 0357."""
    location: Location | None = None
    text: str = ""
    """For a person at the sender."""

    @classmethod
    def of(cls, error: RemoteProtocolError) -> AckError:
        return cls(code=error.error_code, location=error.location, text=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What a peer answered. `text` is the peer's own: it may hold anything, so it is never logged."""

    code: str
    """MSA-1: AA, AE, AR, CA, CE or CR."""
    control_id: str
    """MSA-2 as it stands: whose answer this is."""
    text: str = ""
    error_code: str = ""
    """Table 0357, from ERR-3, ERR-1 or MSA-6; empty when none was given."""

    @property
    def positive(self) -> bool:
        return self.code in ("AA", "CA")


def mode(header: Header) -> AckMode:
    """Enhanced as soon as MSH-15, or MSH-16 as a wish for an answer, holds a value of table 0155.

    A sender that leaves MSH-15 empty and writes NE in MSH-16 alone is answered in original mode: it did not say NE
    where that is obeyed, and silence could not be told from a failure.
    """
    asked = header.accept_ack in _CONDITIONS or header.application_ack in ("AL", "ER", "SU")
    return "enhanced" if asked else "original"


def answers(header: Header | None, outcome: AckCode) -> tuple[str, ...]:
    """The MSA-1 codes to answer with, in order; empty when the sender wants none.

    Enhanced mode: what is refused by rule (AR) ends with its CR, where MSH-15 asks for one. A content error
    (AE) of a message that MSH-16 has answered was safely taken: CA, then AE; where no application
    acknowledgement is due, the accept acknowledgement carries the news: CE.
    """
    if header is None or mode(header) == "original":
        return (outcome,)
    application = (outcome,) if _due(header.application_ack, outcome == "AA") else ()
    accept = "CA" if outcome == "AE" and application else "C" + outcome[1]
    if not _due(header.accept_ack, accept == "CA"):
        return application
    return (accept,) if accept == "CR" else (accept, *application)


def awaits_success(header: Header) -> bool:
    """Whether the receiver of this message answers a success by the standard: what a sender must wait for."""
    asked = {header.accept_ack, header.application_ack} & set(_CONDITIONS)
    return not asked or bool(asked & {"AL", "SU"})


def is_ack(message: Header | Message) -> bool:
    """Whether it is itself an answer, never to be answered. A header alone shows only ACK and MCF."""
    header = message.header if isinstance(message, Message) else message
    return header.message_code in ("ACK", "MCF") or (isinstance(message, Message) and "MSA" in message)


def build_ack(
    header: Header | None,
    *,
    code: str,
    control_id: str,
    timestamp: str,
    text: str = "",
    error: AckError | None = None,
    accept: bool = False,
) -> bytes:
    """The acknowledgement of the message with this header, in its version and with its separators.

    `header` is None when not even MSH could be read. `code` is of table 0008; with `accept` its C form is
    written. `control_id` and `timestamp` are the acknowledgement's own (MSH-10, MSH-7).
    """
    if accept:
        code = "C" + code[1]
    if code not in _CODES:
        raise ValueError("MSA-1 takes a code of table 0008")
    header = header or Header(separators=Separators())
    signs, version = header.separators, _version(header.version)
    msh = answer_header(header, _type(header, version), control_id=control_id, timestamp=timestamp)
    segments = [msh, ["MSA", code, header.control_id, escape(text, signs)]]
    if error is not None:
        segments.append(error_segment(error, header))
    written = [signs.field.join(segment).rstrip(signs.field) for segment in segments]
    if header.charsets and not all(map(str.isascii, written)):
        blanks = signs.field * (18 - len(msh))
        written[0] += blanks + (signs.repetition or " ").join(header.charsets)
    return charsets.encode("\r".join(written) + "\r", header.codec)[0]


def answer_header(header: Header, message_type: str, *, control_id: str, timestamp: str) -> list[str]:
    """MSH of an answer to this header, split at its field separator (the first part is `MSH`), up to MSH-12."""
    signs = header.separators
    return [
        "MSH",
        signs.encoding_characters or Separators().encoding_characters,
        header.receiving_application,
        header.receiving_facility,
        header.sending_application,
        header.sending_facility,
        timestamp,
        "",
        message_type,
        escape(control_id, signs),
        header.processing_id or "P",
        header.version if _version(header.version) else DEFAULT_VERSION,
    ]


def read_ack(raw: bytes) -> Acknowledgement:
    """Raises `Unreadable` when it holds no MSA with a code of table 0008."""
    try:
        message = Message.parse(raw, fallback_charset="8859/1")
    except Refused:  # a character set that we do not know: all that matters here is ASCII
        message = Message(raw, Header.read(raw), "iso8859-1")
    msa = message.first("MSA")
    if msa is None:
        raise Unreadable("the answer holds no MSA", location=Location(segment="MSA"))
    code = msa.get(1).strip().upper()
    if code not in _CODES:
        raise Unreadable("MSA-1 is not a code of table 0008", location=msa.location(1))
    err = message.first("ERR")
    error_code = msa.get(6)
    if err is not None:
        error_code = err.get(3) or err.get(1, 4) or error_code
    return Acknowledgement(
        code=code,
        control_id=msa.text(2).strip(),
        text=msa.get(3) or (err.get(8) if err is not None else ""),
        error_code=error_code,
    )


def read_acks(raw: bytes) -> tuple[Acknowledgement, ...]:
    """Every acknowledgement of an answer: of a batch its members', none where it is empty. Raises as `read_ack`."""
    if not is_batch(raw):
        return (read_ack(raw),)
    try:
        members = Batch.read(raw).members
    except Refused as exc:
        raise Unreadable(str(exc), location=exc.location) from exc
    return tuple(map(read_ack, members))


def _due(condition: str, success: bool) -> bool:
    return condition == "AL" or condition == ("SU" if success else "ER")


def _version(text: str) -> tuple[int, int] | None:
    """(2, 5) of `2.5.1`; None when MSH-12 holds no version of HL7 v2."""
    match = re.fullmatch(r"(2)\.(\d)(?:\.\d{1,2})*", text)
    return (int(match[1]), int(match[2])) if match else None


def _type(header: Header, version: tuple[int, int] | None) -> str:
    """MSH-9: the structure came with 2.3.1 and is written from 2.4 on; 2.1 has the bare code."""
    if not header.trigger or (version and version < (2, 2)):
        return "ACK"
    parts = (
        ("ACK", header.trigger, "ACK") if version is None or version >= (2, 4) else ("ACK", header.trigger)
    )
    return header.separators.component.join(parts)


def error_segment(error: AckError, header: Header) -> list[str]:
    """ERR-2, 3, 4 and 8 from version 2.5 on, ERR-1 alone before, plain text in 2.1; split at the field separator."""
    signs, version = header.separators, _version(header.version) or (2, 5)
    where, meaning = error.location, TABLE_0357.get(error.code, "")
    if version < (2, 2):
        return ["ERR", escape(f"{where or ''} {error.code}".strip(), signs)]
    place = [where.segment, str(where.sequence), str(where.field or "")] if where else ["", "", ""]
    if version < (2, 5):
        condition = (signs.subcomponent or " ").join((error.code, escape(error.text or meaning, signs)))
        return ["ERR", signs.component.join([*place, condition])]
    if where and where.field and (where.component or where.repetition):
        place += [str(where.repetition or 1), str(where.component or "")]
    condition = signs.component.join((error.code, meaning, "HL70357"))
    return [
        "ERR",
        "",
        signs.component.join(place).rstrip(signs.component),
        condition,
        "E",
        "",
        "",
        "",
        escape(error.text, signs),
    ]
