"""The entries of `inbound` and `outbound` in `broker.yaml`, each read by what all have and what its adapter asks for.

Knows no option of either. Which adapters are installed it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, create_model

from broker.adapter import Options
from broker.errors import ConfigError, Fault, did_you_mean
from broker.event import CLOCK, OPERATOR
from broker.scalars import as_written
from broker.yamlfile.check import validate
from broker.yamlfile.document import Document

S = TypeVar("S")


def read_entries(
    document: Document,
    section: Literal["inbound", "outbound"],
    common: type[Options],
    adapters: Mapping[str, EntryPoint],
    load_adapter: Callable[[EntryPoint], S],
    faults: list[Fault],
) -> list[tuple[str, Any, Any, S]]:
    """Every entry of a section as (name, common options, adapter's options, adapter).

    Mistakes are added to `faults`; an entry that has one is left out.
    """
    found = []
    entries = document.value.get(section) if isinstance(document.value, dict) else None
    for name, value in (entries if isinstance(entries, dict) else {}).items():
        at = (section, name)
        if section == "inbound" and name in (OPERATOR, CLOCK):
            whose = "people decide" if name == OPERATOR else "time brings about"
            what = f"no listener may be called '{name}': that is the source of what {whose}"
            faults.append(document.fault(at, what, key=True, code="wrong-value"))
            continue
        if not isinstance(value, dict) or "adapter" not in value:
            what = "'adapter' is missing" if isinstance(value, dict) else "must be a mapping"
            code = "missing-key" if isinstance(value, dict) else "wrong-value"
            faults.append(document.fault(at, what, key=True, code=code))
            continue
        wanted = str(as_written(value["adapter"]))
        if wanted not in adapters:
            hint = did_you_mean(wanted, adapters) or f"Installed: {', '.join(sorted(adapters))}."
            what = f"no {section} adapter '{wanted}' is installed"
            faults.append(document.fault((*at, "adapter"), what, hint, code="unknown-adapter"))
            continue
        spec: Any = load_adapter(adapters[wanted])
        try:
            both = validate(document, entry_model(common, spec.config), at=at)
        except ConfigError as exc:
            faults.extend(exc.faults)
            continue
        # Checked already, as one: taken apart without checking again.
        entry = common.model_construct(**{n: getattr(both, n) for n in common.model_fields})
        config = spec.config.model_construct(**{n: getattr(both, n) for n in spec.config.model_fields})
        found.append((name, entry, config, spec))
    return found


def entry_model(common: type[Options], config: type[BaseModel]) -> type[BaseModel]:
    """An entry's model: what every entry has, and what the adapter asks for."""
    # Both as bases: fields alone would leave the adapter's own validators behind.
    return create_model(f"{config.__name__}Entry", __base__=(config, common), __doc__=config.__doc__)
