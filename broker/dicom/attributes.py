"""DICOM attributes as plain JSON-able values, to and from pydicom data sets.

An `Attributes` is a mapping from keyword (`PatientID`; `gggg,eeee` where the dictionary has none) to text,
several texts, or the items of a sequence. Binary values have no place here: images stay files. Nothing is
cut or repaired in silence: `faults` says which rule a value breaks, naming the place and the rule, never
the value. PS3.5 6.2, 7.5.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, Union

from pydicom import config as pydicom_config
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from broker.dicom import charset as charsets
from broker.dicom import vr as vr_rules
from broker.dicom.elements import tag_name
from broker.errors import LocalProtocolError, RemoteProtocolError
from broker.event import Identifier, PersonName
from broker.text import encodable, nfc, transliterate

Value = Union[str, tuple[str, ...], tuple["Attributes", ...]]  # noqa: UP007 - a recursive alias: `|` cannot quote
Attributes = Mapping[str, Value]

SPECIFIC_CHARACTER_SET = "SpecificCharacterSet"
_TAG_KEY = re.compile(r"([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})")


class VRFault(NamedTuple):
    """One broken rule: where, and which rule. Never the value."""

    keyword: str
    text: str


def tag_of(key: str) -> int:
    """The tag of a keyword or of `gggg,eeee`. `LocalProtocolError` when it is neither."""
    tag = _tag_of(key)
    if tag is None:
        raise LocalProtocolError(f"{key}: not a DICOM keyword")
    return tag


def place_of(key: str) -> str:
    """`(gggg,eeee)`, as refusals and lists name an attribute. `LocalProtocolError` as of `tag_of`."""
    return tag_name(tag_of(key))


@lru_cache(maxsize=4096)
def _tag_of(key: str) -> int | None:
    tag = tag_for_keyword(key)
    if tag is not None:
        return int(tag)
    match = _TAG_KEY.fullmatch(key)
    return int(match[1] + match[2], 16) if match else None


@lru_cache(maxsize=4096)
def key_of(tag: int) -> str:
    """The keyword of a tag, else `gggg,eeee`; so too where several tags share it (60xx, 50xx: PS3.5 7.6)."""
    keyword = keyword_for_tag(tag)
    if keyword and tag_for_keyword(keyword) == tag:
        return keyword
    return f"{tag >> 16:04X},{tag & 0xFFFF:04X}"


@lru_cache(maxsize=4096)
def vr_of(key: str) -> str:
    """The VR of the data dictionary: the first where it leaves a choice, UN where it knows none."""
    tag = tag_of(key)
    if (tag >> 16) % 2 and 0x0010 <= tag & 0xFFFF <= 0x00FF:
        return "LO"  # private creator (PS3.5 7.8.1)
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return vr.split(" ")[0]


# --- from pydicom ---------------------------------------------------------------------------------


def from_dataset(ds: Dataset, *, charset: str = "") -> Attributes:
    """The data set's attributes, text decoded, padding trimmed; group lengths and binary values left out.

    `charset` is the defined term that holds where the data set names none. A private value whose VR nobody says (UN:
    Implicit VR) is text where it can be. `RemoteProtocolError` names a value that cannot be read.
    """
    return _from_dataset(ds, (charset,))


def _from_dataset(ds: Dataset, terms: tuple[str, ...]) -> Attributes:
    declared = _element(ds, 0x00080005)
    if declared is not None and declared.value:
        text = _raw_text(declared, ("ascii",), "CS")
        terms = tuple(part.strip() for part in text.split("\\"))
    encodings = charsets.codecs(terms)
    attributes: dict[str, Value] = {}
    for tag in sorted(ds.keys()):
        if tag & 0xFFFF == 0:
            continue  # group length, retired
        element = _element(ds, tag)
        vr = element.VR or vr_of(key_of(tag))
        if vr == "SQ":
            items = _converted(ds, tag) or ()
            attributes[key_of(tag)] = tuple(_from_dataset(item, terms) for item in items)
        elif vr in vr_rules.BINARY:
            if not element.value:
                attributes[key_of(tag)] = ""
            elif vr == "UN" and (tag >> 16) % 2 and isinstance(element.value, bytes):
                text = charsets.decode(element.value, encodings).strip(" \0")
                if text and text.isprintable():
                    attributes[key_of(tag)] = text
        else:
            attributes[key_of(tag)] = _value_of(ds, tag, element, vr, encodings)
    return attributes


def _value_of(ds: Dataset, tag: Any, element: Any, vr: str, encodings: tuple[str, ...]) -> Value:
    if not element.value and element.value != 0:
        return ""
    if vr in vr_rules.INTEGER or vr in vr_rules.FLOAT:
        value = _converted(ds, tag)
        several = isinstance(value, (list, tuple)) or hasattr(value, "append")
        return tuple(str(v) for v in value) if several else str(value)
    return _divided(_raw_text(element, encodings, vr), vr)


def _divided(text: str, vr: str) -> Value:
    if vr in vr_rules.UNDIVIDED:
        return text.rstrip(" \0")
    parts = tuple(part.strip(" \0") for part in text.split("\\"))
    return parts if len(parts) > 1 else parts[0]


def _element(ds: Dataset, tag: int) -> Any:
    """The element as it stands, None where there is none. pydicom converts some: an empty one of no known VR, say."""
    try:
        return ds.get_item(tag)
    except Exception as exc:
        raise RemoteProtocolError(f"{key_of(tag)}: the element cannot be read") from exc


def _converted(ds: Dataset, tag: Any) -> Any:
    """The value as pydicom reads it. `RemoteProtocolError` where the bytes are none of the VR."""
    try:
        return ds[tag].value
    except Exception as exc:
        raise RemoteProtocolError(f"{key_of(tag)}: the value cannot be read") from exc


def _raw_text(element: Any, encodings: tuple[str, ...], vr: str) -> str:
    """The element's text, backslashes between values. Read from the bytes where they have not been decoded
    yet: pydicom's own reading warns with the value in its text, and replaces what it cannot decode."""
    value = element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        return _decoded(value, encodings, vr)
    if isinstance(value, (list, tuple)) or hasattr(value, "append"):
        return nfc("\\".join(str(v) for v in value))
    return nfc(str(value))


