from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest

from broker.doctor import look
from broker.net.web_peer import WebPeer
from tests.support.ports import free_port
from tests.support.webserver import WebServer

MOUNTS = """\
25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 25 0:27 / /run rw - tmpfs tmpfs rw
31 25 0:28 / /srv/with\\040space rw - xfs /dev/sdb1 rw
32 31 0:29 / /srv/with\\040space rw - nfs4 host:/export rw
"""


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("/var/lib/broker", ("ext4", "/")),
        ("/run/broker", ("tmpfs", "/run")),
        ("/running", ("ext4", "/")),
        ("/srv/with space/data", ("nfs4", "/srv/with space")),  # what was mounted last covers the other
    ],
)
def test_the_longest_mount_point_holds_a_folder(folder: str, found: tuple[str, str]) -> None:
    assert look.mounted(MOUNTS, Path(folder)) == found


def test_a_free_port_is_free_afterwards_too() -> None:
    number = free_port()

    assert look.port("x", "127.0.0.1", number).error == 0
    assert look.port("x", "127.0.0.1", number).error == 0


def test_who_has_a_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = look.port("x", "127.0.0.1", server.getsockname()[1])

    assert (seen.error, seen.holder) == (errno.EADDRINUSE, os.getpid())
    assert seen.holder_name


def test_an_address_of_another_machine_is_told() -> None:
    assert look.port("x", "192.0.2.1", 0).error == errno.EADDRNOTAVAIL


def test_who_holds_the_data_folder_is_told(tmp_path: Path) -> None:
    assert look.broker_on(tmp_path) is None
    with (tmp_path / "broker.lock").open("w") as lock:
        assert look.broker_on(tmp_path) is None
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert look.broker_on(tmp_path) == os.getpid()


def test_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    median, offset = look.writing(tmp_path)

    assert median > 0
    assert abs(offset) < 60
    assert list(tmp_path.iterdir()) == []


def test_the_folder_that_a_start_would_make_is_looked_for_above(tmp_path: Path) -> None:
    assert look.existing(tmp_path / "a" / "b") == tmp_path


def test_a_peer_that_is_not_there_is_told_with_its_address() -> None:
    number = free_port()

    assert f"127.0.0.1:{number}" in look.connects("127.0.0.1", number)
    assert f"127.0.0.1:{number}" in look.echoes("127.0.0.1", number, called_aet="A", calling_aet="B")
    assert f"127.0.0.1:{number}" in look.searches(WebPeer(url=f"http://127.0.0.1:{number}"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert look.connects("127.0.0.1", server.getsockname()[1]) == ""


@pytest.mark.parametrize(
    ("status", "why"), [(204, ""), (401, "HTTP 401: url or credentials"), (404, "QIDO-RS: HTTP 404")]
)
def test_what_a_dicomweb_server_says_of_our_address_and_credentials_is_told(status: int, why: str) -> None:
    with WebServer(lambda request: request.answer(status)) as server:
        said = look.searches(WebPeer(url=server.url))

    assert said.startswith(why)
    assert bool(said) == bool(why)
