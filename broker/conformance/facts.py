"""What the statements are made of: the configuration, and what its own route tests feed in and get out. Values only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from broker.conformance.document import Table
from broker.dicom import attributes as dicom
from broker.routing.testing import Output
from broker.runtime.configured import Configured
from broker.settings import InboundSetting, OutboundSetting

Setting = InboundSetting | OutboundSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A configuration, and the traffic of its tests, of which only types, places and names of attributes are told."""

    configured: Configured
    version: str
    """Of the broker."""
    given: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict, repr=False)
    """Messages that tests feed in, by listener."""
    outputs: tuple[Output, ...] = field(default=(), repr=False)

    @property
    def inbound(self) -> tuple[InboundSetting, ...]:
        """Listeners that are switched on."""
        return tuple(s for s in self.configured.settings.inbound if s.entry.enabled)

    @property
    def outbound(self) -> tuple[OutboundSetting, ...]:
        """Destinations that are switched on."""
        return tuple(s for s in self.configured.settings.outbound if s.entry.enabled)

    @property
    def on(self) -> tuple[Setting, ...]:
        """Both."""
        return (*self.inbound, *self.outbound)

    @property
    def off(self) -> tuple[str, ...]:
        """Names of listeners and destinations that are switched off."""
        on, settings = self.on, self.configured.settings
        every: tuple[Setting, ...] = (*settings.inbound, *settings.outbound)
        return tuple(s.name for s in every if s not in on)

    @property
    def product(self) -> str:
        """Whose statement it is, and what is not in it: the first words of each."""
        off = f" Switched off, and so not in it: {', '.join(self.off)}." if self.off else ""
        return f"HL7/DICOM integration broker {self.version}, as configured.{off}"

    def row_keywords(self) -> tuple[str, ...]:
        """Attributes of the worklist rows that the tests made, by tag; of the step as `Sequence.Keyword`."""
        found: set[str] = set()
        for output in self.outputs:
            if output.kind == "worklist" and output.payload:
                found.update(_keywords(json.loads(output.payload)))
        return tuple(sorted(found, key=lambda path: [dicom.tag_of(part) for part in path.split(".")]))


def _keywords(attributes: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for keyword, value in attributes.items():
        yield prefix + keyword
        for item in value if isinstance(value, list | tuple) else ():
            if isinstance(item, Mapping):
                yield from _keywords(item, f"{prefix}{keyword}.")


def options(setting: Setting) -> Table:
    """The options of an entry as they stand; where a destination is, is nobody else's business."""
    rows = []
    for name, info in type(setting.config).model_fields.items():
        if name not in ("host", "port", "bind", "url", "ca_file"):
            value = getattr(setting.config, name)
            # Of TLS its files: where keys are is nobody's business either.
            shown = ("unset" if value is None else "set") if name == "tls" else _shown(value)
            rows.append((info.alias or name, shown))
    return Table(columns=("option", "value (times in seconds, sizes in bytes)"), rows=tuple(rows))


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else "unset"
    if value is None or value in ("", ()):
        return "unset"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(_shown(one) for one in value)
    if hasattr(value, "model_dump"):
        return " ".join(f"{key}={_shown(one)}" for key, one in value.model_dump().items())
    return str(value)
