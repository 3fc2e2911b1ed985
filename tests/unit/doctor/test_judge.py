from __future__ import annotations

import errno
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from broker.doctor import judge
from broker.doctor.finding import Finding
from broker.doctor.judge import Port


def states(findings: Iterable[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def port(error: int = 0, holder: int | None = None, *, name: str = "pas", number: int = 2575) -> Port:
    held = {"holder": holder, "holder_name": "someone"} if holder else {}
    return Port(name=name, host="127.0.0.1", port=number, error=error, **held)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "broker", "state", "found"),
    [
        (port(), None, "ok", "is free"),
        (port(), 7, "fault", "not open, though a broker runs"),
        (port(number=0), 7, "ok", "is free"),  # any port: which one it got is not known here
        (port(errno.EADDRINUSE, 7), 7, "ok", "is open, and a broker runs (process 7)"),
        (port(errno.EADDRINUSE), 7, "ok", "run as its user"),
        (port(errno.EADDRINUSE, 8), 7, "fault", "taken by someone (process 8)"),
        (port(errno.EADDRINUSE, 8), None, "fault", "taken by someone (process 8)"),
        (port(errno.EADDRINUSE), None, "fault", "cannot be seen"),
        (port(errno.EADDRNOTAVAIL), None, "fault", "no address of this machine"),
        (port(errno.EACCES), None, "fault", "may not be opened"),
        (port(errno.EAFNOSUPPORT), None, "fault", "EAFNOSUPPORT"),
    ],
)
def test_a_port_is_free_ours_or_anothers(seen: Port, broker: int | None, state: str, found: str) -> None:
    (finding,) = judge.ports([seen], broker)

    assert (finding.check, finding.state) == ("port pas", state)
    assert found in finding.found


def test_two_listeners_on_one_port_are_a_fault_but_any_port_is_not_one() -> None:
    assert states(judge.ports([port(), port(name="orders")], None)) == ["ok", "fault"]
    assert states(judge.ports([port(number=0), port(name="orders", number=0)], None)) == ["ok", "ok"]


@pytest.mark.parametrize(("free", "state"), [(99, "fault"), (100, "warning"), (399, "warning"), (400, "ok")])
def test_room_is_held_against_the_limit(free: int, state: str) -> None:
    assert judge.room(free, 100).state == state


@pytest.mark.parametrize(
    ("kind", "state"), [("ext4", "ok"), ("xfs", "ok"), ("tmpfs", "warning"), ("nfs4", "warning")]
)
def test_a_file_system_that_forgets_or_is_remote_is_warned_of(kind: str, state: str) -> None:
    assert judge.file_system(kind, "/data").state == state


@pytest.mark.parametrize(
    ("seconds", "state"), [(1e-6, "warning"), (0.0002, "ok"), (0.009, "ok"), (0.03, "warning")]
)
def test_a_sync_that_costs_nothing_is_none(seconds: float, state: str) -> None:
    assert judge.syncing(seconds).state == state


@pytest.mark.parametrize(
    ("writable", "mode", "user", "state"),
    [
        (True, 0o700, 1, "ok"),
        (True, 0o755, 1, "warning"),
        (True, 0o700, 0, "warning"),
        (False, 0o700, 1, "fault"),
    ],
)
def test_the_data_folder_is_its_owners(writable: bool, mode: int, user: int, state: str) -> None:
    assert judge.data_folder("/data", writable=writable, mode=mode, owner=1, user=user).state == state


@pytest.mark.parametrize(("found", "state"), [(None, "ok"), (2, "ok"), (1, "warning"), (3, "fault")])
def test_a_newer_schema_has_no_way_back(found: int | None, state: str) -> None:
    assert judge.schema(found, 2).state == state


