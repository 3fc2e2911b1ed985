"""MSH, read first and by hand: whatever else a message holds, its sender is answered (HL7 v2.5.1 2.15.9).

Also whether a frame holds a batch (2.10.3). Segments beyond the header are `er7`'s, a batch's are `batch`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from broker.errors import Location, Unreadable
from broker.hl7.separators import Separators, is_sign, part, read_separators

BOM = b"\xef\xbb\xbf"
_HEADERS = (b"MSH", b"FHS", b"BHS")
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """MSH, read by hand so that even a message which cannot be read further gets a proper answer.

    Applications, facilities and the control id are full field text with their escapes, to be echoed as they
    stand. Of a batch it is FHS or BHS: no message type, the batch's own control id.
    """

    separators: Separators
    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    datetime: str = ""
    message_code: str = ""
    trigger: str = ""
    structure: str = ""
    control_id: str = ""
    reference: str = ""
    """FHS-12, BHS-12: the control id of the batch that this one answers."""
    processing_id: str = ""
    version: str = ""
    accept_ack: str = ""
    """MSH-15."""
    application_ack: str = ""
    """MSH-16."""
    charset: str = ""
    """MSH-18, first repetition."""
    charsets: tuple[str, ...] = ()
    codec: str = "utf-8"
    """What this header was read with, so that what is echoed keeps its bytes."""

    @property
    def message_type(self) -> str:
        """`ADT^A01`, whatever the message's own component separator is."""
        return f"{self.message_code}^{self.trigger}" if self.trigger else self.message_code

    @classmethod
    def read(cls, raw: bytes) -> Header:
        """Raises `Unreadable` when `raw` does not begin with MSH (or FHS, BHS) and separators."""
        start = _start(raw)
        line = raw[start : _line_end(raw, start)]
        return _kept(line) if len(line) <= _KEPT_LENGTH else _read(line)


_KEPT_LENGTH = 1000
"""Bytes of a header that is kept: no sender can fill the memory with those that it makes longer."""


def _read(line: bytes) -> Header:
    name = line[:3]
    if name not in _HEADERS:
        raise Unreadable("the message does not begin with MSH", location=Location(segment="MSH"))
    text, codec = _decode_header(line)
    field = text[3:4]
    if not is_sign(field):
        raise Unreadable("MSH-1 is not a field separator", location=Location(segment="MSH", field=1))
    fields = [value.strip() for value in text.split(field)]
    if name == b"MSH":
        control_id, reference = fields[9] if len(fields) > 9 else "", ""
    else:
        control_id, reference, *_ = [*fields[10:12], "", ""]
        del fields[7:]  # what follows in FHS and BHS means other things
    fields += [""] * (18 - len(fields))
    separators = read_separators(field, fields[1])
    repetition, component = separators.repetition, separators.component

    def first(value: str) -> str:
        plain = not value or value.isalnum()
        return value if plain else part(part(value, repetition, 1), component, 1).strip()

    code, trigger, structure, *_ = [*map(str.strip, fields[8].split(component)), "", ""]
    sets = tuple(map(first, fields[17].split(repetition or None))) if fields[17] else ()
    return Header(
        separators=separators,
        sending_application=fields[2],
        sending_facility=fields[3],
        receiving_application=fields[4],
        receiving_facility=fields[5],
        datetime=first(fields[6]),
        message_code=code,
        trigger=trigger,
        structure=structure,
        control_id=control_id,
        reference=reference,
        processing_id=first(fields[10]),
        version=first(fields[11]),
        accept_ack=fields[14],
        application_ack=fields[15],
        charset=sets[0] if sets else "",
        charsets=sets,
        codec=codec,
    )


_kept = lru_cache(maxsize=256)(_read)
"""A message is asked for its header wherever it comes by, from its listener to its last delivery. What follows from the
bytes alone is never out of date."""


def is_batch(raw: bytes) -> bool:
    """Whether it begins with FHS or BHS (2.10.3)."""
    start = _start(raw)
    return raw[start : start + 3] in (b"FHS", b"BHS")


def _start(raw: bytes) -> int:
    """Where the first segment begins: after a BOM, blank lines and blanks."""
    if raw.startswith(b"MSH"):
        return 0
    body = raw.removeprefix(BOM)
    return len(raw) - len(body.lstrip(_BLANKS))


def _line_end(raw: bytes, start: int) -> int:
    end = raw.find(b"\r", start)
    end = end if end >= 0 else len(raw)
    line_feed = raw.find(b"\n", start, end)
    return line_feed if line_feed >= 0 else end


def _decode_header(line: bytes) -> tuple[str, str]:
    """Text and codec of the header, whose MSH-18 is not known yet: UTF-8, else Latin-1, which holds all."""
    try:
        return line.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return line.decode("iso8859-1"), "iso8859-1"
