"""Worklist queries per second from many clients at once, beside DCMTK's wlmscpfs and Orthanc's worklist plugin."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

from tests.bench.stage import Stage, say
from tests.bench.table import Table, milliseconds, percentile, rate, ratio
from tests.bench.targets import Target, at_least
from tests.bench.worklist_peers import CONTEXTS, PEERS, SHIPPED, TOLD, serving, written
from tests.bench.worklist_query import STATION, asked, queries
from tests.bench.worklist_rows import broker_with, sized
from tests.support.dimse import Wire

CLIENTS: Final = (1, 10, 50, 100)
ROWS: Final = 1000

TEXT = """Each client asks for the worklist of one station and day (7 rows of 1,000), again and again: over an
association of its own for each query (`new`), or over one that it keeps. The client is one thread that adds next to
nothing. The peers are those of the worklist queries. wlmscpfs serves 50 associations at once and refuses others;
refused ones are counted (`r`), come again after 20 ms, and do not count as queries. Orthanc serves four at once, the
others wait. The median is from asking (`kept`) or connecting (`new`) to the end."""

GOAL, RATE = 7.0, 350.0
"""Associations at 100 clients: times the faster peer's, and how many a second on a quiet machine of two cores."""
LIMIT = (
    "one interpreter answers for all of them, one thread at a time: a profile gives a third of an association's time to"
    " its sockets, a third to the query and its statements, and a third to opening and releasing"
)
BACK: Final = 0.02
"""Seconds until a client that was refused comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    per_second: float
    median: float
    """Seconds, of a query with whatever belongs to it."""
    refused: int

    def __str__(self) -> str:
        refused = f", {self.refused} r" if self.refused else ""
        return f"{rate(self.per_second)}, {milliseconds(self.median)}{refused}"


def measure(stage: Stage) -> Table:
    """1 to 100 clients, associations new and kept."""
    query = queries(sized(ROWS))[STATION]
    with broker_with(stage, "associations", sized(ROWS)) as broker:
        answers = asked(broker.dicom_port, query)
        ours = _of(broker.dicom_port, stage.count(1000), query)
        folder = written(stage, "wl-associations", broker)
    say("  broker: done")
    theirs = {}
    for peer in PEERS:
        with serving(stage, peer, folder) as port:
            assert asked(port, query) == answers, f"{peer} answers with other rows"
            theirs[peer] = _of(port, stage.count(100), query)
        say(f"  {peer}: done")
    rows = []
    for how, clients in ours:
        us = ours[how, clients]
        told, shipped = (max(theirs[peer][how, clients].per_second for peer in of) for of in (TOLD, SHIPPED))
        rows.append(
            [
                *(str(clients), how, *(str(theirs[peer][how, clients]) for peer in PEERS), str(us)),
                *(ratio(us.per_second, told), ratio(us.per_second, shipped)),
            ]
        )
    most = ours["new", CLIENTS[-1]].per_second
    fastest = max(theirs[peer]["new", CLIENTS[-1]].per_second for peer in PEERS)
    targets: list[Target] = [
        at_least(
            f"associations per second / fastest peer, {CLIENTS[-1]} clients", most / fastest, GOAL, LIMIT
        ),
        at_least(f"associations per second / {RATE:.0f}, {CLIENTS[-1]} clients", most / RATE, 1.0, LIMIT),
    ]
    columns = ("clients", "association", *PEERS, "broker", "faster", "than as shipped")
    return Table(title="Associations", text=TEXT, columns=columns, rows=rows, targets=targets)


def _of(port: int, count: int, query: bytes) -> dict[tuple[str, int], Result]:
    return {
        (how, clients): _driven(port, clients, max(count, 2 * clients), query, kept=how == "kept")
        for how in ("new", "kept")
        for clients in CLIENTS
    }


class _Client:
    """One query after the other, by what the selector says."""

    def __init__(self, port: int, wire: Wire, *, kept: bool) -> None:
        self._port, self._wire, self._kept = port, wire, kept
        self.connect()

    def connect(self) -> None:
        self.since = time.perf_counter()
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(self._wire.associate)
        self._buffer = b""

    def go_on(self) -> bool | None:
        """Takes what has come. True: answered and, where the association is not kept, released; False: refused."""
        try:
            received = self.socket.recv(65536)
        except ConnectionError:
            return False
        if not received:
            return False
        self._buffer += received
        while len(self._buffer) >= 6:
            kind, length = struct.unpack_from(">BxI", self._buffer)
            if len(self._buffer) < 6 + length:
                break
            body, self._buffer = self._buffer[6 : 6 + length], self._buffer[6 + length :]
            if kind == 2:
                self.ask()
            elif kind == 4 and self._wire.is_final(body):
                if self._kept:
                    return True
                self.socket.sendall(self._wire.release)
            elif kind == 6:
                return True
            elif kind != 4:
                return False
        return None

    def ask(self) -> None:
        if self._kept:
            self.since = time.perf_counter()
        self.socket.sendall(self._wire.find)


def _driven(port: int, clients: int, count: int, query: bytes, *, kept: bool = False) -> Result:
    """Until `count` queries were answered."""
    wire = Wire(CONTEXTS, query)
    selector = selectors.DefaultSelector()
    for _ in range(clients):
        client = _Client(port, wire, kept=kept)
        selector.register(client.socket, selectors.EVENT_READ, client)
    times: list[float] = []
    turned_away: list[tuple[float, _Client]] = []
    refused = 0
    began = time.perf_counter()
    while len(times) < count:
        for key, _ in selector.select(timeout=BACK if turned_away else 30):
            client = key.data
            ended = client.go_on()
            if ended is None:
                continue
            if ended:
                times.append(time.perf_counter() - client.since)
                if kept:
                    client.ask()
                    continue
            selector.unregister(client.socket)
            client.socket.close()
            if ended:
                client.connect()
                selector.register(client.socket, selectors.EVENT_READ, client)
            else:
                refused += 1
                turned_away.append((time.perf_counter() + BACK, client))
        while turned_away and turned_away[0][0] <= time.perf_counter():
            _, client = turned_away.pop(0)
            client.connect()
            selector.register(client.socket, selectors.EVENT_READ, client)
    seconds = time.perf_counter() - began
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return Result(per_second=len(times) / seconds, median=percentile(times, 0.5), refused=refused)
