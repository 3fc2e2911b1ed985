"""`broker.dicom.matching` beside DCMTK's worklist server over the same rows: any query of the keys that both match.

Not asked: where the two differ on purpose. DCMTK (3.6) takes wildcards in names only and folds neither case nor accents
of them; the broker takes them wherever PS3.4 C.2.2.2.4 does, and folds names (C.2.2.2.1). Of a date and a time range of
which only one is open at an end, PS3.4 does not say what they are together; the broker takes the open end for open.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmwrite

from broker.dicom.attributes import Attributes, Value
from broker.dicom.dataset import to_dataset
from broker.dicom.encode import encode
from broker.dicom.matching import STEPS, Query
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, decoded
from tests.support.needs import needs
from tests.support.ports import free_port
from tests.support.processes import Program

pytestmark = pytest.mark.integration

DAYS = ("20260105", "20260106", "20260107")
TIMES = ("000000", "0930", "120000", "235959")
NAMES = ("Hansen^Kari", "Hansen^Ola", "Berg^Kari", "Bergh")


def row(number: int) -> Attributes:
    """One of many: each attribute runs through its values in a rhythm of its own."""
    step: Attributes = {
        "ScheduledStationAETitle": ("CT1", "CT2", "MR1")[number % 3],
        "ScheduledProcedureStepStartDate": DAYS[number // 3 % 3],
        "ScheduledProcedureStepStartTime": TIMES[number // 2 % 4],
        "Modality": ("CT", "MR")[number % 2],
        "ScheduledPerformingPhysicianName": NAMES[number // 5 % 4],
        "ScheduledProcedureStepID": f"S{number}",
        "ScheduledProcedureStepDescription": "Caput",
    }
    return {
        "AccessionNumber": f"A{number:02}",
        "ReferringPhysicianName": NAMES[number // 4 % 4],
        "PatientName": NAMES[number % 4],
        "PatientID": f"{700 + number}",
        "PatientBirthDate": ("19690213", "19700101")[number % 2],
        "PatientSex": ("M", "F", "O")[number % 3],
        "StudyInstanceUID": f"1.2.{number}",
        "RequestingPhysician": NAMES[number // 6 % 4],
        "RequestedProcedureDescription": "CT caput",
        "AdmissionID": f"V{number % 7}",
        "RequestedProcedureID": f"P{number % 11}",
        "RequestedProcedurePriority": ("ROUTINE", "STAT")[number % 2],
        STEPS: (step,),
    }


ROWS = [row(number) for number in range(36)]


def patterns(*values: str) -> st.SearchStrategy[str]:
    """Universal, one of the values, a value with a part of it as wildcard, or one that nobody has."""
    wild = st.sampled_from(values).flatmap(
        lambda text: st.sampled_from(
            [f"{text[:1]}*", f"*{text[-1:]}", f"{text[:-1]}?", f"{text[:1]}*{text[-1:]}"]
        )
    )
    return st.sampled_from(["", "*", "X"]) | st.sampled_from(values) | wild


def exact(*values: str) -> st.SearchStrategy[str]:
    """Universal, one of the values, or one that nobody has."""
    return st.sampled_from(["", *values, "X"])


def ranges(*values: str) -> st.SearchStrategy[str]:
    """Nothing, a moment, or a range, open at one end or at none, that ends no sooner than it begins."""
    ends = st.tuples(st.sampled_from(values), st.sampled_from(values)).map(sorted)
    closed = ends.map(lambda pair: f"{pair[0]}-{pair[1]}")
    opened = st.sampled_from(values).flatmap(lambda value: st.sampled_from([f"{value}-", f"-{value}"]))
    return st.just("") | st.sampled_from(values) | closed | opened


def is_clear(step: dict[str, str]) -> bool:
    """Date and time of the start are not both ranges, or are open at the same ends."""
    date, time = (
        step.get("ScheduledProcedureStepStartDate", ""),
        step.get("ScheduledProcedureStepStartTime", ""),
    )
    if "-" not in date or "-" not in time:
        return True
    return [bool(end) for end in date.split("-")] == [bool(end) for end in time.split("-")]


STEP = st.fixed_dictionaries(
    {},
    optional={
        "ScheduledStationAETitle": exact("CT1", "CT2", "MR1"),
        "ScheduledProcedureStepStartDate": ranges(*DAYS),
        "ScheduledProcedureStepStartTime": ranges("000000", "093000", "120000", "235959"),
        "Modality": exact("CT", "MR"),
        "ScheduledPerformingPhysicianName": patterns(*NAMES),
    },
).filter(is_clear)
KEYS = st.fixed_dictionaries(
    {"AccessionNumber": exact("A01", "A12", "A30"), STEPS: STEP.map(lambda item: (item,))},
    optional={
        "ReferringPhysicianName": patterns(*NAMES),
        "PatientName": patterns(*NAMES),
        "PatientID": exact("701", "722"),
        "PatientBirthDate": ranges("19690213", "19700101"),
        "PatientSex": exact("M", "F"),
        "RequestingPhysician": patterns(*NAMES),
        "AdmissionID": exact("V1", "V3"),
        "RequestedProcedureID": exact("P1", "P10"),
        "RequestedProcedurePriority": exact("ROUTINE", "STAT"),
    },
)


@pytest.fixture(scope="module")
def dcmtk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scu]:
    """An association with DCMTK's server."""
    folder = tmp_path_factory.mktemp("rows") / "BROKER"
    folder.mkdir()
    (folder / "lockfile").touch()
    for number, attributes in enumerate(ROWS):
        dcmwrite(folder / f"{number:02}.wl", to_dataset(attributes), implicit_vr=False, little_endian=True)
    port = free_port()
    server = Program([needs("wlmscpfs"), "-dfp", folder.parent, "-dfr", str(port)], folder.parent / "log")
    server.wait_for_port(port)
    with Scu(port, [(WORKLIST, EXPLICIT)]) as association:
        yield association
    server.kill()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYS)
def test_both_find_the_same_rows(dcmtk: Scu, keys: dict[str, Value]) -> None:
    theirs = [decoded(answer).AccessionNumber for answer in dcmtk.find(encode(keys))]
    query = Query.read(to_dataset(keys))

    ours = [attributes["AccessionNumber"] for attributes in ROWS if query.matches(attributes)]

    assert sorted(theirs) == sorted(ours)
