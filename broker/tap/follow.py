"""Follows the journal from any process: what was received, routed and delivered since the last look, each once.

Reads only, a statement at a time, so that neither the broker nor its journal ever waits for who looks. What was read
last stands here, not in the broker: a restart, another route set or another leader changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from broker.delivery import stored
from broker.event import Event
from broker.journal import cursor, log
from broker.store.transaction import Transaction, Value
from broker.tap.choice import Content, Item, Stream
from broker.tap.seen import WATCHED, WINDOW, Gaps, Watch

PAGE: Final = 500
"""Items of one stream that are read at once."""

LOOKED: Final = 10_000
"""Of them, how many are looked at in one round; the others follow in the next ones."""

_MESSAGE: Final = (
    "message.seq, message.day, message.id, message.source, message.site, message.protocol, message.type,"
    " message.control_id, message.charset"
)
_ORIGIN: Final = (
    "message",
    "day",
    "message_id",
    "source",
    "site",
    "protocol",
    "type",
    "control_id",
    "charset",
)


class Follow:
    """Where somebody stands in each stream. Every method may raise `StoreError`: then the same call may be repeated."""

    def __init__(self, read: Callable[[], Transaction], streams: Sequence[Stream]) -> None:
        self._read = read
        self._streams = streams
        self._places: dict[Stream, int] = {}
        self._gaps: dict[Stream, Gaps] = {stream: Gaps() for stream in streams}
        self._watch = Watch()
        self._pending: list[Item] = []  # read, and not handed over because the next statement failed

    @property
    def left_out(self) -> int:
        """Open deliveries whose ending will not be seen."""
        return self._watch.left_out

    def begin(self, now: float, since: datetime | None = None) -> None:
        """From here on; with `since`, from what belongs to messages that were received from then on."""
        tx = self._read()
        for stream in self._streams:
            newest = _newest(tx, stream)
            self._places[stream] = newest if since is None else min(newest, _before(tx, stream, since))
            if not tx.gapless and stream != "events":
                numbers = _numbers(tx, stream, self._places[stream])
                self._gaps[stream].passed([*numbers, self._places[stream] + 1], now)
        if "deliveries" in self._streams:
            place = self._places["deliveries"]
            for states in ("'queued', 'parked'", "'held'"):  # each has an index
                for row in reversed(
                    tx.rows(
                        f"SELECT id, state, attempt FROM delivery WHERE state IN ({states}) AND id<=?"
                        " ORDER BY id DESC LIMIT ?",
                        (place, WATCHED),
                    )
                ):
                    self._watch.see(*row)

    def back(self, stream: Stream, pages: int) -> Iterable[list[Item]]:
        """What lies before, page by page from the newest back, each page in its order."""
        upto = self._places[stream]
        for _ in range(pages):
            if upto <= 0:
                return
            after = max(0, upto - PAGE)
            tx = self._read()
            yield [
                item for item in _items(tx, stream, "number>? AND number<=?", (after, upto)) if _shown(item)
            ]
            upto = after

    def round(self, now: float) -> tuple[list[Item], bool]:
        """What is new since the last round, in the order of time; and whether there is more already."""
        full = False
        for stream in self._streams:
            full = self._page(stream, now) or full
        if "deliveries" in self._streams:
            self._pending += self._endings()
        found, self._pending = self._pending, []
        return sorted((item for item in found if _shown(item)), key=lambda item: item.at), full

    def _page(self, stream: Stream, now: float) -> bool:
        """Takes a page of a stream in hand; whether there is more. Everything is read before anything is moved on."""
        tx, place, gaps = self._read(), self._places[stream], self._gaps[stream]
        page = _items(tx, stream, "number>?", (place,), limit=PAGE)
        late: list[Item] = []
        if not tx.gapless and stream != "events":  # an event's place is given in order
            late = _of(tx, stream, gaps.missing())
            gaps.looked((item.number for item in late), now)
            gaps.passed([place, *(item.number for item in page)], now)
        new = [*late, *page]
        self._places[stream] = page[-1].number if page else place
        self._pending += [self._seen(item) for item in new] if stream == "deliveries" else new
        return len(page) == PAGE

    def content(self, item: Item, *, events: bool, raw: bool, payload: bool) -> Content:
        """What stands behind an item."""
        tx = self._read()
        made: list[tuple[Any, ...]] = []
        if events and item.event:
            made = tx.rows("SELECT body FROM event WHERE seq=?", (item.event,))
        elif events:
            made = tx.rows("SELECT body FROM event WHERE message=? ORDER BY seq", (item.message,))
        return Content(
            events=tuple(Event.model_validate_json(body) for (body,) in made),
            raw=log.body(tx, item.message, item.day) if raw else None,
            payload=stored.payload(tx, item.number, item.day)
            if payload and item.stream == "deliveries"
            else None,
        )

    def _endings(self) -> list[Item]:
        tx = self._read()
        found: list[int] = []
        waiting = self._watch.next(LOOKED)
        for looked in (waiting[n : n + PAGE] for n in range(0, len(waiting), PAGE)):
            marks = ",".join("?" * len(looked))
            rows = tx.rows(f"SELECT id, state, attempt FROM delivery WHERE id IN ({marks})", looked)
            found += self._watch.changed(((n, state, attempt) for n, state, attempt in rows), looked)
        return [self._seen(item) for item in _of(tx, "deliveries", found)]

    def _seen(self, item: Item) -> Item:
        outcome = self._watch.see(item.number, str(item.said["outcome"]), int(item.said["attempt"]))
        return replace(item, said={**item.said, "outcome": outcome})


def _shown(item: Item) -> bool:
    """A delivery that only waits is no news."""
    return item.said.get("outcome") not in ("", "queued")


def _newest(tx: Transaction, stream: Stream) -> int:
    row = tx.one(
        {
            "received": "SELECT max(seq) FROM message",
            "events": "SELECT max(place) FROM event",
            "deliveries": "SELECT max(id) FROM delivery",
        }[stream]
    )
    return int(row[0] or 0) if row else 0


def _before(tx: Transaction, stream: Stream, since: datetime) -> int:
    """The last number before everything of messages received from then on; the newest where there are none."""
    if stream == "events":
        return cursor.before(tx, since)
    row = tx.one("SELECT min(seq) FROM message WHERE received>=?", (since.isoformat(),))
    if row is None or row[0] is None:
        return _newest(tx, stream)
    if stream == "received":
        return int(row[0]) - 1
    made = tx.one("SELECT min(seq) FROM event WHERE message>=?", row)
    first = tx.one("SELECT min(id) FROM delivery WHERE event>=?", made) if made and made[0] else None
    return int(first[0]) - 1 if first and first[0] else _newest(tx, stream)


def _numbers(tx: Transaction, stream: Stream, place: int) -> list[int]:
    column, table = ("seq", "message") if stream == "received" else ("id", "delivery")
    rows = tx.rows(
        f"SELECT {column} FROM {table} WHERE {column}>? AND {column}<=? ORDER BY {column}",
        (place - WINDOW, place),
    )
    return [number for (number,) in rows]


def _of(tx: Transaction, stream: Stream, numbers: Sequence[int]) -> list[Item]:
    """Those of them that are there."""
    found: list[Item] = []
    for part in (numbers[n : n + PAGE] for n in range(0, len(numbers), PAGE)):
        found += _items(tx, stream, f"number IN ({','.join('?' * len(part))})", part)
    return found


def _items(
    tx: Transaction, stream: Stream, where: str, values: Sequence[Value], *, limit: int | None = None
) -> list[Item]:
    """A stream's items; in `where`, `number` is the stream's own."""
    column, sql, make = _STREAMS[stream]
    rows = tx.rows(
        f"{sql} WHERE {where.replace('number', column)} ORDER BY {column}"
        + ("" if limit is None else " LIMIT ?"),
        values if limit is None else (*values, limit),
    )
    return [make(row) for row in rows]


def _received(row: tuple[Any, ...]) -> Item:
    at, verdict, reason, answer, flags, events = row[:6]
    said = {"verdict": verdict, "answer": answer, "reason": reason, "flags": flags, "events": events}
    return Item(stream="received", number=row[6], at=at, said=said, **_origin(row[6:]))


def _event(row: tuple[Any, ...]) -> Item:
    place, seq, event, event_id, routed, at = row[:6]
    said = {"event": event, "id": event_id, "routes": routed}
    return Item(stream="events", number=place, at=at, event=seq, said=said, **_origin(row[6:]))


def _delivery(row: tuple[Any, ...]) -> Item:
    number, at, seq, event, destination, outcome, attempt, route, place, kind, detail = row[:11]
    said = {
        "destination": destination,
        "outcome": outcome,
        "event": event,
        "route": route,
        "place": place,
        "kind": kind,
        "attempt": attempt,
        "detail": detail,
    }
    return Item(stream="deliveries", number=number, at=at, event=seq, said=said, **_origin(row[11:]))


def _origin(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(_ORIGIN, row, strict=True))


_STREAMS: Final[dict[Stream, tuple[str, str, Callable[[tuple[Any, ...]], Item]]]] = {
    "received": (
        "message.seq",
        "SELECT message.received, message.verdict, message.reason, message.answer_code, message.flags,"
        f" message.events, {_MESSAGE} FROM message",
        _received,
    ),
    "events": (
        "event.place",
        "SELECT event.place, event.seq, event.type, event.id, event.routed, message.received,"
        f" {_MESSAGE} FROM event JOIN message ON message.seq=event.message",
        _event,
    ),
    "deliveries": (
        "delivery.id",
        "SELECT delivery.id, coalesce(delivery.finished, (SELECT max(at) FROM delivery_attempt"
        " WHERE delivery_attempt.delivery=delivery.id), delivery.created), event.seq, event.type,"
        " delivery.destination, delivery.state, delivery.attempt, delivery.route, delivery.place, delivery.kind,"
        f" delivery.detail, {_MESSAGE} FROM delivery JOIN event ON event.seq=delivery.event"
        " JOIN message ON message.seq=event.message",
        _delivery,
    ),
}
