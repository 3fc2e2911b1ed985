"""`broker devices verify` and `coverage` beside a journal, without a broker."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.adapter import Verdict
from broker.cli.devices import command
from broker.journal.intake import append
from broker.runtime import journals
from broker.settings import load
from tests.support.certificates import certificate
from tests.support.commitment import Device
from tests.support.events import reception
from tests.support.ports import free_port
from tests.support.shared import REPOSITORY

CONFIG = REPOSITORY / "config" / "broker.yaml"


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CT1_STO sent an image, MR1_STO one that was refused; a note was made here."""
    monkeypatch.setenv("BROKER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BROKER_HTTP_PORT", str(free_port()))
    (tmp_path / "data").mkdir()
    database = journals.journal_of(load(CONFIG, env={"BROKER_DATA": str(tmp_path / "data")}))
    database.open()
    given: dict[str, Any] = {"protocol": "dicom", "message_type": "C-STORE", "received": datetime.now(UTC)}
    for number, (aet, verdict) in enumerate(
        (("CT1_STO", Verdict.ACCEPTED), ("MR1_STO", Verdict.REJECTED), ("BROKER", Verdict.ACCEPTED)), 1
    ):
        said = reception(number, sender=aet, verdict=verdict, **given)
        database.write(lambda tx, said=said: append(tx, said)).result()  # type: ignore[misc]
    database.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--config", str(CONFIG)])


def test_a_device_that_works_as_far_as_is_known() -> None:
    found = run("verify", "CT1_STO")

    assert found.exit_code == 0, found.output
    assert "pass       store" in found.output
    assert "not known  echo" in found.output
    assert "2 pass, 0 fail, 10 not known\nnot tried: a C-STORE" in found.output


def test_a_device_that_does_not() -> None:
    found = run("verify", "MR1_STO", "--host", "127.0.0.1", "--port", str(free_port()), "--format", "json")

    assert found.exit_code == 1
    verdicts = {one["check"]: one["verdict"] for one in json.loads(found.output)["checks"]}
    assert (verdicts["echo"], verdicts["store"], verdicts["association"]) == ("fail", "fail", "pass")


def test_where_a_device_answers_may_stand_in_the_settings(tmp_path: Path) -> None:
    number = free_port()
    declared = f"devices: {{ CT*: {{ host: 127.0.0.1, port: {number} }} }}\n"
    text = CONFIG.read_text(encoding="utf-8").replace("../routes", str(REPOSITORY / "routes"))
    other = tmp_path / "broker.yaml"
    other.write_text(text + declared, encoding="utf-8")

    found = CliRunner().invoke(command, ["verify", "CT1_STO", "--config", str(other)])

    assert found.exit_code == 1
    assert f"no connection to 127.0.0.1:{number}" in found.output


def test_a_device_that_speaks_tls_is_asked_in_it(tmp_path: Path) -> None:
    context, authority = certificate(tmp_path)
    device = Device(tls=context)
    text = CONFIG.read_text(encoding="utf-8").replace("../routes", str(REPOSITORY / "routes"))
    told = "    adapter: device-commitment\n"
    assert told in text
    tls = f"    tls: {{ ca_file: {authority}, server_name: localhost }}\n"
    declared = f"devices: {{ CT*: {{ host: 127.0.0.1, port: {device.port}, tls: true }} }}\n"
    other = tmp_path / "broker.yaml"
    other.write_text(text.replace(told, told + tls) + declared, encoding="utf-8")

    device.start()
    try:
        found = CliRunner().invoke(command, ["verify", "CT1_STO", "--config", str(other), "--format", "json"])
    finally:
        device.stop()

    verdicts = {one["check"]: one["verdict"] for one in json.loads(found.output)["checks"]}
    assert verdicts["echo"] == "pass", found.output


def test_coverage_lists_every_device_with_its_five_columns() -> None:
    rows = run("coverage").output.splitlines()

    assert rows[0].split() == [
        "device",
        "demographics",
        "worklist",
        "delivers",
        "notifies",
        "EPJ",
        "committed",
    ]
    ct, mr = (next(row for row in rows if row.startswith(ae)) for ae in ("CT1_STO", "MR1_STO"))
    assert ct.split()[1:] == ["no", "no", "yes", "no", "-"]
    assert mr.split()[1:] == ["no", "no", "no", "no", "-"]
    assert not any(row.startswith("BROKER") for row in rows), "it is no device"
    assert "no broker answers" in rows[-1]


def test_programs_are_told_the_same() -> None:
    told = json.loads(run("coverage", "--days", "1", "--format", "json").output)

    assert {one["ae"]: one["delivers"] for one in told}["CT1_STO"] is True
    assert all(one["committed"] is None for one in told)
