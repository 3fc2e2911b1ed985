"""One C-ECHO, against our own association server over loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from broker.net.association import AssociationServer
from broker.net.echo_scu import echo
from tests.support.ports import free_port


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    server = AssociationServer(
        "127.0.0.1", 0, ae_title="CT1", spool=tmp_path, admit=lambda peer: peer.calling_aet == "BROKER"
    )
    server.start()
    yield server.port
    server.stop(grace=1.0)


def ask(port: int, *, called: str = "CT1", calling: str = "BROKER") -> str:
    return echo("127.0.0.1", port, called_aet=called, calling_aet=calling, patience=5.0)


def test_a_peer_that_answers(port: int) -> None:
    assert ask(port) == ""


def test_a_peer_that_lets_us_not_in_is_quoted(port: int) -> None:
    assert "calling AE title not recognised" in ask(port, calling="OTHER")
    assert "called AE title not recognised" in ask(port, called="CT2")


def test_nobody_there() -> None:
    assert ask(number := free_port()).startswith(f"no connection to 127.0.0.1:{number}")


def test_a_peer_that_serves_no_c_echo() -> None:
    peer = AE("CT1")
    peer.add_supported_context(CTImageStorage)
    server = peer.start_server(("127.0.0.1", 0), block=False)
    try:
        assert ask(server.server_address[1]) == "CT1 takes the association, but no C-ECHO"
    finally:
        server.shutdown()
