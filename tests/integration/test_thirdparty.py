"""Somebody else's adapter (tests/thirdparty): installed through its entry point, and used like one of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.flows import wait_until_idle
from tests.support.mllp import MllpSink, field
from tests.support.packages import THIRDPARTY, install, passes
from tests.support.processes import wait_until
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

SPIRO = THIRDPARTY / "broker-spiro"
SESSION = SPIRO / "tests" / "samples" / "session.csv"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install(SPIRO, tmp_path_factory.mktemp("site-packages"))


def test_it_passes_its_own_checks(installed: dict[str, str], tmp_path: Path) -> None:
    """Its tests run the public conformance suite."""
    said = passes("-m", "pytest", "-v", "-p", "no:cacheprovider", folder=SPIRO, env=installed)
    passes("-m", "ruff", "check", "--no-cache", ".", folder=SPIRO)
    passes(
        *("-m", "mypy", "--follow-imports=silent", "--cache-dir", tmp_path / "mypy"),
        folder=SPIRO,
        env={"MYPYPATH": f"{SPIRO}:{REPOSITORY}"},
    )

    assert "test_conformance[spiro: any bytes are judged] PASSED" in said


def test_it_is_listed_with_its_distribution(installed: dict[str, str], tmp_path: Path) -> None:
    rows = Broker(tmp_path, settings=installed).command_json("adapters", "list")

    assert {
        "direction": "inbound",
        "name": "spiro",
        "distribution": "broker-spiro",
        "version": "1.4.0",
    } in rows


def test_what_it_measures_reaches_the_epj_once(
    installed: dict[str, str], tmp_path: Path, start_broker: StartBroker, epj_sink: MllpSink
) -> None:
    box, done = tmp_path / "in", tmp_path / "done"
    box.mkdir()
    done.mkdir()
    listener = f"  spiro:\n    adapter: spiro\n    folder: {box}\n    done: {done}\n    poll: 50ms\n"
    env = installed | changed(
        tmp_path / "site",
        {"inbound:\n  pas:": f"inbound:\n{listener}    issuer: STO&2.999.7001&ISO\n  pas:"},
    )
    broker = start_broker(epj_port=epj_sink.port, settings=env)
    assert broker.command("check").returncode == 0

    (box / "S881.csv").write_bytes(SESSION.read_bytes())
    first, second = epj_sink.wait_for(2)
    assert (field(first, b"OBX", 5), field(second, b"OBX", 5)) == (b"3.41", b"4.02")
    wait_until(lambda: (done / "S881.csv").is_file(), "the file is put away")
    wait_until_idle(broker)

    # Dropped once more, after the broker was killed: the same lines are the same messages.
    broker.kill()
    (box / "S881.csv").write_bytes(SESSION.read_bytes())
    (box / "bad.csv").write_bytes(SESSION.read_bytes().replace(b"3.41", b"high"))
    broker.start()
    wait_until(lambda: (box / "refused" / "bad.csv").is_file(), "the bad file stands aside")
    wait_until(lambda: (done / "S881.csv.1").is_file(), "the file is put away again")
    wait_until_idle(broker)

    assert len(epj_sink.messages) == 2
    answer = (box / "refused" / "bad.csv.ack").read_bytes()
    assert field(answer, b"MSA", 1) == b"AE"
    assert b"line 2, value is none that is known" in answer
    assert b"high" not in answer
