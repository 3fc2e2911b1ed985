"""`broker tap` beside a running broker: over `broker apply`, a kill and a restart; who may see what; the audit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.flows import accepted, wait_until_idle
from tests.support.messages import Person, adt, orm
from tests.support.mllp import MllpSink
from tests.support.postgres import Postgres
from tests.support.processes import wait_until
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

SECRET = Person(number="700123", national="30908299902", family="Hemmelig", given="Ukjentnavn")
OTHER = Person(number="700124", family="Annerledes")
IDENTITY = ("Hemmelig", "Ukjentnavn", "Annerledes", "30908299902", "70012", "19821030")


class Tap:
    """A `broker tap` that runs: what it wrote to either output."""

    def __init__(self, broker: Broker, folder: Path, *arguments: str, stdin: str = "") -> None:
        self._out, self._err = folder / "tap.out", folder / "tap.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "broker", "tap", *arguments],
                cwd=REPOSITORY,
                env=broker._environment(),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                # A shell that runs the tests in the background has its children ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        assert self.process.stdin is not None
        self.process.stdin.write(stdin.encode())
        self.process.stdin.close()

    def watching(self) -> Tap:
        wait_until(lambda: "watching" in self.err or self.process.poll() is not None, "the tap is ready")
        assert self.process.poll() is None, self.err
        return self

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    @property
    def told(self) -> list[dict[str, Any]]:
        """Whole lines only: it may be writing."""
        return [json.loads(line) for line in self.out.split("\n")[:-1]]

    def numbers(self, stream: str, **wanted: str) -> list[str]:
        """Control ids of what was told of a stream, in its order."""
        return [
            one["control_id"]
            for one in self.told
            if one["stream"] == stream and all(one[name] == value for name, value in wanted.items())
        ]

    def end(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(15)


@pytest.fixture
def tap(tmp_path: Path) -> Iterator[Callable[..., Tap]]:
    made: list[Tap] = []

    def start(broker: Broker, *arguments: str, stdin: str = "") -> Tap:
        folder = tmp_path / f"tap-{len(made)}"
        folder.mkdir()
        made.append(Tap(broker, folder, *arguments, stdin=stdin))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait()


def audited(broker: Broker) -> list[tuple[str, str, dict[str, Any]]]:
    """(action, reason, detail) of each line of the audit."""
    return [(e["action"], e["reason"], e["detail"]) for e in broker.command_json("audit")]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_each_thing_is_seen_once_over_an_apply_and_a_killed_broker(
    engine: str,
    start_broker: StartBroker,
    tap: Callable[..., Tap],
    epj_sink: MllpSink,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    settings = changed(tmp_path / "site", {})
    if engine == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        settings["BROKER_STORE"] = server.url(server.database())
    broker = start_broker(epj_port=epj_sink.port, settings=settings)
    look = tap(
        broker, "--format", "json", "--raw", "--fields", "PID-3,PID-5", "--reason", "a drill"
    ).watching()
    sent: list[str] = []

    def send() -> None:
        numbers = [f"C{len(sent) + n}" for n in range(5)]
        with broker.pas() as pas:
            accepted(pas, *(adt("A04", number, SECRET) for number in numbers))
        sent.extend(numbers)

    send()
    route = tmp_path / "site" / "routes" / "adt-to-epj.yaml"
    text = route.read_text(encoding="utf-8")
    route.write_text(
        text.replace("    purpose: contact\n", "    purpose: contact\n    set: { MSH-8: X }\n"),
        encoding="utf-8",
    )
    applied = broker.command("apply", "--reason", "a test", "--no-tests")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    send()
    wait_until_idle(broker)
    broker.kill()
    broker.start()
    send()
    wait_until_idle(broker)
    wait_until(lambda: len(look.numbers("deliveries", destination="epj")) >= len(sent), "all were seen")

    assert look.end() == 0
    assert look.numbers("received") == sent
    assert list(dict.fromkeys(look.numbers("events"))) == sent
    assert look.numbers("deliveries", destination="epj", outcome="delivered") == sent
    versions = list(dict.fromkeys(one["routes"] for one in look.told if one["stream"] == "events"))
    assert len(versions) == 2, "both route sets were seen"
    for word in IDENTITY:
        assert word not in look.out + look.err
    assert f"{len(look.told)} shown of {len(look.told)}" in look.err
    begun, ended = audited(broker)
    assert begun[:2] == ("tap", "a drill")
    assert begun[2]["fields"] == ["PID-3", "PID-5"]
    assert ended[0] == "tap ended"
    assert (ended[2]["why"], ended[2]["shown"]) == ("stopped", len(look.told))


def test_filters_quota_and_the_past(
    start_broker: StartBroker,
    tap: Callable[..., Tap],
    epj_sink: MllpSink,
) -> None:
    broker = start_broker(epj_port=epj_sink.port)
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "C1", SECRET), adt("A04", "C2", OTHER))
        accepted(orders, orm("C3", SECRET, "910", modality="CT"), orm("C4", SECRET, "911", modality="MR"))
    wait_until_idle(broker)

    def ids(*arguments: str, stdin: str = "") -> list[str]:
        look = tap(broker, "--last", "50", "--for", "250ms", "--format", "json", *arguments, stdin=stdin)
        assert look.process.wait(30) == 0, look.err
        return [one["control_id"] for one in look.told]

    assert ids("received") == ["C1", "C2", "C3", "C4"]
    assert ids("received", "--patient", "-", stdin="700123\n") == ["C1", "C3", "C4"]
    assert ids("received", "--where", "step.modality == 'CT'") == ["C3"]
    assert ids("--type", "ORM^*", "--destination", "worklist") == ["C3", "C4"]
    assert ids("events", "--event", "patient.*", "--count", "1") == ["C1"]
    assert ids("--outcome", "parked") == []
    entries = audited(broker)
    assert [action for action, _, _ in entries] == ["tap", "tap ended"] * 6
    assert "700123" not in repr(entries)
    for wrong in (
        ("--source", "pass"),
        ("--where", "step.modaliti == 'CT'"),
        ("--where", "patient.verified"),
        ("--verdict", "accepted", "--outcome", "parked"),
        ("--fields", "PID"),
        ("--sample", "2"),
        ("--phi",),
    ):
        assert broker.command("tap", *wrong).returncode == 2, wrong
    assert len(audited(broker)) == 12, "what never began is no use of it"

    look = tap(broker).watching()

    def terminated() -> bool:
        """As timeout(1) does, which signals its child and then the whole group."""
        look.process.send_signal(signal.SIGTERM)
        return look.process.poll() is not None

    wait_until(terminated, "the tap ends")
    assert look.process.returncode == 0, look.err
    assert audited(broker)[-1][0] == "tap ended"


def test_values_are_shown_only_where_the_settings_say_so(
    start_broker: StartBroker, tmp_path: Path, epj_sink: MllpSink
) -> None:
    broker = start_broker(epj_port=epj_sink.port, settings=changed(tmp_path / "site", {}))
    with broker.pas() as pas:
        accepted(pas, adt("A04", "C1", SECRET))
    wait_until_idle(broker)
    asked = ("tap", "received", "--last", "1", "--count", "1", "--raw", "--phi", "--reason", "case 4711")
    refused = broker.command(*asked)
    assert refused.returncode == 2
    assert "tap.allow_phi is off" in refused.stderr
    assert not any(word in refused.stdout for word in IDENTITY)

    config = Path(broker.environment["BROKER_CONFIG"])
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("allow_phi: false", "allow_phi: true"), encoding="utf-8")
    shown = broker.command(*asked)
    assert shown.returncode == 0, shown.stderr
    assert SECRET.pid() in shown.stdout
    assert "WITH PATIENT DATA" in shown.stderr
    entries = audited(broker)
    assert [(action, reason) for action, reason, _ in entries] == [
        ("tap refused", "case 4711"),
        ("tap", "case 4711"),
        ("tap ended", "case 4711"),
    ]
    assert entries[1][2]["phi"] is True


def test_a_closed_pipe_ends_it_quietly(start_broker: StartBroker, epj_sink: MllpSink) -> None:
    broker = start_broker(epj_port=epj_sink.port)
    with subprocess.Popen(
        [sys.executable, "-m", "broker", "tap", "received"],
        cwd=REPOSITORY,
        env=broker._environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"watching" in process.stderr.readline()
        with broker.pas() as pas:
            accepted(pas, adt("A04", "C1", SECRET))
            assert b"ADT^A04 C1" in process.stdout.readline()
            process.stdout.close()
            accepted(pas, adt("A04", "C2", SECRET))
        assert process.wait(15) == 0
        assert process.stderr.read() == b""
    assert [(action, detail.get("why")) for action, _, detail in audited(broker)] == [
        ("tap", None),
        ("tap ended", "closed"),
    ]