def _decoded(raw: bytes, encodings: tuple[str, ...], vr: str) -> str:
    if vr not in vr_rules.TEXT:
        return charsets.decode(raw, ("ascii",))
    if b"\x1b" in raw:  # the code extension ends at every delimiter, the backslash too
        pieces = raw.split(b"\\")
        return "\\".join(charsets.decode(piece, encodings, person_name=vr == "PN") for piece in pieces)
    return charsets.decode(raw, encodings)


def from_bytes(raw: bytes, vr: str, encodings: tuple[str, ...]) -> Value:
    """One value of a VR that is text, as `from_dataset` reads it; `encodings` from `broker.dicom.charset.codecs`."""
    return _divided(_decoded(raw, encodings, vr), vr) if raw else ""


# --- to pydicom -----------------------------------------------------------------------------------


def to_dataset(attributes: Attributes, *, charset: str = charsets.UTF_8) -> Dataset:
    """The data set, its text fit for the defined term `charset`: what that cannot show is transliterated.

    (0008,0005) is set when there is text beyond ASCII, or when the attributes ask for it by having the key.
    `LocalProtocolError` for a key or a number that DICOM does not know; length and form are `faults`'
    business.
    """
    shown, _ = transliterated(attributes, charset)
    ds = _to_dataset(shown)
    if SPECIFIC_CHARACTER_SET in attributes or any(not text.isascii() for text in texts(shown)):
        _set(ds, SPECIFIC_CHARACTER_SET, charset)
    return ds


def _to_dataset(attributes: Attributes) -> Dataset:
    ds = Dataset()
    for key, value in attributes.items():
        if key != SPECIFIC_CHARACTER_SET:
            _set(ds, key, value)
    return ds


