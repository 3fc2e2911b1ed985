"""A batch taken apart into its envelope and its messages, and its answer put together (HL7 v2.5.1 2.10.3).

Bytes only: no member is read, none is judged. Every byte is either the envelope's or a member's. Members are
cut from MSH to the next MSH, BHS, BTS or FTS that begins a segment; SFT and UAC behind FHS and BHS are the
envelope's (v2.6). What else stands outside a member is a member that nobody can read: its MSH was lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from broker.errors import DATA_TYPE_ERROR, SEGMENT_SEQUENCE_ERROR, Location, Refused, Unreadable
from broker.hl7 import charset as charsets
from broker.hl7.header import BOM, Header
from broker.hl7.separators import Separators

_SIGN = rb"[!-/:-@\[-`{-~]"
_BOM = rb"(?:\xef\xbb\xbf)?"
# A line of text that happens to begin with such a word is no segment: a separator, or nothing, stands behind it.
# It begins with a line end, whatever else may follow, because that is what can be looked for fastest.
_NEXT = re.compile(rb"[\r\n]" + _BOM + rb"[ \t]*(MSH|FHS|BHS|BTS|FTS)(?=" + _SIGN + rb"|[\r\n]|\Z)")
_FIRST = re.compile(_BOM + rb"[ \t\r\n]*(FHS|BHS)")
_ENVELOPE = re.compile(
    _BOM + rb"[ \t\r\n]*[^\r\n]*[\r\n]*(?:[ \t]*(?:SFT|UAC)(?=" + _SIGN + rb")[^\r\n]*[\r\n]*)*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What stands between a BHS and its BTS."""

    header: Header | None
    """BHS; None where the sender wrote none."""
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch, or one file of batches."""

    envelope: bytes
    """FHS, BHS, BTS and FTS as they stood, one behind the other."""
    file: Header | None
    """FHS; None where the sender wrote none."""
    groups: tuple[Group, ...]

    @property
    def members(self) -> tuple[bytes, ...]:
        """The messages in order, as they stood."""
        return tuple(member for group in self.groups for member in group.members)

    @property
    def is_answer(self) -> bool:
        """Whether it says that it answers another batch (FHS-12, BHS-12)."""
        headers = (self.file, *(group.header for group in self.groups))
        return any(header is not None and header.reference for header in headers)

    @classmethod
    def read(cls, raw: bytes, *, most: int | None = None) -> Batch:
        """Takes apart what begins with FHS or BHS; trailers may be missing.

        Raises `Unreadable` when it begins with neither; `Refused` when BTS-1 or FTS-1 does not count what came
        (something was lost on the way), when segments of the envelope stand out of order, or when there are
        more than `most` members, or groups.
        """
        file: Header | None = None
        envelope, seen, groups = bytearray(), Counter[str](), _Groups()
        for name, segments, member in _segments(raw):
            ended = seen["FTS"] > 0
            seen[name] += 1
            where = Location(segment=name, sequence=seen[name], field=1)
            if ended or (name == "FHS" and seen.total() > 1) or (name == "FTS" and member):
                raise Refused(
                    "FHS stands first and FTS last: nothing of the batch was taken",
                    ack_code="AE", error_code=SEGMENT_SEQUENCE_ERROR, location=replace(where, field=None),
                )  # fmt: skip
            envelope += segments
            if name == "FHS":
                file = _header(segments, where)
            elif name == "BHS":
                groups.begin(_header(segments, where))
            elif name == "BTS":
                _check_count(segments, where, "messages", len(groups.members))
                groups.end()
            elif name == "FTS":
                # A file without any BHS has no batches to count: some senders count its messages.
                others = () if seen["BHS"] else (groups.taken,)
                _check_count(segments, where, "batches", len(groups.all), *others)
            if member:
                groups.add(member)
            if most is not None and max(groups.taken, len(groups.all)) > most:
                raise Refused(f"the batch holds more than {most} messages, which is what this listener takes")
        found = tuple(Group(header=header, members=tuple(members)) for header, members in groups.all)
        return cls(envelope=bytes(envelope), file=file, groups=found)

    def answer(
        self, acknowledgements: Iterable[Sequence[bytes]], *, control_id: str, timestamp: str
    ) -> bytes:
        """The answer: this batch mirrored, with what is due to each member, in order, in its place.

        Headers and trailers stand where the sender wrote headers, in its separators and character set; FHS-12 and
        BHS-12 name what is answered. `control_id` and `timestamp` are the answer's own, as in `ack.build_ack`.
        """
        due = iter(acknowledgements)
        parts: list[bytes] = []
        if self.file:
            parts.append(_opening("FHS", self.file, f"{control_id}F", timestamp))
        for number, group in enumerate(self.groups):
            found = [ack for _ in group.members for ack in next(due)]
            if group.header:
                parts.append(_opening("BHS", group.header, f"{control_id}{number}", timestamp))
            parts += found
            if group.header:
                parts.append(_closing("BTS", group.header, len(found)))
        if self.file:
            parts.append(_closing("FTS", self.file, len(self.groups)))
        return b"".join(parts)


class _Groups:
    """The groups as far as they were read."""

    def __init__(self) -> None:
        self.all: list[tuple[Header | None, list[bytes]]] = []
        self.taken = 0
        """Members of all groups."""
        self._open = False

    @property
    def members(self) -> list[bytes]:
        """Of the open group; one without BHS is opened where none is open."""
        if not self._open:
            self.begin(None)
        return self.all[-1][1]

    def begin(self, header: Header | None) -> None:
        self.all.append((header, []))
        self._open = True

    def end(self) -> None:
        self._open = False

    def add(self, member: bytes) -> None:
        self.members.append(member)
        self.taken += 1


def _segments(raw: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, bytes of the envelope, bytes of a member: MSH has none of the first, the others seldom the second."""
    first = _FIRST.match(raw)
    if first is None:
        raise Unreadable("the batch does not begin with FHS or BHS", location=Location(segment="BHS"))
    name, start = first[1].decode(), 0
    for mark in chain(_NEXT.finditer(raw, first.end()), (None,)):
        end = mark.start() + 1 if mark else len(raw)
        if name == "MSH":
            yield name, b"", raw[start:end]
        else:
            head = _ENVELOPE.match(raw, start, end)
            cut = head.end() if head and raw[head.end() : end].strip() else end
            yield name, raw[start:cut], raw[cut:end]
        if mark:
            name, start = mark[1].decode(), end


