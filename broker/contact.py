"""Which fields carry contact data: address, telephone, e-mail, next of kin, guarantor, employer, insurance, GP, and
the grading of an address itself.

They leave on a route with `purpose: contact` and on no other, and never on a worklist or a DICOM destination,
for patients and for staff alike (invariant 11): what is missing for everybody tells nothing of anybody. Addresses of
institutions are not contact data, nor is the place of a stay (PV1-3), which devices need: docs/protection.md.
HL7 v2.5.1 chapters 3, 4, 6, 7, 10, 11 and 15; PS3.6 6. Changes no message: that is the renderer's work.
"""

from __future__ import annotations

SEGMENTS = frozenset(
    (
        *("NK1", "GT1", "IN1", "IN2", "IN3", "PM1"),
        "ACC",  # accident: where, and who brought the patient
        "AIL",  # where an appointment is
        *("AFF", "EDU"),  # staff: memberships and schooling
        "ARV",  # access restrictions: the grading (HL7 v2.6)
        "NTE",  # free text, which may hold an address
        "PD1",  # living conditions, GP, school, place of worship, the grading (PD1-12)
        "PYE",
        "REL",
        *("UB1", "UB2"),
    )
)
"""Segments that are contact data as a whole."""

FIELDS = frozenset(
    (
        ("PID", 6),  # mother's maiden name
        ("PID", 11),  # address
        ("PID", 12),  # county
        ("PID", 13),  # telephone, home
        ("PID", 14),  # telephone, business
        ("PID", 16),  # marital status
        ("PID", 17),  # religion
        ("PID", 20),  # driver's licence: its issuer is where the patient lives
        ("PID", 21),  # mother's identifier
        ("PID", 23),  # birth place
        ("PID", 26),  # citizenship
        ("PID", 27),  # military status
        ("PID", 28),  # nationality
        ("PID", 39),  # tribal citizenship
        ("PID", 40),  # telecommunication (HL7 v2.7)
        ("PV1", 16),  # VIP indicator: how a patient is graded
        ("PV1", 37),  # discharged to
        ("PV2", 21),  # publicity
        ("PV2", 22),  # visit protection: the grading
        ("ARQ", 16),
        ("ARQ", 17),
        ("ARQ", 20),
        ("AUT", 27),
        ("BPO", 9),
        ("BPO", 12),
        ("BPX", 19),
        ("CM0", 10),
        ("CM0", 11),
        ("ORC", 14),  # call back telephone
        ("ORC", 24),  # ordering provider's address
        ("OBR", 17),  # call back telephone
        ("PEO", 7),
        ("PEO", 20),
        ("PEO", 21),
        ("PES", 3),
        ("PES", 4),
        ("RF1", 23),
        ("ROL", 11),
        ("ROL", 12),
        ("RXE", 43),  # deliver to
        ("RXG", 30),
        ("RXO", 35),
        ("PRD", 3),
        ("PRD", 5),
        ("CTD", 3),
        ("CTD", 5),
        ("PRT", 14),  # HL7 v2.7
        ("PRT", 15),
        ("SCH", 13),
        ("SCH", 14),
        ("SCH", 17),
        ("SCH", 18),
        ("SCH", 21),
        ("STF", 10),
        ("STF", 11),
        ("STF", 15),  # e-mail
    )
)

PATHS = tuple(f"{segment}-{field}" for segment, field in sorted(FIELDS))
"""The same, as paths."""

KEYWORDS = frozenset(
    (
        "AddressTrial",
        "BranchOfService",
        "CountryOfResidence",
        "DistributionAddress",
        "InsurancePlanIdentification",
        "MilitaryRank",
        "OrderCallbackPhoneNumber",
        "OrderCallbackTelecomInformation",
        "PatientAddress",
        "PatientInstitutionResidence",
        "PatientInsurancePlanCodeSequence",
        "PatientMotherBirthName",
        "PatientReligiousPreference",
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
        "ScheduledPatientInstitutionResidence",
        "TelephoneNumberTrial",
    )
)
"""What is removed from images and never stands in a row: DICOM keywords."""
