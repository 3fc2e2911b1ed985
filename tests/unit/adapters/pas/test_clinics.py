"""The table of clinics, and the step that a visit there makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.pas import INBOUND, clinics
from adapters.pas.clinics import Clinic
from broker.errors import ConfigError
from broker.event import Encounter
from tests.support.golden import receive
from tests.support.shared import REPOSITORY

HEAD = "place,site,modality,aets,description,location\n"


def table(folder: Path, *rows: str) -> tuple[Clinic, ...]:
    path = folder / "clinics.csv"
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return clinics.read(path)


def test_the_shipped_table_is_read() -> None:
    found = clinics.read(REPOSITORY / "config" / "clinics.csv")

    assert {"FUNDUS", "SKOPI", "FOTO", "AKUTT"} == {clinic.place for clinic in found}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("FOTO,STO,XC,", "'aets' is empty"),
        (",STO,XC,FOTO1", "'place' is empty"),
        ("FOTO,STO,xc,FOTO1", "'modality' is no code"),
        ("FOTO,STO,XC,EN_FOR_LANG_AE_TITTEL", "16"),
        ("FOTO,STO,XC,FOTO1,,Et sted med langt navn", "'location' is longer"),
        ("SKOPI,STO,ES,ES2", "the modality twice"),
    ],
)
def test_a_mistake_has_its_line(tmp_path: Path, row: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(tmp_path, "SKOPI,STO,ES,ES1", row)

    (found,) = caught.value.faults
    assert (found.line, found.code) == (3, "table")
    assert fault in found.message


@pytest.mark.parametrize(
    ("place", "site", "encounter", "taken"),
    [
        ("FOTO", "", Encounter(location="FOTO"), True),
        ("FOTO", "", Encounter(location="FOTO^ROM1^1"), True),
        ("FOTO^ROM1", "", Encounter(location="FOTO^ROM1"), True),
        ("FOTO^ROM1", "", Encounter(location="FOTO^ROM2"), False),
        ("FOTO", "", Encounter(location="FOTOLAB"), False),
        ("FOTO", "", Encounter(location="KIR", temporary_location="FOTO^ROM1"), True),
        ("FOTO", "STO", Encounter(location="FOTO", facility="STO"), True),
        ("FOTO", "STO", Encounter(location="FOTO", facility="LEV"), False),
        ("FOTO", "STO", Encounter(location="FOTO"), True),
        ("FOTO", "LEV", Encounter(location="FOTO"), False),
        ("service:HUD", "", Encounter(location="OYE", service="HUD"), True),
        ("service:HUD", "", Encounter(location="HUD"), False),
        ("FOTO", "", Encounter(), False),
    ],
)
def test_which_visits_a_row_takes(place: str, site: str, encounter: Encounter, taken: bool) -> None:
    clinic = Clinic(place=place, site=site, modality="XC", aets=("FOTO1",), description="", location="")

    assert clinic.takes(encounter, "STO") is taken


def message(number: str, place: str = "FOTO") -> str:
    return (
        "MSH|^~\\&|PAS||||20260309||ADT^A04|1|P|2.5\nEVN||20260309074500\nPID|1||700123\n"
        f"PV1|1|O|{place}||||||||||||||||{number}\n"
    )


def test_the_study_belongs_to_the_visit_and_the_device() -> None:
    def made(number: str, place: str) -> list[str]:
        events = receive(INBOUND, message(number, place), clinics="clinics.csv").events
        return [event.data.step.study_uid for event in events if event.data.step is not None]

    assert made("V1", "FOTO") == made("V1", "FOTO^ROM2") != made("V2", "FOTO")
    assert len({*made("V1", "AKUTT"), *made("V1", "FOTO")}) == 3


def test_a_long_visit_number_is_not_cut() -> None:
    (*_, event) = receive(INBOUND, message("V" * 17), clinics="clinics.csv").events

    assert event.data.step is not None
    assert event.data.step.requested_procedure_id.startswith("V")
    assert len(event.data.step.requested_procedure_id) <= clinics.SH
    assert event.data.step.requested_procedure_id.strip("V")


def test_without_a_table_there_is_no_such_step() -> None:
    assert [event.type for event in receive(INBOUND, message("V1")).events] == [
        "patient.registered",
        "encounter.started",
    ]
