"""What stands around the routes, as far as the linter asks: which events come, and what destinations can show.

Values only. `broker.runtime.surroundings` reads them off the settings and the adapters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from broker.errors import Fault
from broker.hl7.structures import segments_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A listener."""

    site: str
    makes: Mapping[str, tuple[str, ...]] | None = None
    """Message type to the events that may come of it; None: the adapter does not say."""

    @property
    def events(self) -> frozenset[str]:
        return frozenset(event for events in (self.makes or {}).values() for event in events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The site, without the routes."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    """Listeners by name; empty: unknown."""
    charsets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Destination to the character sets that it declares, each with its Python codec."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Files beside the routes that comments of the linter may stand in, by name."""
    faults: tuple[Fault, ...] = ()
    """What is hardly meant in the settings themselves."""

    @property
    def made(self) -> frozenset[str] | None:
        """Every event that can come; None where a listener does not say what it makes."""
        if not self.sources or any(source.makes is None for source in self.sources.values()):
            return None
        return frozenset(event for source in self.sources.values() for event in source.events)

    def sources_of(self, events: Iterable[str]) -> frozenset[str] | None:
        """The listeners that make any of the events; None where that is unknown."""
        wanted = frozenset(events)
        if self.made is None:
            return None
        return frozenset(name for name, source in self.sources.items() if source.events & wanted)

    def segments(self, events: Iterable[str]) -> frozenset[str] | None:
        """The segments that any message behind the events may have; None where that is unknown."""
        wanted = frozenset(events)
        if self.made is None or not self.made & wanted:
            return None
        types = {
            message_type
            for source in self.sources.values()
            for message_type, made in (source.makes or {}).items()
            if wanted.intersection(made)
        }
        return frozenset(segment for message_type in types for segment in segments_of(message_type))
