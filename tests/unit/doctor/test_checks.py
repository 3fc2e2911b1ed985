from __future__ import annotations

import fcntl
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import apsw
import pytest

from broker import settings
from broker.doctor import checks
from broker.doctor.checks import Scene
from broker.doctor.finding import Finding
from broker.net.tls import ListenerTls, PeerTls
from broker.runtime.journals import journal_of
from broker.runtime.roles import Role
from broker.store import lease
from broker.store.sqlite import SqliteDatabase, journal_file
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.shared import REPOSITORY
from tests.support.webserver import WebServer

SETTINGS = REPOSITORY / "config" / "broker.yaml"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """The shipped settings on a data folder that is empty."""
    env = {"BROKER_DATA": str(tmp_path)}
    return Scene(settings=settings.load(SETTINGS, env=env), env=env, now=datetime.now(UTC))


def journal(scene: Scene) -> Path:
    path = journal_file(scene.data)
    database = SqliteDatabase(path)
    database.open()
    database.close()
    return path


def only(found: list[Finding]) -> Finding:
    (finding,) = found
    return finding


def test_the_shipped_settings_have_nothing_to_find(scene: Scene) -> None:
    for check in (checks.settings_and_routes, checks.python, checks.certificates, checks.ae_titles):
        assert only(list(check(scene))).state == "ok"


def test_each_association_may_have_two_files(tmp_path: Path) -> None:
    def needed(associations: int) -> int:
        loaded = settings.load(SETTINGS, env={"BROKER_DATA": str(tmp_path)})
        dicom = loaded.broker.dicom.model_copy(update={"max_associations": associations})
        changed = replace(loaded, broker=loaded.broker.model_copy(update={"dicom": dicom}))
        finding = only(list(checks.open_files(Scene(settings=changed, env={}, now=datetime.now(UTC)))))
        return int(finding.found.split()[-4])

    assert needed(300) - needed(200) == 200


def test_a_journal_of_this_version_is_well(scene: Scene) -> None:
    assert "no journal yet" in only(list(checks.schema(scene))).found
    journal(scene)
    assert only(list(checks.schema(scene))).state == "ok"
    assert only(list(checks.clock(scene))).state == "ok"


def test_a_journal_of_a_newer_version_is_a_fault(scene: Scene) -> None:
    connection = apsw.Connection(str(journal(scene)))
    connection.execute("PRAGMA user_version=999")
    connection.close()

    assert only(list(checks.schema(scene))).state == "fault"


def test_a_check_that_cannot_be_made_does_not_hide_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal_file(scene.data).write_bytes(b"no database, and longer than a header of one" * 99)
    monkeypatch.setattr(checks, "CHECKS", (checks.schema, checks.python))

    first, second = checks.examine(scene)

    assert (first.check, first.state, second.state) == ("schema", "fault", "ok")
    assert "NotADBError" in first.found


def test_a_spool_of_its_own_is_looked_at_and_one_that_is_not_mounted_is_a_fault(tmp_path: Path) -> None:
    def looked_at(**env: str) -> list[Finding]:
        env = {"BROKER_DATA": str(tmp_path / "data"), **env}
        found = Scene(settings=settings.load(SETTINGS, env=env), env=env, now=datetime.now(UTC))
        return list(checks.spool(found))

    assert looked_at() == [], "it is the data folder"
    missing = only(looked_at(BROKER_SPOOL=str(tmp_path / "share")))
    (tmp_path / "share").mkdir()
    there = looked_at(BROKER_SPOOL=str(tmp_path / "share"))

    assert (missing.check, missing.state) == ("spool", "fault")
    assert (there[0].check, there[0].state) == ("spool", "ok")
    assert {"spool room", "spool fsync"} <= {finding.check for finding in there}


def with_tls(scene: Scene, folder: Path) -> Scene:
    """The same with a port of TLS, and a PACS that is called over it."""
    authority = Authority(folder)
    issued = authority.issue()
    listener = ListenerTls(
        port=free_port(), certificate_file=str(issued.certificate), key_file=str(issued.key), only=True
    )
    broker = scene.settings.broker
    dicom = broker.dicom.model_copy(update={"port": free_port(), "tls": listener})
    outbound = [
        replace(one, config=one.config.model_copy(update={"tls": PeerTls(ca_file=str(authority.file))}))
        if one.name == "pacs"
        else one
        for one in scene.settings.outbound
    ]
    changed = replace(
        scene.settings, broker=broker.model_copy(update={"dicom": dicom}), outbound=tuple(outbound)
    )
    return replace(scene, settings=changed)


def test_each_file_of_tls_is_told_of_and_one_that_is_gone(scene: Scene, tmp_path: Path) -> None:
    changed = with_tls(scene, tmp_path / "tls")

    _, *found = checks.certificates(changed)

    assert [one.found.partition(":")[0] for one in found] == [
        *("dicom.tls.certificate_file", "dicom.tls.key_file", "outbound.pacs.tls.ca_file"),
    ]
    assert [one.state for one in found] == ["warning", "ok", "warning"], "they are valid for two days"

    (tmp_path / "tls" / "authority.pem").unlink()

    gone = next(one for one in checks.certificates(changed) if one.state == "fault")
    assert gone.found.startswith("outbound.pacs.tls.ca_file: ")


