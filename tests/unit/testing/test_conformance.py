"""The suite finds what it is there to find: each promise is broken once, on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ConfigDict

from adapters.epj import OUTBOUND as EPJ
from adapters.pas import INBOUND as PAS
from broker.adapter import (
    InboundSpec,
    OutboundContext,
    OutboundSpec,
    Receipt,
    Reception,
    Rendered,
    Target,
)
from broker.net.hl7_sender import Hl7Destination
from broker.testing.conformance import BrokenContractError, Check, inbound, outbound
from broker.view import View
from tests.support.golden import OPTIONS
from tests.support.ports import free_port
from tests.support.shared import REPOSITORY


def broken(checks: list[Check], folder: Path) -> dict[str, str]:
    """Which checks fail, and what they say."""
    found = {}
    for check in checks:
        try:
            check(folder)
        except BrokenContractError as exc:
            found[str(check).partition(": ")[2]] = str(exc)
    return found


def of_reader(change: Callable[[Reception, bytes], Reception], folder: Path) -> dict[str, str]:
    """PAS with its receptions changed."""

    class Changed:
        def __init__(self, config: Any, place: Any) -> None:
            assert PAS.reader is not None
            self._reader = PAS.reader(config, place)

        def receive(self, raw: bytes, *, message_id: str, now: datetime, peer: str = "") -> Reception:
            return change(self._reader.receive(raw, message_id=message_id, now=now, peer=peer), raw)

    return of_inbound(replace(PAS, reader=Changed), folder)


def of_inbound(spec: InboundSpec[Any], folder: Path) -> dict[str, str]:
    return broken(list(inbound(spec, OPTIONS, folder=REPOSITORY / "config")), folder)


def of_outbound(spec: OutboundSpec[Any], folder: Path) -> dict[str, str]:
    return broken(list(outbound(spec, {"host": "127.0.0.1", "port": free_port()})), folder)


def test_what_keeps_every_promise_breaks_none(tmp_path: Path) -> None:
    assert of_inbound(PAS, tmp_path) == {}
    assert of_outbound(EPJ, tmp_path) == {}


def test_checks_are_named() -> None:
    names = [str(check) for check in inbound(PAS, OPTIONS, folder=REPOSITORY / "config")]

    assert len(set(names)) == len(names)
    assert all(name.startswith("pas: ") for name in names)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"api_version": 99}, "api_version"),
        ({"name": "PAS 2"}, "name"),
        ({"summary": " "}, "summary"),
    ],
)
def test_a_spec_that_says_too_little(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    (said,) = of_inbound(replace(PAS, **change), tmp_path).values()

    assert told in said


def test_a_destination_without_a_way_to_it(tmp_path: Path) -> None:
    assert "factory" in of_outbound(replace(EPJ, factory=None), tmp_path)["the spec"]
    assert "kind" in of_outbound(replace(EPJ, kind="fax"), tmp_path)["the spec"]  # type: ignore[arg-type]


def test_options_that_are_loose_or_silent(tmp_path: Path) -> None:
    class Loose(Hl7Destination):
        model_config = ConfigDict(frozen=False)

    class Silent(Hl7Destination):
        port: int

    assert "frozen" in of_outbound(replace(EPJ, config=Loose), tmp_path)["the options"]
    assert "'port'" in of_outbound(replace(EPJ, config=Silent), tmp_path)["the options"]


def test_a_reader_that_makes_what_the_spec_does_not_announce(tmp_path: Path) -> None:
    said = of_inbound(replace(PAS, makes={"ADT^A01": ("patient.registered",)}), tmp_path)

    assert list(said) == ["makes what it says"]
    assert said["makes what it says"].startswith("makes ")
    assert of_inbound(replace(PAS, makes=None), tmp_path) == {}, "who announces nothing keeps it"


def test_a_reader_that_drops_bytes(tmp_path: Path) -> None:
    assert (
        "not kept" in of_reader(lambda found, raw: replace(found, raw=b""), tmp_path)["any bytes are judged"]
    )


def test_a_reader_that_refuses_in_silence(tmp_path: Path) -> None:
    def silent(found: Reception, raw: bytes) -> Reception:
        return found if found.events else replace(found, answer_code="", answers=())

    assert "in silence" in of_reader(silent, tmp_path)["any bytes are judged"]


def test_a_reader_without_reasons(tmp_path: Path) -> None:
    assert (
        "no reason"
        in of_reader(lambda found, raw: replace(found, reason=""), tmp_path)["any bytes are judged"]
    )


@pytest.mark.parametrize("where", ["reason", "flags"])
def test_a_reader_that_tells_values(where: str, tmp_path: Path) -> None:
    def telling(found: Reception, raw: bytes) -> Reception:
        text = raw.decode(errors="replace")
        return replace(found, **{where: text if where == "reason" else (text,)})  # type: ignore[arg-type]

    assert "is told" in of_reader(telling, tmp_path)["no value is told"]


def test_a_reader_that_changes_its_mind(tmp_path: Path) -> None:
    count = iter(range(10**9))

    assert (
        "two ways"
        in of_reader(lambda found, raw: replace(found, flags=(str(next(count)),)), tmp_path)[
            "the same bytes give the same"
        ]
    )


def test_a_reader_that_raises(tmp_path: Path) -> None:
    def raising(found: Reception, raw: bytes) -> Reception:
        raise KeyError("PID")

    with pytest.raises(KeyError):
        of_reader(raising, tmp_path)


def test_a_listener_that_does_nothing(tmp_path: Path) -> None:
    class Idle:
        addresses: tuple[str, ...] = ()

        async def start(self) -> None: ...

        async def stop(self) -> None: ...

    found = of_inbound(replace(PAS, factory=lambda config, context: Idle()), tmp_path)

    assert "neither listens" in found["starts and stops"]


def test_a_renderer_that_leaks(tmp_path: Path) -> None:
    def leaky(view: View, target: Target) -> Rendered:
        return Rendered(
            payload=view.message.raw if view.message else b"MSH|^~\\&|", summary=str(view.patient)
        )

    found = of_outbound(replace(EPJ, render=leaky), tmp_path)

    assert "contact data" in found["no contact data for care"]
    assert "a value is told" in found["renders, or says why not"]


def test_a_destination_that_says_sent_though_nobody_listens(tmp_path: Path) -> None:
    class Liar:
        def __init__(self, config: Any, context: OutboundContext) -> None: ...

        def deliver(self, delivery: Any) -> Receipt:
            return Receipt(detail="fine")

        def close(self) -> None: ...

    assert (
        "nobody listens" in of_outbound(replace(EPJ, factory=Liar), tmp_path)["fails as a destination does"]
    )