def _set(ds: Dataset, key: str, value: Value) -> None:
    vr = vr_of(key)
    converted: Any
    if vr == "SQ":
        converted = DicomSequence([_to_dataset(item) for item in _items(key, value)])
    elif not value:
        converted = "" if vr not in vr_rules.BINARY else None
    elif vr in vr_rules.INTEGER or vr in vr_rules.FLOAT:
        numbers = [_number(key, text, vr) for text in _texts_of(value)]
        converted = numbers if len(numbers) > 1 else numbers[0]
    elif vr in vr_rules.BINARY:
        raise LocalProtocolError(f"{key}: a value of VR {vr} cannot be written as text")
    else:
        parts = list(_texts_of(value))
        converted = parts if len(parts) > 1 else parts[0]
    tag = tag_of(key)
    # Validated by `faults`; pydicom's own check would warn with the value in its text.
    ds[tag] = DataElement(tag, vr, converted, validation_mode=pydicom_config.IGNORE)


def _number(key: str, text: str, vr: str) -> int | float:
    try:
        return int(text) if vr in vr_rules.INTEGER else float(text)
    except ValueError:
        raise LocalProtocolError(f"{key}: not a number ({vr})") from None


def _items(key: str, value: Value) -> tuple[Attributes, ...]:
    if value == "":
        return ()
    items = tuple(item for item in value if not isinstance(item, str))
    if isinstance(value, str) or len(items) != len(value):
        raise LocalProtocolError(f"{key}: a sequence needs items")
    return items


def _texts_of(value: Value) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(part for part in value if isinstance(part, str))


def text_of(attributes: Attributes, keyword: str) -> str:
    """A single text, trimmed; empty when absent or not a text."""
    value = attributes.get(keyword, "")
    return value.strip() if isinstance(value, str) else ""


def items_of(value: Value) -> tuple[Attributes, ...]:
    """The items of a sequence's value; none where it is empty, or text."""
    return () if isinstance(value, str) else tuple(item for item in value if not isinstance(item, str))


def texts(attributes: Attributes) -> Iterator[str]:
    """Every text that the character set must show, sequences included: what `charset.choose` looks at."""
    for key, value in attributes.items():
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            for item in _items(key, value):
                yield from texts(item)
        elif vr_of(key) in vr_rules.TEXT:
            yield from _texts_of(value)


def transliterated(attributes: Attributes, term: str) -> tuple[Attributes, int]:
    """The attributes with all text fit for the defined term, and how many characters were replaced (invariant 12)."""
    return fitted(attributes, charsets.codec(term))


def fitted(attributes: Attributes, codec: str) -> tuple[Attributes, int]:
    """As `transliterated`, for a Python codec."""
    if all(text.isascii() or encodable(text, codec) for text in texts(attributes)):
        return attributes, 0
    result: dict[str, Value] = {}
    total = 0
    for key, value in attributes.items():
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            pairs = [fitted(item, codec) for item in _items(key, value)]
            result[key] = tuple(item for item, _ in pairs)
            total += sum(count for _, count in pairs)
        elif vr_of(key) in vr_rules.TEXT:
            shown = [transliterate(text, codec) for text in _texts_of(value)]
            result[key] = shown[0][0] if isinstance(value, str) else tuple(text for text, _ in shown)
            total += sum(count for _, count in shown)
        else:
            result[key] = value
    return result, total


PN_GROUP: Final = 64
"""Characters of a component group of a person's name (PS3.5 6.2)."""


