"""Peers of MLLP connections."""

from __future__ import annotations

from broker.net.mllp_peer import Peer


def test_peers_print_as_addresses() -> None:
    assert str(Peer("10.0.0.1", 2575)) == "10.0.0.1:2575"
    assert str(Peer("::1", 2575)) == "[::1]:2575"
