"""Instance Availability Notifications, as archives send them (PS3.4 R.3)."""

from __future__ import annotations

from typing import Any

IAN = "1.2.840.10008.5.1.4.33"
CT = "1.2.840.10008.5.1.4.1.1.2"


def notification(*instances: tuple[str, str, str], study: str = "2.25.1", **fields: Any) -> dict[str, Any]:
    """Of (SOP Instance UID, availability, Retrieve AE Titles) each, in one series; `fields` replace attributes, None
    takes one away."""
    items = tuple(
        {
            "ReferencedSOPClassUID": CT,
            "ReferencedSOPInstanceUID": uid,
            "InstanceAvailability": availability,
            "RetrieveAETitle": tuple(aets.split("\\")) if "\\" in aets else aets,
        }
        for uid, availability, aets in instances
    )
    given: dict[str, Any] = {
        "ReferencedPerformedProcedureStepSequence": (),
        "StudyInstanceUID": study,
        "ReferencedSeriesSequence": ({"SeriesInstanceUID": "2.25.2", "ReferencedSOPSequence": items},),
    } | fields
    return {keyword: value for keyword, value in given.items() if value is not None}
