"""`broker studies find` and `fetch`, and `broker reconcile --archive`, at an archive that is pynetdicom's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread

from broker.cli import patients, reconcile, studies
from broker.errors import AskPersonError, ConfigError
from broker.event import InstanceReference, Study
from broker.registers.fold import fold
from broker.runtime import journals
from broker.settings import load
from tests.support.archive import Archive
from tests.support.events import event, instance, local, patient
from tests.support.images import write_image
from tests.support.shared import REPOSITORY

CONFIG = REPOSITORY / "config" / "broker.yaml"
STUDY = "2.25.1"
KARI = patient(local("700123"))
PRIOR = local("700001")


@pytest.fixture(scope="module")
def started() -> Iterator[Archive]:
    server = Archive().start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def archive(started: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """It has two instances of a study, a study under an ended number, and one under the number of another hospital.

    The broker delivered three instances of the first.
    """
    for name, value in {
        "BROKER_DATA": str(tmp_path / "data"),
        "BROKER_PACS_PORT": str(started.port),
        "BROKER_PACS_AET": "ARCHIVE",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "data").mkdir()
    database = journals.journal_of(load(CONFIG, env={"BROKER_DATA": str(tmp_path / "data")}))
    database.open()
    references = tuple(
        InstanceReference(sop_class_uid="1.2", sop_instance_uid=f"2.25.1.{n}", series_uid="2.25.1.1")
        for n in (1, 2, 3)
    )
    said = [
        event("patient.registered", 1, patient=patient(PRIOR)),
        event("patient.registered", 2, patient=KARI),
        event("patient.merged", 3, patient=KARI, prior=(PRIOR,)),
        *(
            event("instance.received", 3 + n, patient=KARI, instance=instance(f"2.25.1.{n}", content=str(n)))
            for n in (1, 2, 3)
        ),
        event("study.completed", 7, source="clock", study=Study(study_uid=STUDY, basis="quiet", number=3)),
        event(
            "study.stored",
            8,
            source="clock",
            study=Study(study_uid=STUDY, archive="pacs", instances=references),
        ),
    ]
    for one in said:
        database.write(lambda tx, one=one: fold(tx, one, None)).result()  # type: ignore[misc]
    database.close()
    kept = tmp_path / "kept"
    kept.mkdir()
    for uid, study, number, issuer in (
        ("2.25.1.1", STUDY, "700123", "STO"),
        ("2.25.1.2", STUDY, "700123", "STO"),
        ("2.25.2.1", "2.25.2", "700001", ""),
        ("2.25.3.1", "2.25.3", "700123", "ORK"),
    ):
        write_image(
            kept / f"{uid}.dcm",
            SOPInstanceUID=uid,
            StudyInstanceUID=study,
            SeriesInstanceUID=f"{study}.1",
            PatientID=number,
            IssuerOfPatientID=issuer,
            AccessionNumber=f"A{study[-1]}",
            StudyDate="20260309",
        )
    started.keep([dcmread(path) for path in sorted(kept.iterdir())])
    return started


def find(*arguments: str, given: str = "") -> Result:
    line = ["find", "--archive", "pacs", *arguments, "--config", str(CONFIG)]
    return CliRunner().invoke(studies.command, line, input=given)


def fetch(*arguments: str) -> Result:
    line = ["fetch", *arguments, "--archive", "pacs", "--reason", "test", "--config", str(CONFIG)]
    return CliRunner().invoke(studies.command, line)


def test_a_patients_studies_under_every_number(archive: Archive) -> None:
    found = find("--patient", "-", given="700001\n")

    assert found.exit_code == 0, found.output
    first, second, end = found.output.splitlines()
    assert [one.split()[-1] for one in (first, second)] == [STUDY, "2.25.2"]
    assert end == "2 at pacs; asked under 2 numbers; 1 of somebody else left out"
    assert "70" not in found.output.replace("2.25", ""), "no number of the patient is shown"


@pytest.mark.parametrize("issuer", ["STO", "2.999.7001"])
def test_an_issuer_goes_by_its_name_too(archive: Archive, issuer: str) -> None:
    told = find("--patient", "700123", "--issuer", issuer)
    assert told.output.splitlines()[-1].startswith("2 at pacs"), told.output
    shown = CliRunner().invoke(
        patients.command, ["show", "700123", "--issuer", issuer, "--config", str(CONFIG)]
    )
    assert shown.exit_code == 0, shown.output
    open_ended = find("--date", "20260301-")
    assert open_ended.exit_code == 0, open_ended.output


def test_a_program_is_told_the_same(archive: Archive) -> None:
    told = json.loads(find("--patient", "700123", "--format", "json").output)

    assert [one["uid"] for one in told["found"]] == [STUDY, "2.25.2"]
    assert told["found"][0] == {"date": "20260309", "accession": "A1", "uid": STUDY}
    assert (told["numbers_asked"], told["left_out"]["other_issuer"], told["whole"]) == (2, 1, True)


def test_studies_by_what_is_not_a_patient_and_what_they_are_made_of(archive: Archive) -> None:
    assert find("--accession", "A2").output.splitlines() == ["20260309  A2  2.25.2", "1 at pacs"]
    assert find("--date", "20260309", "--limit", "1").output.endswith(
        "1 at pacs; there are more: narrow it down, or raise --limit\n"
    )
    assert find("--study", STUDY).output.splitlines() == ["CT  number 1  2.25.1.1", "1 at pacs"]
    below = json.loads(find("--study", STUDY, "--series", "2.25.1.1", "--format", "json").output)
    assert [one["uid"] for one in below["found"]] == ["2.25.1.1", "2.25.1.2"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "say what"),
        (("--series", "2.25.1.1"), "--series needs --study"),
        (("--patient", "4711"), "no patient here has this number"),
        (("--patient", "700123", "--issuer", "ORK"), "no patient here has this number"),
        (("--date", "2026-03-09"), "--date is a day"),
        (("--date", "20260231"), "--date is a day"),
        (("--study", "2.25.*"), "take a UID"),
    ],
)
def test_a_search_that_cannot_be_made(arguments: tuple[str, ...], why: str) -> None:
    found = find(*arguments)

    assert found.exit_code != 0
    assert why in (str(found.exception) if isinstance(found.exception, ConfigError) else found.output)


def test_a_destination_that_cannot_be_asked() -> None:
    line = ["find", "--archive", "epj", "--date", "20260309", "--config", str(CONFIG)]
    found = CliRunner().invoke(studies.command, line)

    assert isinstance(found.exception, ConfigError)
    assert "These can: pacs" in str(found.exception)


def test_a_study_comes_into_a_folder_and_the_audit(archive: Archive, tmp_path: Path) -> None:
    found = fetch(STUDY, "--into", str(tmp_path / "case"))

    assert found.exit_code == 0, found.output
    assert found.output == f"2 instances from pacs to {tmp_path / 'case'}\n"
    assert sorted(path.name for path in (tmp_path / "case").iterdir()) == ["2.25.1.1.dcm", "2.25.1.2.dcm"]
    assert audit(tmp_path) == [("studies fetch", "test")]


def audit(tmp_path: Path) -> list[tuple[str, str]]:
    database = journals.journal_of(load(CONFIG, env={"BROKER_DATA": str(tmp_path / "data")}))
    database.open()
    try:
        return [
            (action, reason) for action, reason in database.read().rows("SELECT action, reason FROM audit")
        ]
    finally:
        database.close()


def test_less_than_a_study_and_nothing_at_all(archive: Archive, tmp_path: Path) -> None:
    one = fetch(
        STUDY, "--series", "2.25.1.1", "--instance", "2.25.1.2", "--into", str(tmp_path), "--format", "json"
    )
    none = fetch("2.25.99", "--into", str(tmp_path))

    assert (one.exit_code, json.loads(one.output)["received"]) == (0, 1)
    assert none.exit_code == 1
    assert "pacs has nothing under this UID" in none.output


def test_a_folder_that_cannot_be_made_is_said(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    found = fetch(STUDY, "--into", str(tmp_path / "file" / "case"))

    assert isinstance(found.exception, ConfigError)
    assert "Not a directory" in str(found.exception)


def test_where_the_archive_does_not_know_the_title_a_person_must_tell_it(archive: Archive) -> None:
    found = fetch(STUDY, "--to", "ELSEWHERE")

    assert isinstance(found.exception, AskPersonError)
    assert "A801" in str(found.exception)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((STUDY,), "say where"),
        ((STUDY, "--into", "x", "--to", "PACS"), "say where"),
        (("1.02", "--to", "PACS"), "dotted numbers"),
        ((STUDY, "--to", "A" * 17), "--to"),
        ((STUDY, "--to", "PACS", "--instance", "2.25.1.1"), "needs --series"),
    ],
)
def test_a_fetch_that_cannot_be_made(arguments: tuple[str, ...], why: str) -> None:
    found = fetch(*arguments)

    assert found.exit_code == 2
    assert why in found.output


def test_a_fetch_says_why() -> None:
    line = ["fetch", STUDY, "--to", "PACS", "--archive", "pacs", "--reason", " ", "--config", str(CONFIG)]
    found = CliRunner().invoke(studies.command, line)

    assert found.exit_code == 2
    assert "--reason must say something" in found.output


def test_what_an_archive_lost_and_what_it_has_besides(archive: Archive, tmp_path: Path) -> None:
    line = ["--archive", "pacs", "--last", "5000d", "--config", str(CONFIG)]
    other = write_image(tmp_path / "kept" / "9.dcm", SOPInstanceUID="2.25.9", StudyInstanceUID=STUDY)
    archive.keep([*archive.instances, other])

    found = CliRunner().invoke(reconcile.command, line)

    assert found.exit_code == 1
    assert found.output.splitlines() == [
        "study 2.25.1: pacs has 3 instances",
        "  missing there  2.25.1.3",
        "  unknown here   2.25.9",
        "  → `broker replay 2.25.1 --destination pacs --reason …` sends the study again",
        "  → it came there past the broker: ask who sent it, and whether PAS's patient stands in it",
        "1 studies compared with pacs; 1 differ",
    ]
    told = json.loads(CliRunner().invoke(reconcile.command, [*line, "--format", "json"]).output)
    assert told["differing"][0]["missing"] == ["2.25.1.3"]


def test_an_archive_that_has_all_of_it(archive: Archive, tmp_path: Path) -> None:
    third = write_image(tmp_path / "kept" / "3.dcm", SOPInstanceUID="2.25.1.3", StudyInstanceUID=STUDY)
    archive.keep([*archive.instances, third])

    found = CliRunner().invoke(
        reconcile.command, ["--archive", "pacs", "--last", "5000d", "--config", str(CONFIG)]
    )

    assert (found.exit_code, found.output) == (0, "1 studies compared with pacs; all of it is there\n")
    alone = CliRunner().invoke(reconcile.command, ["--archive", "pacs", "--by-day", "--config", str(CONFIG)])
    assert alone.exit_code == 2


def test_nothing_lately_is_not_called_whole() -> None:
    found = CliRunner().invoke(
        reconcile.command, ["--archive", "pacs", "--last", "0s", "--config", str(CONFIG)]
    )

    assert (found.exit_code, found.output) == (
        0,
        "0 studies compared with pacs; --last looks further back\n",
    )


def test_how_far_back_is_said_of_an_archive_only() -> None:
    found = CliRunner().invoke(reconcile.command, ["--last", "7d", "--config", str(CONFIG)])

    assert found.exit_code == 2
    assert "--last goes with --archive" in found.output
