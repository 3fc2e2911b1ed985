"""`broker.dicom.fit`: what a peer cannot take is changed, and counted."""

from __future__ import annotations

from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.fit import transliterated, with_short_names
from tests.unit.dicom.test_dataset import ROW, over_the_wire


def test_text_that_the_set_cannot_show_is_transliterated_and_counted() -> None:
    shown, count = transliterated(ROW, "ISO_IR 6")
    assert count == 4
    assert shown["PatientName"] == "Oedegaard^Aase"
    ds = over_the_wire(to_dataset(ROW, charset="ISO_IR 6"), implicit=True)
    assert ds.PatientName == "Oedegaard^Aase"
    assert "SpecificCharacterSet" not in ds
    assert transliterated(ROW, "ISO_IR 100") == (ROW, 0)


def test_a_name_is_cut_by_component_group_and_never_to_a_separator() -> None:
    row: Attributes = {
        "PatientName": f"{'A' * 63}^Siv=山田",
        "ScheduledProcedureStepSequence": ({"ScheduledPerformingPhysicianName": "Lege^Kari"},),
    }

    assert with_short_names(row)[0]["PatientName"] == f"{'A' * 63}=山田"
    assert with_short_names(row)[1] == 1
    assert with_short_names(row, 6)[0]["ScheduledProcedureStepSequence"] == (
        {"ScheduledPerformingPhysicianName": "Lege^K"},
    )
    assert with_short_names({"PatientName": "A" * 64}) == ({"PatientName": "A" * 64}, 0)
