from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import pytest

from broker.doctor import encryption
from broker.doctor.encryption import Pem
from broker.doctor.finding import Finding
from broker.net.certificate import Validity

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
DAY = timedelta(days=1)
ACCEPTED: Final[tuple[Literal["plain", "both", "tls"], ...]] = ("plain", "both", "tls")


def pem(
    *days: float, kind: Literal["certificate", "authorities", "key"] = "certificate", mode: int = 0o100640
) -> Pem:
    """Certificates that end so many days from now, and began a year before that."""
    ends = [NOW + one * DAY for one in days]
    return Pem(
        option="dicom.tls.x_file",
        path="/tls/x.pem",
        kind=kind,
        mode=mode,
        validities=[Validity(end - 365 * DAY, end) for end in ends],
    )


def told(file: Pem) -> Finding:
    (finding,) = encryption.files([file], NOW)
    return finding


@pytest.mark.parametrize(
    ("file", "state", "found"),
    [
        (pem(300), "ok", "is valid until 2027-01-03"),
        (pem(30), "ok", "is valid until"),
        (pem(29.5), "warning", "29 days"),
        (pem(0.5), "warning", "0 days"),
        (pem(0), "fault", "has expired"),
        (pem(-400), "fault", "has expired"),
        (pem(400), "fault", "is valid from 2026-04-13"),
        (pem(300, 10), "warning", "10 days"),  # a chain holds as long as each of it
        (pem(300, -1), "fault", "has expired"),
        (pem(300, -1, kind="authorities"), "ok", "is valid until 2027-01-03"),
        (pem(-1, -2, kind="authorities"), "fault", "has expired"),
        (pem(20, kind="authorities"), "warning", "20 days"),
        (pem(kind="key"), "ok", "/tls/x.pem"),
        (pem(kind="key", mode=0o100644), "warning", "open to every user"),
        (pem(300, mode=0o100644), "ok", "is valid until"),  # whoever is called is shown it anyway
    ],
)
def test_what_is_said_of_a_file(file: Pem, state: str, found: str) -> None:
    finding = told(file)
    assert (finding.check, finding.state) == ("certificates", state)
    assert finding.found.startswith("dicom.tls.x_file: /tls/x.pem")
    assert found in finding.found
    assert bool(finding.do) == (state != "ok")


def test_what_is_in_the_clear_depends_on_who_can_listen() -> None:
    for dicom in ACCEPTED:
        assert encryption.transport(loopback=True, dicom=dicom).state == "ok"
        away = encryption.transport(loopback=False, dicom=dicom)
        assert away.state == "warning"
        assert "MLLP" in away.found
        assert ("DICOM" in away.found) == (dicom != "tls")
