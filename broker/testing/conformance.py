"""What every adapter must keep, as named checks for its author's own tests. Knows no test runner.

    CHECKS = [*inbound(ACME, {"port": 0}, folder=CONFIG), *outbound(ACME_OUT, {"host": "127.0.0.1", "port": 1})]

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_conformance(check, tmp_path):
        check(tmp_path)

A check raises `BrokenContractError`, or lets through what the adapter raised and should not have. This module is
public: docs/adapters.md lists the checks and says what `SUITE_VERSION` means.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel

from broker.adapter import (
    API_VERSION,
    Delivery,
    InboundContext,
    InboundSpec,
    Kind,
    ListenerPlace,
    OutboundContext,
    OutboundSpec,
    Reader,
    Reception,
    Rendered,
    Send,
    Stored,
    Target,
    Verdict,
    WorklistRow,
)
from broker.errors import DeliveryError, UnmappableError
from broker.event import EVENT_TYPES
from broker.hl7.er7 import Message
from broker.testing.samples import CONTACT, HL7, MARK, MESSAGE_ID, NOW, views
from broker.view import View

__all__ = ["SUITE_VERSION", "BrokenContractError", "Check", "inbound", "outbound"]

SUITE_VERSION: Final = 1
"""Goes up with a check, or an input, that an adapter which passed before may fail. Within one it only gets clearer."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")


class BrokenContractError(AssertionError):
    """The adapter does not keep what adapters promise."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise; calling it tries it. The folder is empty and the check's own."""

    name: str
    run: Callable[[Path], None]

    def __call__(self, folder: Path) -> None:
        self.run(folder)

    def __str__(self) -> str:
        return self.name


def inbound(
    spec: InboundSpec[Any], options: Mapping[str, Any], *, folder: Path, samples: Iterable[bytes] = ()
) -> Iterator[Check]:
    """`options` as `broker.yaml` would have them (port 0), `folder` where that file would stand.

    `samples`: what the adapter reads, beside the HL7 messages that every reader must judge.
    """
    yield from _named(spec, options)
    config = spec.config.model_validate(options)
    place = ListenerPlace(name="sample", site="SITE", config_folder=folder)
    if spec.reader is not None:
        read, inputs = spec.reader, tuple(_inputs((*HL7, *samples)))
        yield Check(f"{spec.name}: any bytes are judged", lambda _: _judges(read(config, place), inputs))
        yield Check(
            f"{spec.name}: the same bytes give the same", lambda _: _is_pure(read, config, place, inputs)
        )
        yield Check(f"{spec.name}: makes what it says", lambda _: _makes(spec, read(config, place), inputs))
        yield Check(f"{spec.name}: no value is told", lambda _: _tells_nothing(read(config, place)))
    yield Check(f"{spec.name}: starts and stops", lambda data: _lives(spec, config, place, data))


def outbound(
    spec: OutboundSpec[Any], options: Mapping[str, Any], *, seen: Iterable[View] = ()
) -> Iterator[Check]:
    """`options` must point at a place where nobody listens; `seen` are views beside the standard ones."""
    yield from _named(spec, options)
    config = spec.config.model_validate(options)
    both = (*views(), *seen)
    yield Check(f"{spec.name}: renders, or says why not", lambda _: _renders(spec, both))
    yield Check(f"{spec.name}: no contact data for care", lambda _: _minimises(spec, both))
    yield Check(f"{spec.name}: any payload is judged", lambda _: _judges_repeats(spec, both))
    yield Check(f"{spec.name}: fails as a destination does", lambda data: _fails(spec, config, both, data))


# --- the spec -------------------------------------------------------------------------------------


def _named(spec: InboundSpec[Any] | OutboundSpec[Any], options: Mapping[str, Any]) -> Iterator[Check]:
    yield Check(f"{spec.name}: the spec", lambda _: _is_specified(spec))
    yield Check(f"{spec.name}: the options", lambda _: _has_options(spec.config, options))


