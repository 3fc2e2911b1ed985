"""Associations per second, each with one worklist query, from many clients at once, beside DCMTK's wlmscpfs."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from dataclasses import dataclass

from pydicom import Dataset

from tests.bench.load import run
from tests.bench.stage import Stage, say
from tests.bench.table import Table, milliseconds, percentile, rate, ratio
from tests.bench.targets import Target, at_least
from tests.bench.worklist_query import CONTEXTS, all_rows, order, wlmscpfs
from tests.support.dcmtk import worklist_query
from tests.support.dimse import Wire, encoded
from tests.support.flows import wait_until_routed

CLIENTS = (1, 10, 100)
ROWS = 1000

TEXT = """Each client opens an association, asks for the worklist of one station and day (8 rows of 1,000), releases,
and begins again. The client is one thread that adds next to nothing. wlmscpfs runs with `TCP_NODELAY=1` and refuses
more than 50 associations at once; refused ones are counted, and do not count as associations."""

GOAL = 7.0
LIMIT = (
    "one interpreter answers for all of them, one thread at a time: a profile gives half of an association's time to"
    " reading, choosing and encoding its rows"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    per_second: float
    median: float
    """Seconds from connecting to the end of the release."""
    refused: int


def measure(stage: Stage) -> Table:
    """1, 10 and 100 clients."""
    step = Dataset()
    step.ScheduledStationAETitle, step.ScheduledProcedureStepStartDate = "MR1_STO", "20260310"
    query = encoded(worklist_query(step=step))
    with stage.broker("associations") as broker:
        run(broker.orders_port, 8, (order(number) for number in range(ROWS + 8)), ROWS)
        wait_until_routed(broker)
        found = all_rows(broker)
        ours = {}
        for clients in CLIENTS:
            ours[clients] = _driven(broker.dicom_port, clients, stage.count(1000), query)
            say(
                f"  broker, {clients} clients: {rate(ours[clients].per_second)}, {ours[clients].refused} refused"
            )
    with wlmscpfs(stage, "wl-associations", found) as port:
        theirs = {}
        for clients in CLIENTS:
            theirs[clients] = _driven(port, clients, stage.count(100), query)
            say(f"  wlmscpfs, {clients} clients: {rate(theirs[clients].per_second)}")
    rows, targets = [], list[Target]()
    for clients in CLIENTS:
        us, peer = ours[clients], theirs[clients]
        rows.append(
            [
                str(clients),
                *(rate(peer.per_second), milliseconds(peer.median), str(peer.refused)),
                *(rate(us.per_second), milliseconds(us.median), str(us.refused)),
                ratio(us.per_second, peer.per_second),
            ]
        )
    us, peer = ours[CLIENTS[-1]], theirs[CLIENTS[-1]]
    what = f"associations per second / wlmscpfs, {CLIENTS[-1]} clients"
    targets.append(at_least(what, us.per_second / peer.per_second, GOAL, LIMIT))
    columns = (
        *("clients", "wlmscpfs", "median", "refused"),
        *("broker", "median", "refused", "faster by"),
    )
    return Table(title="Associations", text=TEXT, columns=columns, rows=rows, targets=targets)


class _Client:
    """One association after the other, by what the selector says."""

    def __init__(self, port: int, wire: Wire) -> None:
        self._port, self._wire = port, wire
        self.connect()

    def connect(self) -> None:
        self.since = time.perf_counter()
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(self._wire.associate)
        self._buffer = b""

    def go_on(self) -> bool | None:
        """Takes what has come. True: released; False: refused; None: not yet over."""
        received = self.socket.recv(65536)
        if not received:
            return False
        self._buffer += received
        while len(self._buffer) >= 6:
            kind, length = struct.unpack_from(">BxI", self._buffer)
            if len(self._buffer) < 6 + length:
                break
            body, self._buffer = self._buffer[6 : 6 + length], self._buffer[6 + length :]
            if kind == 2:
                self.socket.sendall(self._wire.find)
            elif kind == 4 and self._wire.is_final(body):
                self.socket.sendall(self._wire.release)
            elif kind == 6:
                return True
            elif kind != 4:
                return False
        return None


def _driven(port: int, clients: int, count: int, query: bytes) -> Result:
    """Until `count` associations were served."""
    wire = Wire(CONTEXTS, query)
    selector = selectors.DefaultSelector()
    for _ in range(clients):
        client = _Client(port, wire)
        selector.register(client.socket, selectors.EVENT_READ, client)
    times: list[float] = []
    refused = 0
    began = time.perf_counter()
    while len(times) < count:
        for key, _ in selector.select(timeout=30):
            client = key.data
            ended = client.go_on()
            if ended is None:
                continue
            if ended:
                times.append(time.perf_counter() - client.since)
            else:
                refused += 1
            selector.unregister(client.socket)
            client.socket.close()
            client.connect()
            selector.register(client.socket, selectors.EVENT_READ, client)
    seconds = time.perf_counter() - began
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return Result(per_second=len(times) / seconds, median=percentile(times, 0.5), refused=refused)
