"""From an order's AA to its row on the worklist, as a modality that keeps its association would see it."""

from __future__ import annotations

import time

from tests.bench.stage import Stage, say
from tests.bench.table import Table, median, milliseconds, percentile, ratio
from tests.bench.targets import within
from tests.support.dcmtk import worklist_query
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, encoded
from tests.support.messages import Person, orm
from tests.support.mllp import MllpClient, field

TEXT = """One order after the other (ORM^O01), each for a patient of its own. The clock runs from the last byte of the
`AA` to the first C-FIND answer that holds the row; the query is by Patient ID on an association that is kept, and is
repeated until the row is there. The floor is one such query for a row that is there already: nothing can be seen
sooner. What the sender waits for its `AA` stands beside it."""

LIMIT = (
    "the row is there one commit after the `AA`; what is measured is that and the queries that look for it, each of"
    " which takes as long as the floor and competes with routing for the interpreter"
)


def measure(stage: Stage) -> Table:
    """Median and p99 over 200 orders with nothing else going on."""
    count = stage.count(200)
    with stage.broker("orders") as broker, Scu(broker.dicom_port, [(WORKLIST, EXPLICIT)]) as modality:
        with broker.orders() as orders:
            for number in range(20):
                one_order(orders, modality, f"9{number:05d}")
            waits = [one_order(orders, modality, f"1{number:05d}") for number in range(count)]
        query = encoded(worklist_query(PatientID="100000"))
        floor = [_timed_query(modality, query) for _ in range(count)]
    acks, visible = [ack for ack, _ in waits], [row for _, row in waits]
    middle, late = median(visible), percentile(visible, 0.99)
    say(f"  order's AA to its row: median {milliseconds(middle)}, p99 {milliseconds(late)}")
    rows = [
        [
            name,
            milliseconds(of(floor)),
            milliseconds(of(acks)),
            milliseconds(of(visible)),
            ratio(of(visible), of(floor)),
        ]
        for name, of in (
            ("median", median),
            ("p99", lambda values: percentile(values, 0.99)),
            ("longest", max),
        )
    ]
    return Table(
        title=f"From an order's `AA` to its row, {count} orders",
        text=TEXT,
        columns=("", "floor: one query", "order to `AA`", "`AA` to row", "row / floor"),
        rows=rows,
        targets=[
            within("order's `AA` to its row, p50", middle, 0.010, LIMIT),
            within("order's `AA` to its row, p99", late, 0.050, LIMIT),
        ],
    )


def one_order(orders: MllpClient, modality: Scu, number: str) -> tuple[float, float]:
    """(seconds to AA, seconds from AA to the row)."""
    message = orm(f"O{number}", Person(number=number, family="Sørby", given="Áile"), number)
    query = encoded(worklist_query(PatientID=number))
    began = time.perf_counter()
    answer = orders.ask(message)
    acknowledged = time.perf_counter()
    assert field(answer, b"MSA", 1) == b"AA"
    while not modality.find(query):
        if time.perf_counter() - acknowledged > 10:
            raise TimeoutError("a row did not come within 10 s")
    return acknowledged - began, time.perf_counter() - acknowledged


def _timed_query(modality: Scu, query: bytes) -> float:
    began = time.perf_counter()
    assert len(modality.find(query)) == 1
    return time.perf_counter() - began
