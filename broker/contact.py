"""Which fields carry contact data: address, telephone, e-mail, next of kin, guarantor, employer, insurance.

They leave on a route with `purpose: contact` and on no other, and never on a worklist or a DICOM destination,
for patients and for staff alike (invariant 11). Addresses of institutions are not contact data. HL7 v2.5.1
chapters 3, 4, 6, 11 and 15; PS3.6 6. Changes no message: that is the renderer's work.
"""

from __future__ import annotations

SEGMENTS = frozenset(("NK1", "GT1", "IN1", "IN2", "IN3"))
"""Segments that are contact data as a whole."""

FIELDS = frozenset(
    (
        ("PID", 6),  # mother's maiden name
        ("PID", 11),  # address
        ("PID", 12),  # county
        ("PID", 13),  # telephone, home
        ("PID", 14),  # telephone, business
        ("PID", 21),  # mother's identifier
        ("PID", 40),  # telecommunication (HL7 v2.7)
        ("PD1", 3),  # primary care facility
        ("PD1", 4),  # primary care provider
        ("ORC", 14),  # call back telephone
        ("ORC", 24),  # ordering provider's address
        ("OBR", 17),  # call back telephone
        ("ROL", 11),
        ("ROL", 12),
        ("PRD", 3),
        ("PRD", 5),
        ("CTD", 3),
        ("CTD", 5),
        ("PRT", 14),  # HL7 v2.7
        ("PRT", 15),
        ("STF", 10),
        ("STF", 11),
    )
)

PATHS = tuple(f"{segment}-{field}" for segment, field in sorted(FIELDS))
"""The same, as paths."""

KEYWORDS = frozenset(
    (
        "CountryOfResidence",
        "InsurancePlanIdentification",
        "OrderCallbackPhoneNumber",
        "OrderCallbackTelecomInformation",
        "PatientAddress",
        "PatientInsurancePlanCodeSequence",
        "PatientTelecomInformation",
        "PatientTelephoneNumbers",
        "PersonAddress",
        "PersonTelecomInformation",
        "PersonTelephoneNumbers",
        "ReferringPhysicianAddress",
        "ReferringPhysicianTelephoneNumbers",
        "RegionOfResidence",
        "ResponsibleOrganization",
        "ResponsiblePerson",
        "ResponsiblePersonRole",
    )
)
