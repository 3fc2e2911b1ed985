"""What every adapter must keep, as named checks for its author's own tests. Knows no test runner.

    CHECKS = [*inbound(ACME, {"port": 0}, folder=CONFIG), *outbound(ACME_OUT, {"host": "127.0.0.1", "port": 1})]

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_conformance(check, tmp_path):
        check(tmp_path)

A check raises `BrokenContractError`, or lets through what the adapter raised and should not have. This module is
public: docs/adapters.md lists the checks and says what `SUITE_VERSION` means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel

from broker.adapter import API_VERSION, InboundSpec, Kind, ListenerPlace, OutboundSpec
from broker.testing import promises_in, promises_out
from broker.testing.samples import HL7, views
from broker.testing.unless import unless
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
        read, inputs = spec.reader, tuple(promises_in.inputs((*HL7, *samples)))
        yield _check(
            f"{spec.name}: any bytes are judged", lambda _: promises_in.judges(read(config, place), inputs)
        )
        yield _check(
            f"{spec.name}: the same bytes give the same",
            lambda _: promises_in.is_pure(read, config, place, inputs),
        )
        yield _check(
            f"{spec.name}: makes what it says", lambda _: promises_in.makes(spec, read(config, place), inputs)
        )
        yield _check(
            f"{spec.name}: no value is told", lambda _: promises_in.tells_nothing(read(config, place))
        )
    yield _check(f"{spec.name}: starts and stops", lambda data: promises_in.lives(spec, config, place, data))


def outbound(
    spec: OutboundSpec[Any], options: Mapping[str, Any], *, seen: Iterable[View] = ()
) -> Iterator[Check]:
    """`options` must point at a place where nobody listens; `seen` are views beside the standard ones."""
    yield from _named(spec, options)
    config = spec.config.model_validate(options)
    both = (*views(), *seen)
    yield _check(f"{spec.name}: renders, or says why not", lambda _: promises_out.renders(spec, both))
    yield _check(f"{spec.name}: no contact data for care", lambda _: promises_out.minimises(spec, both))
    yield _check(f"{spec.name}: any payload is judged", lambda _: promises_out.judges_repeats(spec, both))
    yield _check(
        f"{spec.name}: fails as a destination does", lambda data: promises_out.fails(spec, config, both, data)
    )


def _named(spec: InboundSpec[Any] | OutboundSpec[Any], options: Mapping[str, Any]) -> Iterator[Check]:
    yield _check(f"{spec.name}: the spec", lambda _: _is_specified(spec))
    yield _check(f"{spec.name}: the options", lambda _: _has_options(spec.config, options))


def _check(name: str, broken: Callable[[Path], Iterable[str]]) -> Check:
    """A check that raises the first of what a trial finds broken, and tries no further."""

    def run(folder: Path) -> None:
        for text in broken(folder):
            raise BrokenContractError(text)

    return Check(name, run)


def _is_specified(spec: InboundSpec[Any] | OutboundSpec[Any]) -> Iterator[str]:
    yield from unless(
        spec.api_version == API_VERSION, f"api_version is {spec.api_version}, not {API_VERSION}"
    )
    yield from unless(
        _NAME.fullmatch(spec.name) is not None, "the name is not small letters, digits and hyphens"
    )
    yield from unless(bool(spec.summary.strip()), "there is no summary")
    if isinstance(spec, OutboundSpec):
        yield from unless(spec.kind in get_args(Kind), f"'{spec.kind}' is no kind of destination")
        yield from unless(
            spec.factory is not None or spec.kind == "worklist", "only a worklist needs no factory"
        )


def _has_options(config: type[BaseModel], options: Mapping[str, Any]) -> Iterator[str]:
    for key, wanted in (
        ("frozen", True),
        ("strict", True),
        ("extra", "forbid"),
        ("hide_input_in_errors", True),
    ):
        yield from unless(config.model_config.get(key) == wanted, f"model_config: {key} is not {wanted!r}")
    for name, info in config.model_fields.items():
        yield from unless(bool(info.description), f"the option '{name}' has no description")
    first, second = config.model_validate(options), config.model_validate(options)
    yield from unless(first == second, "the same options are not equal")
