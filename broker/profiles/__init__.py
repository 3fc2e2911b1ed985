"""Kinds of devices: the options that each is known to need, and what it is known by when it asks.

Shipped ones stand in this folder as YAML, each with where its quirks were seen; a site's own stand in `profiles/`
beside `broker.yaml`, and go before. Nothing here decides that a device is of a kind: people do, in `devices:`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from broker.adapter import Options
from broker.device import Device
from broker.errors import ConfigError, Fault
from broker.scalars import Switch, Text
from broker.yamlfile import reading
from broker.yamlfile.check import validate


class Signs(Options):
    """What a kind of device is known by; everything empty: nothing is known of how it asks."""

    keys: tuple[Text, ...] = Field(default=(), description="Keywords of attributes that it asks for.")
    never: tuple[Text, ...] = Field(
        default=(), description="Keywords of keys that it never narrows a query by."
    )
    cancels: Switch = Field(default=False, description="It ends long answers by C-CANCEL.")


class Profile(Options):
    """One kind of device."""

    summary: Text = Field(description="Which device, and what it does.")
    seen: tuple[Text, ...] = Field(min_length=1, description="Where that was seen: document or thread.")
    signs: Signs = Field(default_factory=Signs)
    device: Device = Field(description="Options of `devices:` that it needs.")

    @model_validator(mode="after")
    def _of_itself(self) -> Self:
        if self.device.profile is not None:
            raise ValueError("a profile has no profile of its own")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query that a device was seen to ask; no value."""

    keys: tuple[str, ...]
    """Paths of what it asked for."""
    narrowing: tuple[str, ...]
    """Paths of what it narrowed by."""
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How well a device fits a profile."""

    name: str
    shown: tuple[str, ...]
    """Signs that were seen, in words."""
    missed: tuple[str, ...]

    @property
    def share(self) -> float:
        return len(self.shown) / (len(self.shown) + len(self.missed))


def load(folder: Path) -> Mapping[str, Profile]:
    """Every profile by name, a site's own in `folder` before shipped ones. Raises `ConfigError` with every fault."""
    found: dict[str, Profile] = {}
    faults: list[Fault] = []
    with as_file(files(__name__)) as shipped:
        for path in (*sorted(shipped.glob("*.yaml")), *sorted(folder.glob("*.yaml"))):
            try:
                found[path.stem] = validate(reading.load(path), Profile)
            except ConfigError as exc:
                faults.extend(exc.faults)
    if faults:
        raise ConfigError(faults)
    return dict(sorted(found.items()))


def alike(profiles: Mapping[str, Profile], asked: Sequence[Asked]) -> list[Likeness]:
    """The profiles most of whose signs a device shows, the nearest first: by share of signs, then by their number."""
    found = [_likeness(name, profile.signs, asked) for name, profile in profiles.items()]
    most = [one for one in found if len(one.shown) > len(one.missed)]
    return sorted(most, key=lambda one: (-one.share, -len(one.shown), one.name))


def _likeness(name: str, signs: Signs, asked: Sequence[Asked]) -> Likeness:
    keys = _keywords(path for one in asked for path in one.keys)
    narrowing = _keywords(path for one in asked for path in one.narrowing)
    judged = {f"asks for {key}": key in keys for key in signs.keys}
    judged |= {f"never narrows by {key}": bool(asked) and key not in narrowing for key in signs.never}
    if signs.cancels:
        judged["cancels"] = any(one.cancelled for one in asked)
    return Likeness(
        name=name,
        shown=tuple(sign for sign, is_so in judged.items() if is_so),
        missed=tuple(sign for sign, is_so in judged.items() if not is_so),
    )


def _keywords(paths: Iterable[str]) -> set[str]:
    return {path.rpartition(".")[2] for path in paths}
