"""Person names in queries."""

from __future__ import annotations

from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.matching import Query


def query(keys: Attributes) -> Query:
    return Query.read(to_dataset(keys))


def test_a_device_that_was_shown_no_norwegian_letters_finds_the_patient() -> None:
    row: Attributes = {"PatientName": "Ødegård^Åse"}
    for wanted in ("Ødegård", "ODEGARD", "OEDEGAARD", "OEDEG*^AASE", "ØDEGÅRD^ÅSE"):
        assert query({"PatientName": wanted}).matches(row), wanted


def test_component_groups_of_a_name() -> None:
    row: Attributes = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}
    for wanted in ("YAMADA*", "山田", "やま*", "Yamada=山田", "=山田^太郎"):
        assert query({"PatientName": wanted}).matches(row), wanted
    for wanted in ("太郎", "山田=Yamada", "Yamada=田中"):
        assert not query({"PatientName": wanted}).matches(row), wanted