def test_both_ports_of_dicom_are_looked_at(scene: Scene, tmp_path: Path) -> None:
    found = checks.ports(with_tls(scene, tmp_path / "tls"))

    assert {"port dicom", "port dicom.tls"} <= {one.check for one in found}


@pytest.mark.parametrize(
    ("role", "opens"),
    [
        ("intake", {"pas", "orders", "results", "dicom", "http"}),
        ("worklist", {"demographics", "dicom", "http"}),
        ("router", {"http"}),
        ("deliver", {"http"}),
    ],
)
def test_a_node_is_asked_for_the_ports_of_its_roles(scene: Scene, role: Role, opens: set[str]) -> None:
    found = checks.ports(replace(scene, roles=frozenset({role})))

    assert {finding.check.removeprefix("port ") for finding in found} == opens


@pytest.mark.parametrize(("status", "state"), [(204, "ok"), (403, "warning")])
def test_a_destination_that_speaks_dicomweb_is_asked_for_nobody(
    tmp_path: Path, status: int, state: str
) -> None:
    with WebServer(lambda request: request.answer(status)) as server:
        file = SETTINGS.read_text(encoding="utf-8").partition("outbound:")[0]
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "broker.yaml").write_text(
            f"{file}outbound:\n  web:\n    adapter: stow\n    url: {server.url}\n", encoding="utf-8"
        )
        read = settings.load(tmp_path / "config" / "broker.yaml", env={})
        finding = only(list(checks.destinations(Scene(settings=read, env={}, now=datetime.now(UTC)))))

    assert (finding.check, finding.state) == ("destination web", state)
    assert [request.path.partition("?")[0] for request in server.requests] == ["/web/studies"]


def test_a_broker_that_has_its_journal_to_itself_is_no_cluster(scene: Scene) -> None:
    assert list(checks.nodes(scene)) == []


def test_a_bus_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    port = free_port()
    away = scene_of(tmp_path, BROKER_BUS=f"amqp://broker:secret@127.0.0.1:{port}//")

    finding = only(list(checks.bus(away)))

    assert (finding.check, finding.state) == ("bus", "warning")
    assert f"127.0.0.1:{port}" in finding.found
    assert "ConnectionRefusedError" in finding.found
    assert "secret" not in finding.found
    assert list(checks.bus(scene_of(tmp_path))) == [], "memory:// is this process"


def test_celery_without_what_it_needs_is_a_fault_before_the_start(tmp_path: Path) -> None:
    finding = only(list(checks.nodes(scene_of(tmp_path, BROKER_EXECUTOR="celery"))))

    assert (finding.check, finding.state) == ("executor", "fault")


def test_nodes_are_looked_at_through_their_journal(
    tmp_path: Path, postgres: Postgres, journal_template: str
) -> None:
    (tmp_path / "spool").mkdir()
    env = {
        "BROKER_STORE": postgres.url(postgres.database(journal_template)),
        "BROKER_SPOOL": str(tmp_path / "spool"),
    }
    it = scene_of(tmp_path, **env)

    def looked_at() -> dict[str, str]:
        return {finding.check: finding.state for finding in checks.nodes(it)}

    before = looked_at()
    database = journal_of(it.settings)
    database.open()
    database.write(partial(lease.take, name="leader", owner=it.settings.node)).result()
    database.write(partial(lease.take, name="way epj 0", owner="elsewhere:/data 0123abcd")).result()
    database.close()
    after = looked_at()
    broker_runs = (tmp_path / "data" / "broker.lock").open("w")
    fcntl.flock(broker_runs, fcntl.LOCK_EX)
    running = looked_at()
    broker_runs.close()

    assert before == {
        "executor": "ok", "clocks": "ok", "shared spool": "ok", "leader": "warning", "node name": "ok"
    }  # fmt: skip
    assert (after["leader"], after["node name"]) == ("ok", "warning"), "it leads, but is not seen here"
    assert running["node name"] == "ok"


def test_nodes_without_a_spool_and_a_journal_that_is_away(tmp_path: Path, postgres: Postgres) -> None:
    empty = scene_of(tmp_path, BROKER_STORE=postgres.url(postgres.database()))
    away = scene_of(tmp_path, BROKER_STORE=f"postgresql://broker@127.0.0.1:{free_port()}/broker")

    assert [(f.check, f.state) for f in checks.nodes(empty)][1:] == [
        ("clocks", "ok"),
        ("shared spool", "warning"),
    ]
    assert [f.check for f in checks.nodes(away)] == ["executor"], "`schema` tells the rest"
    assert only(list(checks.schema(away))).found.endswith("cannot be reached: Connection refused")


def scene_of(folder: Path, **env: str) -> Scene:
    """The shipped settings, a data folder, and what else the environment says."""
    (folder / "data").mkdir(exist_ok=True)
    env = {"BROKER_DATA": str(folder / "data"), **env}
    return Scene(settings=settings.load(SETTINGS, env=env), env=env, now=datetime.now(UTC))
