"""How many associations there are, of whom, on all ports of a server together. Opens and ends none.

PS3.8 9.3.4 (local limit exceeded).
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from broker.net.service import Peer

if TYPE_CHECKING:
    from broker.net.accepted import Association

REFUSALS = 64
"""Connections beyond the associations that may be: they negotiate or are refused. More wait in the kernel."""


class Seats:
    """Of one `AssociationServer`."""

    def __init__(self, *, max_associations: int, max_per_peer: int | None) -> None:
        """`max_per_peer`: of one calling AE title, and of one host; None: as many as there are."""
        # Without one, a limit that nobody can reach: there are no more connections.
        self.most, self._most_of_one = max_associations, max_per_peer or max_associations + REFUSALS
        self.changed = threading.Condition()
        """Guards what follows, and what its users keep; notified whenever a connection has ended."""
        self._seated: dict[Association, Peer] = {}
        self._hosts: Counter[str] = Counter()

    def enter(self, host: str) -> bool:
        """Whether one more connection of the host may be: silent ones too are counted, because one host alone must not
        use up the threads. `leave` is to follow. Under `changed`."""
        if self._hosts[host] >= self._most_of_one + REFUSALS // 2:
            return False
        self._hosts[host] += 1
        return True

    def leave(self, association: Association) -> None:
        """Its connection ends. Under `changed`."""
        self._seated.pop(association, None)
        self._hosts -= Counter((association.host,))
        self.changed.notify_all()

    def take(self, association: Association, peer: Peer) -> str:
        """Why the peer may not associate, or nothing: then it has a seat."""
        with self.changed:
            seated = self._seated.values()
            if len(seated) >= self.most:
                return "too many associations"
            if sum(other.calling_aet == peer.calling_aet for other in seated) >= self._most_of_one:
                return "too many associations of this AE title"
            if sum(other.host == peer.host for other in seated) >= self._most_of_one:
                return "too many associations of this host"
            self._seated[association] = peer
            return ""

    def give(self, association: Association) -> None:
        """The association is over, the connection not yet."""
        with self.changed:
            self._seated.pop(association, None)

    def of(self, calling_aet: str) -> list[Association]:
        """Associations that a peer has open."""
        with self.changed:
            return [one for one, peer in self._seated.items() if peer.calling_aet == calling_aet]
