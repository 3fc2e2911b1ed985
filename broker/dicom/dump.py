"""A data set as DCMTK's text (`dcmdump`, `dump2dcm`) to attributes and back. Pure; reads no `=file` values.

One element a line: `(gggg,eeee) VR [text]`, `VR 4` for numbers, `VR =Name` for a UID that has one, `(no value
available)`; sequences and items end with (fffe,e0dd) and (fffe,e00d), or with the text. What stands behind `#` is for
people.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydicom._uid_dict import UID_dictionary

from broker.dicom import charset as charsets
from broker.dicom import vr as vr_rules
from broker.dicom.attributes import SPECIFIC_CHARACTER_SET, Attributes, key_of
from broker.errors import RemoteProtocolError

_LINE: Final = re.compile(r"\s*\(([0-9a-fA-F]{4}),([0-9a-fA-F]{4})\)\s+(\S\S?)(?:\s+(.*))?")
_SET: Final = re.compile(rb"\(0008,0005\)\s+CS\s+\[([^\]\n]*)\]")
_TEXT: Final = re.compile(r"\[(.*)\]\s*(?:#.*)?")
_ITEM, _ITEM_END, _END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UIDS: Final = {keyword: uid for uid, (_, _, _, _, keyword) in UID_dictionary.items() if keyword}


def looks_like(raw: bytes) -> bool:
    """Whether the bytes are such a text: their first line that is no comment is an element's."""
    lines = (line.strip() for line in raw.split(b"\n", 200)[:200])
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return _LINE.fullmatch(first.decode("latin-1")) is not None


def read(raw: bytes) -> Attributes:
    """The attributes, without group lengths and file meta information. `RemoteProtocolError` names the line."""
    declared = _SET.search(raw)
    terms = declared[1].decode("ascii", "replace").split("\\") if declared else [charsets.UTF_8]
    text = charsets.decode(raw, charsets.codecs(terms))
    top: dict[str, Any] = {}
    stack: list[tuple[dict[str, Any], list[Any]]] = []
    current = top
    items: list[Any] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError(f"line {number}: no element (gggg,eeee) VR value")
        tag, vr = int(match[1] + match[2], 16), match[3]
        if tag == _ITEM:
            if not stack:
                raise RemoteProtocolError(f"line {number}: an item outside a sequence")
            current = {}
            items.append(current)
        elif tag in (_ITEM_END, _END):
            if tag == _END and stack:
                current, items = stack.pop()
        elif vr == "SQ":
            stack.append((current, items))
            found: list[Any] = []
            current[key_of(tag)] = items = found
        elif tag >> 16 != 2 and tag & 0xFFFF:
            current[key_of(tag)] = _value(match[4] or "", vr, number)
    return _frozen(top)


def _value(text: str, vr: str, number: int) -> str | tuple[str, ...]:
    text = text.strip()
    if bracketed := _TEXT.fullmatch(text):
        value = bracketed[1]
    elif not text or text.startswith(("(", "#")):
        value = ""  # `(no value available)`
    else:
        value = text.split("#")[0].strip()
        if value.startswith("="):
            if value[1:] not in _UIDS:
                raise RemoteProtocolError(f"line {number}: neither a UID nor the name of one")
            value = _UIDS[value[1:]]
    if vr in vr_rules.UNDIVIDED:
        return value.rstrip(" \0")
    parts = tuple(part.strip(" \0") for part in value.split("\\"))
    return parts if len(parts) > 1 else parts[0]


def _frozen(value: dict[str, Any]) -> Attributes:
    return {
        key: tuple(_frozen(item) for item in part) if isinstance(part, list) else part
        for key, part in value.items()
        if key != SPECIFIC_CHARACTER_SET
    }
