"""DICOM unique identifiers: well-formed or not, derived from names, and the broker's own.

Nothing here is random: the same seed gives the same UID on every run (invariant 8). PS3.5 9.1, B.2.
"""

from __future__ import annotations

import re
import uuid

MAX_LENGTH = 64
IMPLEMENTATION_CLASS_UID = "2.25.279853604500857762599926261469072003580"
"""Of this broker, in association negotiation and file meta information (PS3.7 D.3.3.2)."""
IMPLEMENTATION_VERSION_NAME = "HL7DICOMBROKER"

WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
"""Modality Worklist Information Model - FIND (PS3.4 K.6.1.3)."""
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
"""Patient Root Query/Retrieve Information Model - FIND (PS3.4 C.6.1.3)."""
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND (PS3.4 C.6.2.3)."""
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
INSTANCE_AVAILABILITY = "1.2.840.10008.5.1.4.33"
"""Instance Availability Notification (PS3.4 R)."""
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
"""Modality Performed Procedure Step (PS3.4 F.7)."""
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model (PS3.4 J.3)."""
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The one instance of it, which everybody knows (PS3.4 J.3.5)."""
KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
"""Key Object Selection Document Storage (PS3.4 B.5)."""
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"

_FORM = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_NAMESPACE = uuid.UUID("015196fe-e70f-49b2-97a4-36d7f58d7ef8")


def valid(uid: str) -> bool:
    """Well-formed: dotted numbers without leading zeros, at most 64 characters, root 0 to 2."""
    return len(uid) <= MAX_LENGTH and _FORM.fullmatch(uid) is not None


def derive(seed: str) -> str:
    """A UID that the same seed always gives (PS3.5 B.2 over a name-based UUID)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, seed).int}"