def _header(segment: bytes, where: Location) -> Header:
    try:
        return Header.read(segment)
    except Unreadable as exc:
        raise Refused(
            "the separators of the batch cannot be read",
            ack_code="AE", error_code=SEGMENT_SEQUENCE_ERROR, location=where,
        ) from exc  # fmt: skip


def _check_count(segment: bytes, where: Location, what: str, *came: int) -> None:
    """Raises `Refused` unless the first field is empty or is one of these counts."""
    line = segment.removeprefix(BOM).lstrip().splitlines()[0]
    fields = line.split(line[3:4] or None, 2)
    count = fields[1].strip() if len(fields) > 1 else b""
    if count and not count.isdigit():
        raise Refused(
            f"the number of {what} is no number: nothing of the batch was taken",
            ack_code="AE", error_code=DATA_TYPE_ERROR, location=where,
        )  # fmt: skip
    # Compared as text: a number may be longer than Python converts.
    if count and (count.lstrip(b"0") or b"0") not in [b"%d" % number for number in came]:
        raise Refused(
            f"{came[0]} {what} came, which is not what the sender counted: nothing of the batch was taken",
            ack_code="AE", error_code=SEGMENT_SEQUENCE_ERROR, location=where,
        )  # fmt: skip


def _opening(name: str, header: Header, control_id: str, timestamp: str) -> bytes:
    """FHS or BHS of an answer (2.15.2, 2.15.6): sender and receiver change places, field 12 names the original."""
    fields = [
        name,
        header.separators.encoding_characters or Separators().encoding_characters,
        header.receiving_application,
        header.receiving_facility,
        header.sending_application,
        header.sending_facility,
        timestamp,
        *("", "", ""),
        control_id,
        header.control_id,
    ]
    line = header.separators.field.join(fields).rstrip(header.separators.field)
    return charsets.encode(f"{line}\r", header.codec)[0]


def _closing(name: str, header: Header, count: int) -> bytes:
    return f"{name}{header.separators.field}{count}\r".encode(header.codec)
