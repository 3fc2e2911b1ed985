"""Synthetic HL7 messages as a PAS, a RIS and a report writer send them; written here, not by the broker's code.

Only what a test varies is a parameter. UTF-8 and `<CR>` throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SITE = "STO&2.999.7001&ISO"
NATIONAL = "NNNOR&2.16.578.1.12.4.1.4.1&ISO"
NATIONAL_OID = "2.16.578.1.12.4.1.4.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A patient by local number. Nobody real: made up for the tests."""

    number: str
    family: str = "Prøve"
    given: str = "Åse"
    middle: str = ""
    national: str = ""
    birth_date: str = "19821030"
    sex: str = "F"
    contact: str = ""
    """PID-11 to PID-14 as they shall stand: `address||telephone|work telephone`."""

    @property
    def name(self) -> str:
        """As DICOM and HL7 both write it."""
        return f"{self.family}^{self.given}^{self.middle}".rstrip("^")

    def named(self, family: str) -> Person:
        return replace(self, family=family)

    def pid(self) -> str:
        numbers = [f"{self.number}^^^{SITE}^PI"]
        if self.national:
            numbers.insert(0, f"{self.national}^^^{NATIONAL}^NNNOR")
        fields = [
            "PID",
            "1",
            "",
            "~".join(numbers),
            "",
            self.name,
            "",
            self.birth_date,
            self.sex,
            "",
            "",
            self.contact,
        ]
        return "|".join(fields).rstrip("|")


def message(kind: str, control_id: str, *segments: str, sender: str = "PAS") -> bytes:
    """The segments under an MSH of version 2.5.1."""
    msh = f"MSH|^~\\&|{sender}|STO|BROKER|STO|20260309080000||{kind}|{control_id}|T|2.5.1||||||UNICODE UTF-8"
    return "".join(f"{segment}\r" for segment in (msh, *segments)).encode()


def adt(trigger: str, control_id: str, person: Person, *segments: str) -> bytes:
    """ADT with EVN, PID and, where none is given, a plain PV1."""
    structure = {"A04": "ADT_A01", "A08": "ADT_A01", "A31": "ADT_A05", "A40": "ADT_A39", "A47": "ADT_A30"}[
        trigger
    ]
    rest = segments or ("PV1|1|O|OYE^ROM2^^STO",)
    return message(f"ADT^{trigger}^{structure}", control_id, "EVN||20260309080000", person.pid(), *rest)


def merge(trigger: str, control_id: str, survivor: Person, prior: str) -> bytes:
    """A40 or A47: the local number `prior` ends."""
    return adt(trigger, control_id, survivor, f"MRG|{prior}^^^{SITE}^PI")


def study_uid(number: str) -> str:
    """The Study Instance UID of the orders below, from their number."""
    return f"2.25.88{int.from_bytes(number.encode(), 'big')}"[:64]


def orm(
    control_id: str,
    person: Person,
    number: str,
    *,
    step: str = "1",
    control: str = "NW",
    status: str = "SC",
    start: str = "20260310093000",
    modality: str = "CT",
    station: str = "",
    accession: str | None = None,
) -> bytes:
    """ORM^O01 for one scheduled step. `number` makes placer, filler and accession number and the Study UID."""
    accession = f"A{number}" if accession is None else accession
    obr = [
        *("OBR", "1", f"P{number}^EPJ", f"F{number}^RIS", "SPC0AK^CT thorax^NCRP", *[""] * 11),
        *("12345^Lege^Kari", "", accession, f"R{number}", f"S{number}-{step}", station, "", "", modality),
    ]
    return message(
        "ORM^O01^ORM_O01",
        control_id,
        person.pid(),
        "PV1|1|O",
        f"ORC|{control}|P{number}^EPJ|F{number}^RIS||{status}||^^^{start}^^R",
        "|".join(obr),
        f"ZDS|{study_uid(number)}^^Application^DICOM",
        sender="RIS",
    )


def omi(
    control_id: str,
    person: Person,
    number: str,
    *,
    steps: tuple[str, ...] = ("1",),
    control: str = "NW",
    status: str = "SC",
    start: str = "20260310130000",
    modality: str = "MR",
    room: str = "",
    aet: str = "MR1_STO",
) -> bytes:
    """OMI^O23 with an IPC for each step; all at the same time."""
    ipc = [
        f"IPC|A{number}|R{number}|{study_uid(number)}|S{number}-{step}|{modality}|||{room}|{aet}"
        for step in steps
    ]
    return message(
        "OMI^O23^OMI_O23",
        control_id,
        person.pid(),
        "PV1|1|I|MED^12^2^STO",
        f"ORC|{control}|P{number}^EPJ|F{number}^RIS||{status}",
        f"TQ1|1||||||{start}||S",
        f"OBR|1|P{number}^EPJ|F{number}^RIS|SAN0AG^MR caput^NCRP||||||||||||12345^Lege^Kari",
        *ipc,
        sender="RIS",
    )


def oru(control_id: str, person: Person, number: str, text: str = "Ingen øvrige funn.") -> bytes:
    """ORU^R01: a report on the order."""
    return message(
        "ORU^R01^ORU_R01",
        control_id,
        person.pid(),
        f"ORC|RE|P{number}^EPJ|F{number}^RIS",
        f"OBR|1|P{number}^EPJ|F{number}^RIS|SPC0AK^CT thorax^NCRP|||20260310094500|||||||||||||||20260310105500||RAD|F",
        f"OBX|1|TX|18748-4^Diagnostic imaging study^LN||{text}||||||F|||20260310105500",
        sender="RIS",
    )