def _is_specified(spec: InboundSpec[Any] | OutboundSpec[Any]) -> None:
    _must(spec.api_version == API_VERSION, f"api_version is {spec.api_version}, not {API_VERSION}")
    _must(_NAME.fullmatch(spec.name) is not None, "the name is not small letters, digits and hyphens")
    _must(bool(spec.summary.strip()), "there is no summary")
    if isinstance(spec, OutboundSpec):
        _must(spec.kind in get_args(Kind), f"'{spec.kind}' is no kind of destination")
        _must(spec.factory is not None or spec.kind == "worklist", "only a worklist needs no factory")


def _has_options(config: type[BaseModel], options: Mapping[str, Any]) -> None:
    for key, wanted in (
        ("frozen", True),
        ("strict", True),
        ("extra", "forbid"),
        ("hide_input_in_errors", True),
    ):
        _must(config.model_config.get(key) == wanted, f"model_config: {key} is not {wanted!r}")
    for name, info in config.model_fields.items():
        _must(bool(info.description), f"the option '{name}' has no description")
    first, second = config.model_validate(options), config.model_validate(options)
    _must(first == second, "the same options are not equal")


# --- inbound --------------------------------------------------------------------------------------


def _inputs(samples: Iterable[bytes]) -> Iterator[bytes]:
    """Samples whole, cut short, with other letters and other ends; and bytes that are nothing at all."""
    chance = random.Random(0)
    yield from (
        b"",
        b"\0",
        b"\r\n",
        b"MSH",
        b"MSH|",
        b"MSH|^~\\&|",
        b"\xef\xbb\xbfMSH|^~\\&",
        b"{}",
        b"<?xml?>",
    )
    for length in (1, 100, 5000):
        yield chance.randbytes(length)
    for sample in samples:
        yield sample
        yield from (sample[: len(sample) * part // 9] for part in range(1, 9))
        yield sample.replace(b"UNICODE UTF-8", b"KLINGON")
        yield sample.replace(b"UNICODE UTF-8", b"ASCII")
        yield sample.replace(MARK.encode(), b"\xff\xfe")
        yield sample.replace(b"\r", b"\n")
        yield sample + sample
        yield b"BHS|^~\\&|\r" + sample


def _judges(reader: Reader, inputs: Iterable[bytes]) -> None:
    for raw in inputs:
        found = _receive(reader, raw)
        what = f"an input of {len(raw)} bytes"
        _must(found.raw == raw or bool(found.blob), f"{what}: the bytes are not kept")
        _must((found.verdict is Verdict.ACCEPTED) == bool(found.events), f"{what}: events and verdict differ")
        _must(found.verdict is Verdict.ACCEPTED or bool(found.reason), f"{what}: not taken, and no reason")
        _must(found.verdict is not Verdict.REJECTED or bool(found.answer_code), f"{what}: refused in silence")
        _must(not found.answers or bool(found.answer_code), f"{what}: answered without a code")


def _is_pure(
    read: Callable[[Any, ListenerPlace], Reader], config: Any, place: ListenerPlace, inputs: Iterable[bytes]
) -> None:
    first, second = read(config, place), read(config, place)
    for raw in inputs:
        _must(
            _receive(first, raw) == _receive(second, raw),
            f"an input of {len(raw)} bytes is judged in two ways",
        )


def _makes(spec: InboundSpec[Any], reader: Reader, inputs: Iterable[bytes]) -> None:
    """No event comes of a message that the spec does not announce; a spec that announces nothing keeps this."""
    unknown = [event for event in spec.events if event not in EVENT_TYPES]
    _must(not unknown, f"makes: no event is called {', '.join(unknown)}")
    for raw in inputs if spec.makes is not None else ():
        reception = _receive(reader, raw)
        announced = (spec.makes or {}).get(reception.message_type, ())
        for event in reception.events:
            _must(event.type in announced, f"makes {event.type} of {reception.message_type}, unannounced")


def _tells_nothing(reader: Reader) -> None:
    """Every field of every sample is spoilt in turn: what is said of it may name the place only."""
    for sample in HL7:
        lines = sample.decode().split("\r")
        for number, line in enumerate(lines):
            fields = line.split("|")
            for field in range(2 if line.startswith("MSH") else 1, len(fields)):
                spoilt = "|".join([*fields[:field], MARK, *fields[field + 1 :]])
                raw = "\r".join([*lines[:number], spoilt, *lines[number + 1 :]]).encode()
                found = _receive(reader, raw)
                told = [found.reason, found.answer_code, *found.flags, *map(_said, found.answers)]
                place = f"{line[:3]}-{field + (line[:3] == 'MSH')}"
                _must(
                    not any(MARK in text or CONTACT in text for text in told), f"a value at {place} is told"
                )


def _said(answer: bytes) -> str:
    """What an answer says of itself: without MSH and MSA-2, where the sender's own header is echoed."""
    message = Message.parse(answer)
    texts = [text for segment in message if segment.name not in ("MSH", "MSA") for text in segment.fields]
    return "|".join([*texts, message["MSA-1"], message["MSA-3"]])


def _receive(reader: Reader, raw: bytes) -> Reception:
    return reader.receive(raw, message_id=MESSAGE_ID, now=NOW, peer="192.0.2.1")


def _lives(spec: InboundSpec[Any], config: Any, place: ListenerPlace, data: Path) -> None:
    services: list[object] = []
    context = InboundContext(
        name=place.name,
        site=place.site,
        bind="127.0.0.1",
        config_folder=place.config_folder,
        spool=data,
        intake=_Intake(),
        worklist=_NoRows(),
        clock=lambda: NOW,
        register_dicom=services.append,
        known_aets=frozenset(),
        count=lambda _name, _labels: None,
    )

    async def live() -> None:
        listener = spec.factory(config, context)
        await listener.start()
        try:
            _must(bool(listener.addresses or services), "it neither listens nor registers a DICOM service")
        finally:
            await listener.stop()
            await listener.stop()

    asyncio.run(live())


class _Intake:
    """Takes everything (`broker.adapter.Intake`)."""

    async def accept(self, reception: Reception) -> Stored:
        return self.accept_blocking(reception)

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Stored]:
        return [self.accept_blocking(reception) for reception in receptions]

    def accept_blocking(self, reception: Reception) -> Stored:
        return Stored(answers=reception.answers, answer_code=reception.answer_code)


class _NoRows:
    """An empty worklist (`broker.adapter.WorklistReader`)."""

    def candidates(self, **_: Any) -> Iterable[WorklistRow]:
        return ()


# --- outbound -------------------------------------------------------------------------------------


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


def _renders(spec: OutboundSpec[Any], seen: tuple[View, ...]) -> None:
    first, second = list(_rendered(spec, seen)), list(_rendered(spec, seen))
    _must(first == second, "the same view is rendered in two ways")
    _must(any(isinstance(found, Rendered) for _, _, found in first), "none of the views can be rendered")
    for view, target, found in first:
        what = view.event.type
        if isinstance(found, str):
            _must(found.startswith(target.place), f"{what}: the error does not name the route's line")
        told = found if isinstance(found, str) else found.summary
        _must(MARK not in told and CONTACT not in told, f"{what}: a value is told")


def _minimises(spec: OutboundSpec[Any], seen: tuple[View, ...]) -> None:
    for view, _, found in _rendered(spec, seen):
        if isinstance(found, Rendered):
            _must(
                CONTACT.encode() not in found.payload,
                f"{view.event.type}: contact data leaves (invariant 11)",
            )


def _judges_repeats(spec: OutboundSpec[Any], seen: tuple[View, ...]) -> None:
    made = [found.payload for _, _, found in _rendered(spec, seen) if isinstance(found, Rendered)]
    for payload in (b"", b"\xff", b"0", b"[]", b"{}", *made):  # people may have edited it
        try:
            same = spec.repeatable(payload) is spec.repeatable(payload)
        except Exception as exc:  # whatever it is: nobody would catch it
            raise BrokenContractError(f"repeatable raises {type(exc).__name__}") from exc
        _must(same, "repeatable says two things of the same payload")


def _fails(spec: OutboundSpec[Any], config: Any, seen: tuple[View, ...], data: Path) -> None:
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
            raise BrokenContractError(f"{view.event.type}: delivered, though nobody listens")
    outbound.close()
    outbound.close()


def _must(condition: bool, text: str) -> None:
    if not condition:
        raise BrokenContractError(text)
