"""Which VR rules attributes break, by the place and the rule, never the value. Repairs nothing. PS3.5 6.2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydicom.datadict import dictionary_VM

from broker.dicom import vr as vr_rules
from broker.dicom.attributes import Attributes, checked_items, known_tag, tag_of, texts_of, vr_of


class VRFault(NamedTuple):
    """One broken rule: where, and which rule. Never the value."""

    keyword: str
    text: str


def vr_faults(attributes: Attributes) -> list[VRFault]:
    """Every VR rule that the attributes break. An empty value breaks none."""
    return list(_faults(attributes, ""))


def _faults(attributes: Attributes, prefix: str) -> Iterator[VRFault]:
    for key, value in attributes.items():
        path = prefix + key
        if known_tag(key) is None:
            yield VRFault(path, "not a DICOM keyword")
            continue
        vr = vr_of(key)
        if isinstance(value, str) and vr != "SQ":  # as most values are: one text
            if value and (text := vr_rules.broken_rule(vr, value)):
                yield VRFault(path, text)
            continue
        if vr == "SQ":
            if value and (isinstance(value, str) or any(isinstance(item, str) for item in value)):
                yield VRFault(path, "SQ: a sequence needs items")
                continue
            for item in checked_items(key, value):
                yield from _faults(item, f"{path}.")
            continue
        if not isinstance(value, str) and any(not isinstance(part, str) for part in value):
            yield VRFault(path, f"{vr}: text, not items")
            continue
        parts = texts_of(value)
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
