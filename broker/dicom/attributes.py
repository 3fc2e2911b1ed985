"""DICOM attributes as plain JSON-able values: their names, what they hold, and what a patient is in them.

An `Attributes` is a mapping from keyword (`PatientID`; `gggg,eeee` where the dictionary has none) to text,
several texts, or the items of a sequence. Binary values have no place here: images stay files. Data sets are
`broker.dicom.dataset`'s; what fits a peer is `broker.dicom.fit`'s, what breaks a rule `broker.dicom.vr_faults`'.
PS3.5 7.5.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Union

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from broker.dicom import vr as vr_rules
from broker.dicom.elements import tag_name
from broker.errors import LocalProtocolError
from broker.event import Identifier, PersonName

Value = Union[str, tuple[str, ...], tuple["Attributes", ...]]  # noqa: UP007 - a recursive alias: `|` cannot quote
Attributes = Mapping[str, Value]

SPECIFIC_CHARACTER_SET = "SpecificCharacterSet"
_TAG_KEY = re.compile(r"([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})")


def tag_of(key: str) -> int:
    """The tag of a keyword or of `gggg,eeee`. `LocalProtocolError` when it is neither."""
    tag = known_tag(key)
    if tag is None:
        raise LocalProtocolError(f"{key}: not a DICOM keyword")
    return tag


def place_of(key: str) -> str:
    """`(gggg,eeee)`, as refusals and lists name an attribute. `LocalProtocolError` as of `tag_of`."""
    return tag_name(tag_of(key))


@lru_cache(maxsize=4096)
def known_tag(key: str) -> int | None:
    """As `tag_of`, None where that raises."""
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


def text_of(attributes: Attributes, keyword: str) -> str:
    """A single text, trimmed; empty when absent or not a text."""
    value = attributes.get(keyword, "")
    return value.strip() if isinstance(value, str) else ""


def items_of(value: Value) -> tuple[Attributes, ...]:
    """The items of a sequence's value; none where it is empty, or text."""
    return () if isinstance(value, str) else tuple(item for item in value if not isinstance(item, str))


def checked_items(key: str, value: Value) -> tuple[Attributes, ...]:
    """As `items_of`; `LocalProtocolError` where there is anything but items."""
    if value == "":
        return ()
    items = tuple(item for item in value if not isinstance(item, str))
    if isinstance(value, str) or len(items) != len(value):
        raise LocalProtocolError(f"{key}: a sequence needs items")
    return items


def texts_of(value: Value) -> tuple[str, ...]:
    """The texts of a value that is no sequence's."""
    if isinstance(value, str):
        return (value,)
    return tuple(part for part in value if isinstance(part, str))


def texts(attributes: Attributes) -> Iterator[str]:
    """Every text that the character set must show, sequences included: what `charset.choose` looks at."""
    for key, value in attributes.items():
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            for item in checked_items(key, value):
                yield from texts(item)
        elif vr_of(key) in vr_rules.TEXT:
            yield from texts_of(value)


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
