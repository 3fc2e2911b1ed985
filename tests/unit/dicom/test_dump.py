"""`broker.dicom.dump`: DCMTK's text of a data set, as dcmdump prints it and as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom import dump
from broker.dicom.attributes import Attributes, tag_of, vr_of
from broker.errors import RemoteProtocolError

TEXT = """
# Dicom-File-Format
(0002,0010) UI =LittleEndianExplicit                    #  20, 1 TransferSyntaxUID
# Dicom-Data-Set
(0008,0000) UL 18                                       #   4, 1 GenericGroupLength
(0008,0005) CS [ISO_IR 100]                             #  10, 1 SpecificCharacterSet
(0008,0050) SH [A1]                                     #   2, 1 AccessionNumber
(0008,1110) SQ (Sequence with explicit length #=0)      #   0, 1 ReferencedStudySequence
(fffe,e0dd) na (SequenceDelimitationItem for re-encod.) #   0, 0 SequenceDelimitationItem
(0008,0016) UI =CTImageStorage                          #  26, 1 SOPClassUID
(0010,0010) PN [Sørby^Áile]                             #  10, 1 PatientName
(0010,1000) LO [X1\\X2 ]                                 #   6, 2 OtherPatientIDs
(0010,21b0) LT [a # b] [c]                              #  10, 1 AdditionalPatientHistory
(0010,21c0) US 4                                        #   2, 1 PregnancyStatus
(0010,4000) LT (no value available)                     #   0, 0 PatientComments
(0040,0100) SQ (Sequence with undefined length #=1)     # u/l, 1 ScheduledProcedureStepSequence
  (fffe,e000) na (Item with undefined length #=2)         # u/l, 1 Item
    (0008,0060) CS [CT]                                     #   2, 1 Modality
    (0040,0008) SQ                                          # ScheduledProtocolCodeSequence
      (fffe,e000) na                                          # Item
        (0008,0100) SH [P1]                                     # CodeValue
      (fffe,e00d) na                                          # ItemDelimitationItem
    (fffe,e0dd) na                                          # SequenceDelimitationItem
    (0040,0009) SH [S1]                                     #   2, 1 ScheduledProcedureStepID
  (fffe,e00d) na (ItemDelimitationItem)                   #   0, 0 ItemDelimitationItem
(fffe,e0dd) na (SequenceDelimitationItem)               #   0, 0 SequenceDelimitationItem
(8001,1001) LO [Plan]                                   #   4, 1 Unknown
"""


def test_a_dump_is_read() -> None:
    raw = TEXT.encode("latin-1")

    assert dump.looks_like(raw)
    assert dump.read(raw) == {
        "AccessionNumber": "A1",
        "ReferencedStudySequence": (),
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "PatientName": "Sørby^Áile",
        "OtherPatientIDs": ("X1", "X2"),
        "AdditionalPatientHistory": "a # b] [c",
        "PregnancyStatus": "4",
        "PatientComments": "",
        "ScheduledProcedureStepSequence": (
            {
                "Modality": "CT",
                "ScheduledProtocolCodeSequence": ({"CodeValue": "P1"},),
                "ScheduledProcedureStepID": "S1",
            },
        ),
        "8001,1001": "Plan",
    }


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("(0010,0020) LO [1]\nnothing of the kind\n", "line 2: no element"),
        ("(0010,0020) LO [1]\n(fffe,e000) na\n", "line 2: an item outside"),
        ("(0008,0016) UI =NoSuchThing\n", "line 1: neither a UID"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, place: str) -> None:
    with pytest.raises(RemoteProtocolError, match=place):
        dump.read(text.encode())


@pytest.mark.parametrize(
    "raw", [b"", b"# only a comment\n", b"\0" * 128 + b"DICM", b"MSH|^~\\&|", b"\x08\0\x05\0CS"]
)
def test_other_bytes_are_no_dump(raw: bytes) -> None:
    assert not dump.looks_like(raw)


VALUES = st.text(
    st.characters(codec="latin-1", exclude_categories=["Cc"], exclude_characters="\\"), max_size=8
)
FLAT = st.dictionaries(
    st.sampled_from(["AccessionNumber", "PatientID", "RequestedProcedureDescription", "8001,1001"]),
    VALUES.map(str.strip),
)
NESTED = st.builds(
    lambda flat, items: {**flat, "ScheduledProcedureStepSequence": tuple(items)},
    FLAT,
    st.lists(
        st.builds(
            lambda flat, inner: {**flat, "ScheduledProtocolCodeSequence": tuple(inner)}, FLAT, st.lists(FLAT)
        ),
        max_size=3,
    ),
)


def written(attributes: Attributes) -> str:
    """As dcmdump would print it."""
    lines = []
    for key, value in attributes.items():
        tag = f"({tag_of(key) >> 16:04x},{tag_of(key) & 0xFFFF:04x})"
        if isinstance(value, str):
            lines.append(f"{tag} {'LO' if ',' in key else vr_of(key)} [{value}]   # 1, 1 Name")
        else:
            lines.append(f"{tag} SQ (Sequence with undefined length #=1)")
            for item in value:
                assert not isinstance(item, str)
                lines += ["(fffe,e000) na (Item)", written(item), "(fffe,e00d) na (Item end)"]
            lines.append("(fffe,e0dd) na (Sequence end)")
    return "\n".join(lines)


@given(NESTED)
def test_what_is_written_is_read(attributes: Attributes) -> None:
    text = "(0008,0005) CS [ISO_IR 100]\n" + written(attributes)

    assert dump.read(text.encode("latin-1")) == attributes
