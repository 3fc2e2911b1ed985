"""Finds adapters by entry point: lists names without importing anything, loads only those that are asked for.

Our own adapters come by the same door as anyone else's (groups `broker.inbound` and `broker.outbound`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from broker.adapter import API_VERSION, InboundSpec, OutboundSpec
from broker.errors import ConfigError

Group = Literal["broker.inbound", "broker.outbound"]


def installed(group: Group) -> Mapping[str, EntryPoint]:
    """Adapters of a group by name. Raises `ConfigError` when two distributions claim one name."""
    return by_name(group, entry_points(group=group))


def by_name(group: str, found: Iterable[EntryPoint]) -> Mapping[str, EntryPoint]:
    """The entry points by name; a name claimed twice is an error that says by whom."""
    names: dict[str, EntryPoint] = {}
    for point in found:
        other = names.get(point.name)
        if other is not None and other.value != point.value:
            who = " and ".join(sorted({_distribution(other), _distribution(point)}))
            raise ConfigError(f"{group}: two adapters are called '{point.name}' ({who}): uninstall one")
        names[point.name] = point
    return names


def load_inbound(point: EntryPoint) -> InboundSpec[Any]:
    """Imports one inbound adapter. Raises `ConfigError` with distribution, version and cause."""
    spec = _load(point)
    if not isinstance(spec, InboundSpec):
        raise ConfigError(f"adapter '{point.name}' ({_distribution(point)}): {point.value} is no InboundSpec")
    return spec


def load_outbound(point: EntryPoint) -> OutboundSpec[Any]:
    """Imports one outbound adapter. Raises `ConfigError` with distribution, version and cause."""
    spec = _load(point)
    if not isinstance(spec, OutboundSpec):
        raise ConfigError(
            f"adapter '{point.name}' ({_distribution(point)}): {point.value} is no OutboundSpec"
        )
    return spec


def _load(point: EntryPoint) -> Any:
    try:
        spec = point.load()
    except Exception as exc:  # an adapter's import may fail in any way
        raise ConfigError(
            f"adapter '{point.name}' ({_distribution(point)}) cannot be loaded: {type(exc).__name__}: {exc}"
        ) from exc
    version = getattr(spec, "api_version", None)
    if version != API_VERSION:
        raise ConfigError(
            f"adapter '{point.name}' ({_distribution(point)}) is made for API {version}, this broker has {API_VERSION}"
        )
    return spec


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown distribution"
