"""Search in a journal of many rows over ninety days, as `broker trace` and the console ask it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from broker.journal.search import find
from broker.store import days
from broker.store.sqlite import SqliteDatabase
from broker.store.transaction import Transaction
from tests.bench.questions import times_of
from tests.bench.rows import Rows, fill, plan
from tests.bench.stage import Stage, say
from tests.bench.table import Table, median, milliseconds, percentile
from tests.bench.targets import within

DAYS = 90
GOAL = 0.1

TEXT = """{count:,} messages with their search keys over {days} days, filled by SQL (no bodies: a search reads none;
{size:.1f} GB); `ROWS` sets how many, and the target is meant at ten million. Each question is put {times} times about
other values, through `broker.journal.search`, for the newest 20 messages that fit; the file is in the page cache. The
floor is one look-up of one control id in the search keys of the day that has it."""

LIMIT = "a key is looked up in each day's table in turn, newest first: what is old, or nowhere, costs a look-up a day"


def measure(stage: Stage) -> Table:
    """Each kind of question, median and longest."""
    rows = plan(stage.size("ROWS", 300_000), DAYS, datetime.now(UTC).date())
    path = stage.folder / "search.sqlite"
    for number, _day in enumerate(fill(path, rows)):
        if number % 30 == 29:
            say(f"  {number + 1} of {DAYS} days filled")
    database = SqliteDatabase(path)
    tx, times = database.read(), stage.count(50)
    floor = times_of(times, lambda dice: _look_up(tx, rows, dice.randrange(rows.count) + 1))
    lines, slowest = [], 0.0
    for name, ask in questions(rows).items():
        found: list[int] = []

        def once(dice: random.Random, ask: Question = ask, found: list[int] = found) -> None:
            found[:] = find(tx, **ask(dice))

        seconds = times_of(times, once)
        say(f"  {name}: median {milliseconds(median(seconds))}, longest {milliseconds(max(seconds))}")
        slowest = max(slowest, percentile(seconds, 0.99))
        lines.append(
            [
                name,
                str(len(found)),
                milliseconds(median(floor)),
                milliseconds(median(seconds)),
                milliseconds(percentile(seconds, 0.99)),
                milliseconds(max(seconds)),
            ]
        )
    size = path.stat().st_size
    database.close()
    path.unlink()
    return Table(
        title="Journal: search",
        text=TEXT.format(count=rows.count, days=DAYS, size=size / 1e9, times=times),
        columns=("question", "found by the last", "floor: one look-up", "median", "p99", "longest"),
        rows=lines,
        targets=[
            within(f"search among {rows.count:,} messages: p99 of the slowest question", slowest, GOAL, LIMIT)
        ],
    )


Question = Callable[[random.Random], Mapping[str, str]]


def questions(rows: Rows) -> dict[str, Question]:
    """What people ask, each about a value that the dice choose."""

    def message(dice: random.Random) -> int:
        return dice.randrange(rows.count) + 1

    def order(dice: random.Random) -> int:
        return dice.randrange(max(1, rows.count // 10 - 1)) + 1

    def hour(dice: random.Random) -> dict[str, str]:
        start = f"{dice.choice(rows.days)}T{dice.randrange(23):02d}"
        return {"since": start, "until": f"{start[:-2]}{int(start[-2:]) + 1:02d}"}

    return {
        "patient id": lambda dice: {"text": f"P{message(dice) % rows.patients}", "kind": "patient"},
        "accession number": lambda dice: {"text": f"A{order(dice)}", "kind": "accession"},
        "control id": lambda dice: {"text": f"C{message(dice)}", "kind": "control"},
        "Study UID": lambda dice: {"text": f"2.25.{order(dice)}", "kind": "study"},
        "any of these": lambda dice: {"text": f"C{message(dice)}"},
        "a value that nothing has": lambda dice: {"text": f"none{message(dice)}"},
        "patient id in one hour": lambda dice: {"text": f"P{message(dice) % rows.patients}", **hour(dice)},
        "type": lambda dice: {"type": dice.choice(("ADT^A08", "ORM^O01", "C-STORE"))},
        "rare type": lambda _dice: {"type": "ADT^A40"},
        "one hour": hour,
        "type in one hour": lambda dice: {"type": "ORM^O01", **hour(dice)},
        "rare type in one hour": lambda dice: {"type": "ADT^A40", **hour(dice)},
        "type that nothing has, since a day": lambda dice: {
            "type": "ADT^A99",
            "since": dice.choice(rows.days),
        },
    }


def _look_up(tx: Transaction, rows: Rows, number: int) -> None:
    day = rows.days[min(len(rows.days) - 1, (number - 1) // (rows.count // len(rows.days)))]
    sql = f"SELECT message FROM {days.table('message_key', day)} WHERE value=? AND kind='control'"
    assert tx.one(sql, (f"C{number}",)) == (number,)
