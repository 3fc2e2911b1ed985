"""Every installed adapter keeps what adapters promise: a new one is covered as soon as it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker import registry
from broker.event import InstanceReference, PerformedStep, Study
from broker.runtime.offline import instance
from broker.testing import conformance
from broker.testing.conformance import Check
from broker.view import View
from tests.support.commitment import SECONDARY_CAPTURE, asked, file_of
from tests.support.events import event, local, patient
from tests.support.golden import OPTIONS
from tests.support.ian import IAN, notification
from tests.support.mpps import MPPS, begun, scheduled
from tests.support.ports import free_port
from tests.support.shared import REPOSITORY

CONFIG = REPOSITORY / "config"
DICOM = instance(
    {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SOPInstanceUID": "2.25.3",
        "StudyInstanceUID": "2.25.1",
        "SeriesInstanceUID": "2.25.2",
        "PatientID": "41819077906",
    }
)
PERFORMED = instance(
    {"SOPClassUID": MPPS, "SOPInstanceUID": "2.25.4"}
    | begun(scheduled("2.25.1", "S1"), PatientID="41819077906")
)
NOTIFIED = instance(
    {"SOPClassUID": IAN, "SOPInstanceUID": "2.25.5", **notification(("2.25.6", "ONLINE", "PACS"))}
)
BEGUN = PerformedStep(uid="2.25.4", status="IN PROGRESS", calling_aet="CT1")
SEEN = View(
    event=event("step.started", performed=BEGUN),
    patient=patient(local("41819077906")),
    patient_key="P1",
    verified=True,
    performed=BEGUN,
    raw=PERFORMED,
)
ASKED = file_of(asked("2.25.9", "2.25.3"))
REFERENCES = (InstanceReference(sop_class_uid=SECONDARY_CAPTURE, sop_instance_uid="2.25.3"),)
STORED = View(
    event=event("study.stored", study=Study(study_uid="2.25.1", archive="pacs", instances=REFERENCES))
)
REPORTED = View(
    event=event(
        "commitment.reported",
        study=Study(requester="CT1", transaction_uid="2.25.9", instances=REFERENCES),
    ),
    patient_key="device|CT1",
)
VALUES: dict[str, Any] = {
    **OPTIONS,
    "host": "127.0.0.1",
    "port": 0,
    "called_aet": "NOBODY",
    "archive": "pacs",
    "url": "http://127.0.0.1:9/web",
}
"""A value for each option that has no default, by its name. A new adapter's may have to be added."""


def options(config: type[Any], **values: Any) -> dict[str, Any]:
    needed = [name for name, info in config.model_fields.items() if info.is_required()]
    missing = [name for name in needed if name not in VALUES]
    assert not missing, f"add a sample to VALUES for {', '.join(missing)}"
    return {name: {**VALUES, **values}[name] for name in needed}


def checks() -> list[Check]:
    found: list[Check] = []
    for point in registry.installed("broker.inbound").values():
        spec = registry.load_inbound(point)
        found += conformance.inbound(
            spec, options(spec.config), folder=CONFIG, samples=[DICOM, PERFORMED, ASKED, NOTIFIED]
        )
    for point in registry.installed("broker.outbound").values():
        to = registry.load_outbound(point)
        found += conformance.outbound(to, options(to.config, port=free_port()), seen=[SEEN, STORED, REPORTED])
    return found


@pytest.mark.parametrize("check", checks(), ids=str)
def test_conformance(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


def test_every_installed_adapter_is_covered() -> None:
    names = {check.name.partition(":")[0] for check in checks()}

    assert names == {*registry.installed("broker.inbound"), *registry.installed("broker.outbound")}
