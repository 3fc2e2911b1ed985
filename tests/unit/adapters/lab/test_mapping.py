"""Results as LAB, devices and report writers send them: tests/golden/lab. What leaves is the message itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.epj.render import render_hl7
from adapters.lab import INBOUND
from tests.support import golden

CASES = golden.cases("lab")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_golden(case: Path) -> None:
    golden.check_reception(case, golden.receive(INBOUND, golden.load(case)))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_result_leaves_byte_for_byte(case: Path) -> None:
    raw = golden.load(case)
    reception = golden.receive(INBOUND, raw)
    if not reception.events:
        return

    (view,) = golden.views(reception)
    assert render_hl7(view, golden.target(send="source", purpose="contact")).payload == raw


def test_a_monitor_that_knows_no_patient_is_taken() -> None:
    reception = golden.receive(
        INBOUND, "MSH|^~\\&|MON||||2026||ORU^R01|1|P|2.6\nPID|1||\nOBR|1\nOBX|1|NM|||-999.9\n"
    )

    (event,) = reception.events
    assert reception.answer_code == "AA"
    assert event.data.patient is None


def test_any_bytes_of_a_document_pass() -> None:
    pdf = "JVBERi0xLjQK" * 5000
    raw = golden.er7(
        f"MSH|^~\\&|RIS||||2026||ORU^R01|1|P|2.4\nPID|1||7\nOBR|1\nOBX|1|ED|X||^application^pdf^Base64^{pdf}\n"
    )
    reception = golden.receive(INBOUND, raw)

    assert reception.answer_code == "AA"
    assert reception.raw == raw