def with_short_names(attributes: Attributes, limit: int = PN_GROUP) -> tuple[Attributes, int]:
    """The attributes with each component group of a name cut to the limit, and how many names were cut."""
    result: dict[str, Value] = {}
    total = 0
    for key, value in attributes.items():
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            pairs = [with_short_names(item, limit) for item in _items(key, value)]
            found = sum(count for _, count in pairs)
            result[key] = tuple(item for item, _ in pairs) if found else value
        elif vr_of(key) == "PN" and any(len(name) > limit for name in _texts_of(value)):
            names = [(name, _short(name, limit)) for name in _texts_of(value)]
            found = sum(name != short for name, short in names)
            result[key] = names[0][1] if isinstance(value, str) else tuple(short for _, short in names)
        else:
            result[key], found = value, 0
        total += found
    return (result, total) if total else (attributes, 0)


def _short(name: str, limit: int) -> str:
    """A group that fits stays as it is; one that is cut ends without a delimiter or half of a letter with its marks."""
    groups = []
    for group in name.split("="):
        cut = group if len(group) <= limit else group[:limit]
        if cut != group:
            cut = cut.rstrip("^ ")
        groups.append(cut)
    return "=".join(groups)


# --- JSON -----------------------------------------------------------------------------------------


def to_json(attributes: Attributes) -> str:
    """Compact JSON, for storing. Keys keep their order."""
    return json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> Attributes:
    """What `to_json` wrote."""
    return _tuples(json.loads(text))


def _tuples(loaded: Mapping[str, Any]) -> Attributes:
    # Keywords are few: one text of each for all rows that are held.
    return {
        sys.intern(key): value if type(value) is str else _tuple(value) if isinstance(value, list) else value
        for key, value in loaded.items()
    }


def _tuple(loaded: list[Any]) -> Value:
    return tuple([_tuples(item) if isinstance(item, dict) else item for item in loaded])


# --- rules ----------------------------------------------------------------------------------------


def faults(attributes: Attributes) -> list[VRFault]:
    """Every VR rule that the attributes break. An empty value breaks none."""
    return list(_faults(attributes, ""))


def _faults(attributes: Attributes, prefix: str) -> Iterator[VRFault]:
    for key, value in attributes.items():
        path = prefix + key
        if _tag_of(key) is None:
            yield VRFault(path, "not a DICOM keyword")
            continue
        vr = vr_of(key)
        if vr == "SQ":
            if value and (isinstance(value, str) or any(isinstance(item, str) for item in value)):
                yield VRFault(path, "SQ: a sequence needs items")
                continue
            for item in _items(key, value):
                yield from _faults(item, f"{path}.")
            continue
        if not isinstance(value, str) and any(not isinstance(part, str) for part in value):
            yield VRFault(path, f"{vr}: text, not items")
            continue
        parts = _texts_of(value)
        if len(parts) > 1 and _single_valued(key):
            yield VRFault(path, f"{vr}: one value only (VM 1)")
        for part in parts:
            if part and (text := vr_rules.broken_rule(vr, part)):
                yield VRFault(path, text)


def _single_valued(key: str) -> bool:
    try:
        return dictionary_VM(tag_of(key)) == "1"
    except KeyError:
        return False


_NAME_DELIMITERS = str.maketrans("^=\\", "   ")


def patient_id(identifier: Identifier) -> dict[str, Value]:
    """Patient ID with its issuer by name and by universal id (PS3.3 C.7.1.1, 10.14)."""
    found: dict[str, Value] = {"PatientID": identifier.value}
    if identifier.namespace:
        found["IssuerOfPatientID"] = identifier.namespace
    if identifier.oid:
        found["IssuerOfPatientIDQualifiersSequence"] = (
            {"UniversalEntityID": identifier.oid, "UniversalEntityIDType": identifier.oid_type or "ISO"},
        )
    return found


def person_name(name: PersonName) -> str:
    """The alphabetic group of a PN: family^given^middle^prefix^suffix, without trailing carets (PS3.5 6.2.1).

    >>> person_name(PersonName(family="Hansen", given="Kari", suffix="dr.philos."))
    'Hansen^Kari^^^dr.philos.'
    """
    parts = (name.family, name.given, name.middle, name.prefix, name.suffix)
    return "^".join(part.translate(_NAME_DELIMITERS).strip() for part in parts).rstrip("^")
