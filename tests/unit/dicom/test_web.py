"""The DICOM JSON model against pydicom's, and what an archive says of the objects that it was sent."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from broker.dicom import web
from broker.dicom.dataset import from_dataset, to_dataset
from broker.errors import RemoteProtocolError
from tests.support.webserver import stored

TEXT = st.text(st.sampled_from("aÅš 9"), min_size=1, max_size=12).map(str.strip).filter(bool)
UIDS = st.integers(1, 10**9).map("2.25.{}".format)
FLAT: dict[str, Any] = {
    "SOPInstanceUID": UIDS,
    "PatientName": st.builds("{}^{}={}^{}".format, TEXT, TEXT, TEXT, TEXT) | TEXT,
    "PatientID": TEXT,
    "ModalitiesInStudy": st.lists(st.sampled_from(["CT", "MR", "OP"]), min_size=2, max_size=3).map(tuple),
    "NumberOfStudyRelatedInstances": st.integers(0, 10**6).map(str),
    "Rows": st.integers(0, 65535).map(str),
    "StudyDate": st.just("20260309"),
    "AccessionNumber": st.just(""),
}
ITEMS = st.lists(st.fixed_dictionaries({}, optional=FLAT), max_size=2).map(tuple)
DATASETS = st.fixed_dictionaries({}, optional={**FLAT, "ReferencedSOPSequence": ITEMS})


@given(st.lists(DATASETS, max_size=2))
def test_what_pydicom_writes_is_read_as_the_data_set_is(datasets: list[dict[str, Any]]) -> None:
    made: list[Dataset] = [to_dataset(dataset) for dataset in datasets]
    text = json.dumps([dataset.to_json_dict() for dataset in made]).encode()

    def without_charset(attributes: Any) -> dict[str, Any]:
        return {key: value for key, value in attributes.items() if key != "SpecificCharacterSet"}

    read = [without_charset(attributes) for attributes in web.read_json(text)]
    assert read == [without_charset(from_dataset(dataset)) for dataset in made]


SCALARS = st.none() | st.booleans() | st.floats() | st.sampled_from(["SQ", "PN", "UI", "x"])
KEYS = st.sampled_from(["00080018", "00081198", "00081197", "vr", "Value", "x"])


@given(
    st.recursive(SCALARS, lambda some: st.lists(some, max_size=3) | st.dictionaries(KEYS, some, max_size=3))
)
def test_any_json_is_an_answer_or_a_protocol_error(loaded: Any) -> None:
    with contextlib.suppress(RemoteProtocolError):
        web.read_store_answer(json.dumps(loaded).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_a_protocol_error(text: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        web.read_json(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"<html>login</html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"0008001Z": {"vr": "UI"}}', "no tag"),
        (b'{"0x001234": {"vr": "UI"}}', "no tag"),
        (b'{"00080018": "secret"}', "SOPInstanceUID: .* no VR"),
        (b'{"00080018": {"vr": "UI", "Value": "secret"}}', "SOPInstanceUID: .* no array"),
        (b'{"00100010": {"vr": "PN", "Value": [{"Alphabetic": {"secret": 1}}]}}', "PatientName: .* VR PN"),
        (b'{"00081198": {"vr": "SQ", "Value": ["secret"]}}', "no data set"),
        (
            b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": ["secret"]}}]}}',
            "FailureReason",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_place(text: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why) as told:
        web.read_store_answer(text)

    assert "secret" not in str(told.value)


def test_binary_values_and_empty_ones() -> None:
    text = (
        b'{"7FE00010": {"vr": "OW", "BulkDataURI": "http://x"}, "00420011": {"vr": "OB", "InlineBinary": "AA=="},'
        b' "00080060": {"vr": "CS"}, "00080061": {"vr": "CS", "Value": ["CT", null]},'
        b' "00091001": {"vr": "LO", "Value": ["private"]}}'
    )

    assert web.read_json(text) == ({"Modality": "", "ModalitiesInStudy": ("CT", ""), "0009,1001": "private"},)


def test_what_became_of_each_object() -> None:
    answer = web.read_store_answer(stored("1.1", failed={"1.2": 0xA700}, warned={"1.3": 0xB000}))

    assert answer.of("1.1") == (True, 0)
    assert answer.of("1.2") == (False, 0xA700)
    assert answer.of("1.3") == (True, 0xB000)
    assert answer.of("1.4") is None


def test_an_object_that_is_in_both_lists_failed() -> None:
    assert web.read_store_answer(stored("1.1", failed={"1.1": 0x0110})).of("1.1") == (False, 0x0110)


def test_a_failure_that_names_nobody_is_that_of_the_object_of_which_nothing_is_said() -> None:
    other = b'{"0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'

    assert web.read_store_answer(other).of("1.1") == (False, 0x0110)


def test_a_failure_without_a_reason_is_a_processing_failure() -> None:
    text = b'[{"00081198": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.1"]}}]}}]'

    assert web.read_store_answer(text).of("1.1") == (False, 0x0110)