def titles(
    own: str = "BROKER",
    peers: tuple[str, ...] = ("CT1",),
    stations: tuple[str, ...] = ("CT1",),
    destinations: dict[str, tuple[str, str]] | None = None,
    *,
    open_ae: bool = False,
    loopback: bool = True,
) -> list[Finding]:
    called = destinations or {}
    return list(judge.ae_titles(own, peers, stations, called, open_ae=open_ae, loopback=loopback))


def test_titles_without_a_clash_are_counted() -> None:
    (finding,) = titles(destinations={"pacs": ("ORTHANC", "a:1")})

    assert (finding.state, finding.found) == ("ok", "BROKER, 1 peers, 1 stations, 1 destinations")


@pytest.mark.parametrize(
    ("findings", "state", "found"),
    [
        (titles(peers=("CT1", "A_TITLE_TOO_LONG_")), "fault", "A_TITLE_TOO_LONG_"),
        (titles(peers=("CT1", "A\\B")), "fault", "A\\B"),
        (titles(peers=("CT1", "CT1")), "warning", "CT1 stands 2 times"),
        (titles(peers=("CT1", "BROKER")), "fault", "stands in dicom.peers"),
        (titles(stations=("CT1", "BROKER"), open_ae=True), "fault", "stands in a table of stations"),
        (titles(destinations={"pacs": ("BROKER", "a:1")}), "fault", "stands in outbound"),
        (titles(destinations={"a": ("P", "a:1"), "b": ("P", "b:1")}), "warning", "at two addresses"),
        (titles(peers=("CT1", "ct1")), "warning", "differ only in case"),
        (titles(stations=("CT1", "MR1")), "warning", "may not call: MR1"),
        (titles(open_ae=True, loopback=False), "warning", "any calling AE title"),
    ],
)
def test_a_clash_of_titles_is_named(findings: list[Finding], state: str, found: str) -> None:
    (finding,) = findings

    assert finding.state == state
    assert found in finding.found


NOW = datetime(2026, 3, 9, 8, 0, tzinfo=timezone(timedelta(hours=1), "CET"))


def clock(**changed: object) -> Finding:
    usual = {"built": NOW - timedelta(days=9), "newest": None, "file_offset": 0.0, "windows": True}
    now = changed.pop("now", NOW)
    return judge.clock(now, **{**usual, **changed})  # type: ignore[arg-type]


def test_a_clock_must_not_be_behind_what_it_wrote() -> None:
    assert clock().state == "ok"
    assert clock(newest=NOW - timedelta(hours=1)).state == "ok"
    assert clock(newest=NOW + timedelta(hours=1)).state == "fault"
    assert clock(built=NOW + timedelta(days=2)).state == "fault"
    assert clock(file_offset=-5.0).state == "warning"


def test_hours_of_a_destination_need_the_hospitals_time_zone() -> None:
    assert clock(now=NOW.astimezone(UTC)).state == "warning"
    assert clock(now=NOW.astimezone(UTC), windows=False).state == "ok"


def test_versions_are_held_against_the_lock() -> None:
    lock = "apsw==3.51.3.0 \\\n    --hash=sha256:00\ntzdata==2026.1 ; sys_platform == 'win32' \\\n"

    assert judge.packages({"apsw": "3.51.3.0", "Unrelated_One": "1"}, lock).state == "ok"
    other = judge.packages({"APSW": "3.50.0"}, lock)
    assert (other.state, other.found) == ("warning", "not the locked versions: apsw 3.50.0 (locked 3.51.3.0)")


def test_limits_and_versions() -> None:
    assert [judge.open_files(n, 1000).state for n in (-1, 1200, 1199)] == ["ok", "ok", "warning"]
    assert [judge.python(v, (3, 11), "3").state for v in ((3, 11), (3, 10))] == ["ok", "fault"]


def test_whatever_is_not_well_says_what_to_do() -> None:
    findings = [
        *titles(peers=("X" * 20, "BROKER")),
        judge.room(0, 1),
        judge.schema(9, 2),
        clock(file_offset=9.0),
    ]

    assert all(finding.do for finding in findings if finding.state != "ok")
