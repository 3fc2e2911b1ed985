"""What counts as contact data, held against the standard's own tables: whatever HL7 calls an address or a telephone."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from pydicom.datadict import keyword_dict

from broker import contact

VERSIONS = ("2_1", "2_2", "2_3", "2_3_1", "2_4", "2_5", "2_5_1", "2_6", "2_7", "2_8", "2_8_1", "2_8_2")

INSTITUTIONS = frozenset(
    (
        *(("ERR", 12), ("LDP", 11), ("LOC", 5), ("LOC", 6), ("OBX", 24), ("ORC", 22), ("ORC", 23)),
        *(("FAC", number) for number in (3, 4, 7, 8, 11, 12)),
        *(("OM1", number) for number in (17, 18, 28, 29, 30)),
        *(("PRD", 11), ("PRD", 13), ("RXA", 28), ("RXD", 31), ("RXD", 34), ("RXE", 41), ("RXE", 45)),
        *(("RXG", 28), ("RXO", 33), ("RXO", 36)),
    )
)
"""Addresses and telephones of hospitals, laboratories, pharmacies: no person's."""


def addresses() -> Iterator[tuple[str, int]]:
    """Every field that some version of HL7 v2 gives the type of an address or a telephone."""
    for version in VERSIONS:
        for name, (_, *parts) in import_module(f"hl7apy.v{version}.segments").SEGMENTS.items():
            for path, field, *_ in parts[0] if parts and isinstance(parts[0], tuple) else ():
                if isinstance(field, tuple) and field[2] in ("AD", "TN", "XAD", "XTN"):
                    yield name, int(path.rpartition("_")[2])


def test_every_address_and_telephone_of_a_person_is_listed() -> None:
    found = set(addresses())

    assert len(found) > 80, "the tables were read"
    listed = {place for place in found if place[0] in contact.SEGMENTS or place in contact.FIELDS}
    assert found - listed == INSTITUTIONS
    assert not INSTITUTIONS & listed


def test_the_grading_itself_is_listed() -> None:
    """That somebody's address is protected is itself confidential."""
    assert {"PD1", "ARV"} <= contact.SEGMENTS
    assert {("PV1", 16), ("PV2", 22)} <= contact.FIELDS


def test_every_address_and_telephone_of_a_person_in_dicom_is_listed() -> None:
    words = ("Address", "Telephone", "Telecom", "Residence", "Phone")
    found = {keyword for keyword in keyword_dict if any(word in keyword for word in words)}

    assert found - contact.KEYWORDS == {
        "InstitutionAddress",
        "NTPSourceAddress",
        "ReceivingPresentationAddress",
        "SendingPresentationAddress",
        "SourcePresentationAddress",
    }
