"""`broker studies`: what is here of each, and which archive keeps it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.cli import studies
from broker.event import Code, Event, InstanceReference, PerformedSeries, PerformedStep, StepReference, Study
from broker.registers.commitments import transaction_of
from broker.registers.fold import fold
from broker.runtime import journals
from broker.settings import load
from tests.support.events import event, instance, local, patient
from tests.support.shared import REPOSITORY

CONFIG = REPOSITORY / "config" / "broker.yaml"
NOW = datetime.now(UTC)
WHO = patient(local("700123"))


def reference(number: int, failure: int = 0) -> InstanceReference:
    uid = f"2.25.1.{number}"
    return InstanceReference(sop_class_uid="1.2", sop_instance_uid=uid, failure=failure)


def history() -> list[Event]:
    """A study with three images of four, two of them safe, one of these rejected; and one that goes on."""
    images = [
        event("instance.received", n, patient=WHO, instance=instance(f"2.25.1.{n}", content=str(n)))
        for n in (1, 2, 3)
    ]
    made = PerformedSeries(series_uid="2.25.1.1", instances=tuple(f"2.25.1.{n}" for n in (1, 2, 3, 4)))
    mpps = PerformedStep(
        uid="2.25.5",
        status="COMPLETED",
        calling_aet="CT1_STO",
        steps=(StepReference(study_uid="2.25.1", accession_number="A1"),),
        series=(made,),
    )
    three = (reference(1), reference(2), reference(3))
    stored = event("study.stored", 6, study=Study(study_uid="2.25.1", archive="pacs", instances=three))
    answer = Study(transaction_uid=transaction_of(stored), instances=(*three[:2], reference(3, 0x0110)))
    rejected = Study(
        study_uid="2.25.1", reason=Code(code="113001", system="DCM"), note="2.25.66", instances=three[:1]
    )
    available = Study(study_uid="2.25.1", retrieve_aet="PACS", availability="ONLINE", instances=three)
    other = instance("2.25.2.1", study_uid="2.25.2", content="b", accession_number="A2")
    return [
        *images,
        event("step.completed", 4, patient=WHO, performed=mpps),
        event("study.completed", 5, study=Study(study_uid="2.25.1", basis="quiet", number=3, expected=4)),
        stored,
        event("study.committed", 7, study=answer),
        event("study.rejected", 8, study=rejected),
        event("study.available", 9, study=available),
        event("instance.received", 10, patient=WHO, instance=other),
    ]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BROKER_DATA", str(tmp_path))
    database = journals.journal_of(load(CONFIG, env={"BROKER_DATA": str(tmp_path)}))
    database.open()
    for said in history():
        lately = said.model_copy(update={"time": NOW.replace(microsecond=int(said.id[1:6]))})
        database.write(lambda tx, one=lately: fold(tx, one, None)).result()  # type: ignore[misc]
    freed = "INSERT INTO freed (sop_instance_uid, at) VALUES ('2.25.1.2', '2026')"
    database.write(lambda tx: tx.execute(freed)).result()
    database.close()

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(studies.command, [*arguments, "--config", str(CONFIG)])

    return command


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), {"2.25.1", "2.25.2"}),
        (("--open",), {"2.25.2"}),
        (("--incomplete",), {"2.25.1"}),
        (("--unsafe",), {"2.25.1", "2.25.2"}),
        (("--rejected",), {"2.25.1"}),
        (("--limit", "1"), {"2.25.2"}),
        (("--since", "0s"), set()),
    ],
)
def test_which_are_listed(run: Any, options: tuple[str, ...], wanted: set[str]) -> None:
    found = run("list", *options, "--format", "json")

    assert found.exit_code == 0, found.output
    assert {row["study"] for row in json.loads(found.output)} == wanted


def test_a_line_says_who_has_what(run: Any) -> None:
    lines = run("list").output.splitlines()

    assert lines[-1] == "2 studies"
    (line,) = [line for line in lines if "2.25.1 " in line]
    assert line.endswith(
        "complete, 3 instances, 1 of 4 that MPPS list are not here, pacs has 3 and committed to 2, 1 failed with"
        " 0110, 1 rejected, 1 files given up"
    )


def test_one_is_shown_whole_and_without_the_patient(run: Any) -> None:
    text = run("show", "2.25.1").output
    shown = json.loads(run("show", "2.25.1", "--format", "json").output)

    for part in (
        "accession A1",
        "series 2.25.1.1  3 instances",
        "mpps 2.25.5  COMPLETED by CT1_STO",
        "commitment by pacs: asked",
        "rejected 1 since",
        ": 113001, note 2.25.66",
        "ONLINE at PACS",
    ):
        assert part in text
    assert "Sørby" not in text
    assert "700123" not in text
    assert (shown["missing"], shown["archives"][0]["failed"], shown["freed"]) == (1, {"0110": 1}, 1)


def test_what_is_rejected_is_chosen_one_way(run: Any) -> None:
    line = ("reject", "2.25.1", "--title", "quality", "--reason", "moved", "--dry-run")
    both = run(*line, "--instance", "2.25.1.2", "--mpps", "2.25.5")
    one = run(*line, "--instance", "2.25.1.2")

    assert (both.exit_code, one.exit_code) == (2, 0)
    assert "give --instance, or --mpps" in both.output
    assert one.output.splitlines()[-1].startswith("1 instances would be named under 113001")


def test_one_that_never_came(run: Any) -> None:
    found = run("show", "2.25.404")

    assert found.exit_code == 1
    assert "nothing of this study ever came here" in str(found.exception)


def test_an_archive_is_asked_for_what_it_has_not_committed_to(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nobody asks pacs to commit" in str(run("ask", "--archive", "pacs", "--reason", "x").exception)
    monkeypatch.setenv("BROKER_PACS_COMMITMENT", "true")
    assert "no archive is called 'pasc'. Did you" in str(
        run("ask", "--archive", "pasc", "--reason", "x").exception
    )

    told = run("ask", "--archive", "pacs", "--reason", "x", "--dry-run")
    assert (told.exit_code, told.output.splitlines()) == (
        0,
        ["2.25.1  1 instances", "1 studies would be asked for"],
    )
    made = run("ask", "2.25.1", "--archive", "pacs", "--reason", "x", "--format", "json")
    assert json.loads(made.output) == {
        "archive": "pacs",
        "asked": True,
        "studies": [{"study": "2.25.1", "instances": 1}],
    }
    nothing = run("ask", "2.25.2", "--archive", "pacs", "--reason", "x")
    assert (nothing.exit_code, nothing.output) == (1, "pacs owes nothing of these studies\n")
    database = journals.journal_of(load(CONFIG, env=os.environ))
    database.open()
    messages = database.read().rows("SELECT source, type FROM message")
    database.close()
    assert messages == [("operator", "study.stored")], "not by --dry-run"
