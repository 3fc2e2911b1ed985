"""Answers to queries: RSP with its MSA, its ERRs and whatever segments stand behind them (HL7 v2.5.1 5.3.1, 5.5).

Written with the asker's separators, in the asker's character set. What the segments say is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from broker.errors import LocalProtocolError, Refused
from broker.hl7 import charset as charsets
from broker.hl7.ack import AckError, answer_header, error_segment
from broker.hl7.edit import Verbatim, escape
from broker.hl7.er7 import Header

Segment = tuple[str, Mapping[int, str]]
"""Name and fields by number. Texts are escaped, unless they are `Verbatim`."""

_MSH_18: Final = 17


def build_response(
    header: Header,
    *,
    message_type: tuple[str, str, str],
    code: Literal["AA", "AE"],
    control_id: str,
    timestamp: str,
    errors: Sequence[AckError] = (),
    segments: Sequence[Segment] = (),
    charset: str = "8859/1",
) -> tuple[bytes, int]:
    """The answer to the query with this header, and how many characters its character set could not show.

    `message_type` is MSH-9 (`RSP`, `K22`, `RSP_K21`). `charset` counts where the query's MSH-18 is empty or names none
    that is known; MSH-18 is written where the answer is more than ASCII.
    """
    signs = header.separators
    kind = signs.component.join(message_type)
    msh = answer_header(header, kind, control_id=control_id, timestamp=timestamp)
    lines = [["MSA", code, header.control_id]]
    lines += [error_segment(error, header) for error in errors]
    for name, fields in segments:
        line = [name] + [""] * max(fields, default=0)
        for number, text in fields.items():
            line[number] = text if isinstance(text, Verbatim) else escape(text, signs)
        lines.append(line)
    if any("\r" in field or "\n" in field for line in lines for field in line):
        raise LocalProtocolError("a field holds a segment's end")
    if not all(field.isascii() for line in lines for field in line):
        names = header.charsets if _known(header.charsets) else (charset,)
        msh += [""] * (_MSH_18 - len(msh))
        msh.append((signs.repetition or " ").join(names))
        codec = charsets.declared_codec(names)
    else:
        codec = header.codec
    text = "".join(signs.field.join(line).rstrip(signs.field) + "\r" for line in [msh, *lines])
    return charsets.encode(text, codec)


def _known(names: Sequence[str]) -> bool:
    """Whether text can be written in what MSH-18 names."""
    try:
        return bool(charsets.declared_codec(names))
    except Refused:
        return False
