"""What DICOMweb services say, as values: the DICOM JSON model, and what became of objects that were stored.

No connection stands here (`broker.net.web_client`). Binary values are left out, as in `broker.dicom.attributes`.
PS3.18 F.2 (JSON model), 10.5.3 and I.2 (answer of the Store transaction).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.dicom import status
from broker.dicom.attributes import Attributes, Value, key_of
from broker.errors import RemoteProtocolError

JSON: Final = "application/dicom+json"

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAnswer:
    """What became of the objects of one Store request."""

    stored: Mapping[str, int] = field(default_factory=dict)
    """SOP Instance UID to Warning Reason (0008,1196); 0000: stored as it is."""
    failed: Mapping[str, int] = field(default_factory=dict)
    """SOP Instance UID to Failure Reason (0008,1197); empty the UID of what the server could not even identify."""

    def of(self, sop_instance_uid: str) -> tuple[bool, int] | None:
        """Whether this object is stored, and the reason as a status of C-STORE (PS3.4 B.2.3); None: nothing is said."""
        for uid in (sop_instance_uid, ""):
            if uid in self.failed:
                return False, self.failed[uid]
            if uid in self.stored:
                return True, self.stored[uid]
        return None


def read_store_answer(text: bytes) -> StoreAnswer:
    """The Store Instances Response Module (PS3.18 I.2). Raises `RemoteProtocolError`."""
    stored: dict[str, int] = {}
    failed: dict[str, int] = {}
    for answer in read_json(text):
        for item in _items(answer, "ReferencedSOPSequence"):
            uid = _text(item, "ReferencedSOPInstanceUID")
            if uid:
                stored[uid] = _number(item, "WarningReason", status.SUCCESS)
        for sequence in ("FailedSOPSequence", "OtherFailuresSequence"):
            for item in _items(answer, sequence):
                uid = _text(item, "ReferencedSOPInstanceUID")
                failed[uid] = _number(item, "FailureReason", status.PROCESSING_FAILURE)
    return StoreAnswer(stored=stored, failed=failed)


def read_json(text: bytes) -> tuple[Attributes, ...]:
    """The data sets of an answer; of one object alone, that one. Raises `RemoteProtocolError`, naming tags only."""
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("the answer is not JSON") from None
    datasets = loaded if isinstance(loaded, list) else [loaded]
    return tuple(_attributes(dataset) for dataset in datasets)


def _attributes(dataset: Any) -> Attributes:
    if not isinstance(dataset, dict):
        raise RemoteProtocolError("the answer's JSON holds no data set")
    found: dict[str, Value] = {}
    for key in sorted(dataset):
        tag, element = _tag(key), dataset[key]
        if not isinstance(element, dict) or not isinstance(element.get("vr"), str):
            raise RemoteProtocolError(f"{key_of(tag)}: the answer's JSON gives it no VR")
        if "InlineBinary" in element or "BulkDataURI" in element:
            continue
        values = element.get("Value", [])
        if not isinstance(values, list):
            raise RemoteProtocolError(f"{key_of(tag)}: its Value is no array")
        if element["vr"] == "SQ":
            found[key_of(tag)] = tuple(_attributes(item or {}) for item in values)
        else:
            texts = tuple(_value(one, element["vr"], tag) for one in values)
            found[key_of(tag)] = texts if len(texts) > 1 else "".join(texts)
    return found


def _tag(key: str) -> int:
    if _TAG.fullmatch(key) is None:
        raise RemoteProtocolError("the answer's JSON has a key that is no tag")
    return int(key, 16)


def _value(value: Any, vr: str, tag: int) -> str:
    """One value; null is an empty one (PS3.18 F.2.5)."""
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, dict):
        groups = [value.get(name) or "" for name in _NAME_GROUPS]
        if all(isinstance(group, str) for group in groups):
            return "=".join(groups).rstrip("=")
    elif isinstance(value, str):
        return value.strip(" \0")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RemoteProtocolError(f"{key_of(tag)}: a value is none of VR {vr}")


def _items(attributes: Attributes, keyword: str) -> tuple[Attributes, ...]:
    value = attributes.get(keyword, ())
    return tuple(item for item in value if not isinstance(item, str))


def _text(attributes: Attributes, keyword: str) -> str:
    value = attributes.get(keyword, "")
    return value if isinstance(value, str) else ""


def _number(attributes: Attributes, keyword: str, otherwise: int) -> int:
    text = _text(attributes, keyword)
    try:
        return int(float(text)) if text else otherwise
    except (ValueError, OverflowError):
        raise RemoteProtocolError(f"{keyword}: not a number") from None
