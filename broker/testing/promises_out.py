"""What an outbound adapter must keep, tried on views and on a place where nobody listens: what is broken, as texts.

No check stands here (`conformance`): these are the trials behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from broker.adapter import Delivery, OutboundContext, OutboundSpec, Rendered, Send, Target
from broker.errors import DeliveryError, UnmappableError
from broker.testing.samples import CONTACT, MARK, NOW
from broker.testing.unless import unless
from broker.view import View


def _targets(spec: OutboundSpec[Any]) -> Iterator[Target]:
    for send in get_args(Send) if spec.kind == "hl7" else ("",):
        yield Target(
            route="a-route",
            version="1",
            place="routes/a.yaml:7",
            kind=spec.kind,
            destination="there",
            send=send,
        )


def _rendered(spec: OutboundSpec[Any], seen: Iterable[View]) -> Iterator[tuple[View, Target, Rendered | str]]:
    """What each view comes to, or the reason why it comes to nothing."""
    for view in seen:
        for target in _targets(spec):
            try:
                yield view, target, spec.render(view, target)
            except UnmappableError as exc:
                yield view, target, str(exc)


def renders(spec: OutboundSpec[Any], seen: tuple[View, ...]) -> Iterator[str]:
    first, second = list(_rendered(spec, seen)), list(_rendered(spec, seen))
    yield from unless(first == second, "the same view is rendered in two ways")
    yield from unless(
        any(isinstance(found, Rendered) for _, _, found in first), "none of the views can be rendered"
    )
    for view, target, found in first:
        what = view.event.type
        if isinstance(found, str):
            yield from unless(
                found.startswith(target.place), f"{what}: the error does not name the route's line"
            )
        told = found if isinstance(found, str) else found.summary
        yield from unless(MARK not in told and CONTACT not in told, f"{what}: a value is told")


def minimises(spec: OutboundSpec[Any], seen: tuple[View, ...]) -> Iterator[str]:
    for view, _, found in _rendered(spec, seen):
        if isinstance(found, Rendered):
            yield from unless(
                CONTACT.encode() not in found.payload,
                f"{view.event.type}: contact data leaves (invariant 11)",
            )


def judges_repeats(spec: OutboundSpec[Any], seen: tuple[View, ...]) -> Iterator[str]:
    made = [found.payload for _, _, found in _rendered(spec, seen) if isinstance(found, Rendered)]
    for payload in (b"", b"\xff", b"0", b"[]", b"{}", *made):  # people may have edited it
        try:
            same = spec.repeatable(payload) is spec.repeatable(payload)
        except Exception as exc:  # noqa: BLE001 - whatever it is: nobody would catch it
            yield f"repeatable raises {type(exc).__name__}"
        else:
            yield from unless(same, "repeatable says two things of the same payload")


def fails(spec: OutboundSpec[Any], config: Any, seen: tuple[View, ...], data: Path) -> Iterator[str]:
    if spec.factory is None:
        return
    outbound = spec.factory(
        config, OutboundContext(name="there", spool=data, work=data / "tmp", clock=lambda: NOW)
    )
    for number, (view, target, found) in enumerate(_rendered(spec, seen), 1):
        if isinstance(found, Rendered):
            delivery = Delivery(
                id=number,
                destination=target.destination,
                lane="P1",
                route=target.route,
                attempt=1,
                payload=found.payload,
            )
            try:
                outbound.deliver(delivery)
            except DeliveryError:
                continue
            yield f"{view.event.type}: delivered, though nobody listens"
    outbound.close()
    outbound.close()
